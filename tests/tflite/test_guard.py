"""Each form that is refused, made by hand."""

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.conversion import int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import guard
from tf_prune_ofa.tflite.graph import schema

_CSR, _DENSE = schema.DimensionType.SPARSE_CSR, schema.DimensionType.DENSE


def sparsity(rows, *, block=None):
    """`rows` rows of one stored weight (or one block of `block` weights) each, in column 0."""
    columns = schema.DimensionMetadataT()
    columns.format = _CSR
    columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
    columns.arraySegments, columns.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
    columns.arraySegments.values = np.arange(rows + 1, dtype=np.uint8)
    columns.arrayIndices.values = np.zeros(rows, np.uint8)
    levels = [dense_level(rows), columns] + ([dense_level(block)] if block else [])
    parameters = schema.SparsityParametersT()
    parameters.traversalOrder = np.arange(len(levels), dtype=np.int32)
    parameters.blockMap = np.int32([1]) if block else None
    parameters.dimMetadata = levels
    return parameters


def dense_level(size):
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = _DENSE, size
    return level


class LayerFile(tflite_files.FileBuilder):
    """x [1, 16] -> one layer with kernel [2, 16] -> y [1, 2]; INT8 unless said otherwise."""

    def __init__(self, x_type=np.int8):
        super().__init__()
        one = {"scales": [0.1], "zero_points": [0]}
        self.x = self.tensor("x", [1, 16], x_type, **(one if x_type == np.int8 else {}))
        self.y = self.tensor("y", [1, 2], x_type, **(one if x_type == np.int8 else {}))

    def kernel(self, *, is_sparse=True, block=16, scales=(0.1,), zero_points=None, dtype=np.int8):
        stored = np.ones([2, block or 1] if is_sparse else [2, 16])
        return self.tensor(
            "kernel",
            [2, 16],
            dtype,
            data=stored,
            scales=scales,
            zero_points=[0] * len(scales) if zero_points is None else zero_points,
            sparsity=sparsity(2, block=block) if is_sparse else None,
        )

    def layer(self, kernel, version=8):
        options = schema.FullyConnectedOptionsT()
        inputs = [self.x, kernel, -1]
        self.operator("FULLY_CONNECTED", inputs, [self.y], version=version, options=options)
        return self.finish([self.x], [self.y])

    def unpacked(self, kernel):
        dense = self.tensor("unpacked", [2, 16], np.int8, scales=[0.1], zero_points=[0])
        self.operator("DENSIFY", [kernel], [dense], options=schema.DensifyOptionsT())
        return dense


def problems(content):
    found = guard.find_problems(content)
    if found:
        with pytest.raises(UserError, match="refusing"):
            guard.check(content)
    else:
        guard.check(content)
    return " | ".join(found)


def test_own_files_pass(float32_file, dense_file, sparse_file):
    for content in (float32_file, dense_file, sparse_file, int8.dynamic_int8(float32_file)):
        assert problems(content) == ""


def test_blocks_of_1x16_with_one_scale_run_everywhere():
    file = LayerFile()
    assert problems(file.layer(file.kernel())) == ""


@pytest.mark.parametrize("version", [5, 12])
def test_sparse_layer_of_another_version(version):
    file = LayerFile()
    assert f"version {version}, not 8" in problems(file.layer(file.kernel(), version))


def test_sparse_layer_with_a_scale_for_each_channel():
    file = LayerFile()
    found = problems(file.layer(file.kernel(scales=(0.1, 0.2))))
    assert "scale for each channel: tflite-runtime 2.14 computes garbage" in found


def test_sparse_layer_with_float_input():
    file = LayerFile(np.float32)
    assert "has a float input and INT8 weights" in problems(file.layer(file.kernel()))


def test_what_the_converter_writes_for_dynamic_sparse_layers():
    # Float input, a scale for each channel, blocks of 1x16, version 12.
    file = LayerFile(np.float32)
    found = problems(file.layer(file.kernel(scales=(0.1, 0.2)), 12))
    assert "version 12, not 8" in found
    assert "float input" in found


def test_sparse_layer_of_single_weights():
    file = LayerFile()
    assert "blocks of 1x16" in problems(file.layer(file.kernel(block=None)))


def test_densify_before_a_fully_connected_layer():
    file = LayerFile()
    content = file.layer(file.unpacked(file.kernel(block=None)), 5)
    assert "DENSIFY feeds FULLY_CONNECTED y" in problems(content)


def test_densify_before_another_operator():
    file = LayerFile()
    dense = file.unpacked(file.kernel(block=None))
    file.operator("ADD", [file.x, dense], [file.y])
    assert "DENSIFY feeds ADD y" in problems(file.finish([file.x], [file.y]))


def test_densify_before_a_convolution_with_float_input():
    file = LayerFile(np.float32)
    dense = file.unpacked(file.kernel(block=None))
    file.operator("CONV_2D", [file.x, dense], [file.y], version=5)
    assert "CONV_2D y with a float input" in problems(file.finish([file.x], [file.y]))


def test_densify_as_the_input_of_a_convolution():
    file = LayerFile()
    dense = file.unpacked(file.kernel(block=None))
    file.operator("CONV_2D", [dense, file.x], [file.y], version=3)
    assert "only the filter" in problems(file.finish([file.x], [file.y]))


def test_densify_of_float_weights():
    file = LayerFile()
    kernel = file.kernel(block=None, dtype=np.float32)
    assert "unpacks float32" in problems(file.layer(file.unpacked(kernel), 1))


def test_densify_of_dense_weights():
    file = LayerFile()
    dense = file.unpacked(file.kernel(is_sparse=False))
    assert "no sparse constant" in problems(file.layer(dense, 5))


def test_sparse_weights_straight_into_a_convolution():
    file = LayerFile()
    file.operator("CONV_2D", [file.x, file.kernel(block=None)], [file.y], version=3)
    assert "CONV_2D y reads sparse weights" in problems(file.finish([file.x], [file.y]))


def test_dense_weights_with_a_scale_for_each_channel_and_an_old_version():
    file = LayerFile(np.float32)
    found = problems(file.layer(file.kernel(is_sparse=False, scales=(0.1, 0.2)), 9))
    assert "version 9 (needs 12)" in found
    file = LayerFile(np.float32)
    assert problems(file.layer(file.kernel(is_sparse=False, scales=(0.1, 0.2)), 12)) == ""


def test_weights_whose_zero_is_another_integer():
    file = LayerFile()
    content = file.layer(file.kernel(is_sparse=False, zero_points=[3]), 4)
    assert "kernel have a zero point" in problems(content)


def test_a_scale_that_is_no_number():
    file = LayerFile()
    content = file.layer(file.kernel(is_sparse=False, scales=(np.nan,)), 4)
    assert "not a positive number" in problems(content)


@pytest.mark.parametrize("name, kind", [("FlexErf", "Flex"), ("MyOperator", "custom")])
def test_operators_that_stock_runtimes_do_not_have(name, kind):
    file = LayerFile(np.float32)
    file.operator("CUSTOM", [file.x], [file.y])
    file.model.operatorCodes[0].customCode = name.encode()
    found = problems(file.finish([file.x], [file.y]))
    assert f"{kind} operator {name} computes y" in found


def test_an_open_shape():
    file = LayerFile()
    file.graph.tensors[file.x].shapeSignature = np.int32([-1, 16])
    assert "x has the open shape [-1, 16]" in problems(file.layer(file.kernel()))


def test_a_shape_that_is_computed():
    file = LayerFile(np.float32)
    shape = file.tensor("shape", [2], np.int32)
    file.operator("RESHAPE", [file.x, shape], [file.y])
    found = problems(file.finish([file.x, shape], [file.y]))
    assert "RESHAPE computes the shape of y" in found


def test_a_shape_that_depends_on_values():
    file = LayerFile(np.float32)
    file.operator("WHERE", [file.x], [file.y])
    assert "WHERE computes the shape" in problems(file.finish([file.x], [file.y]))


@pytest.mark.parametrize("type_name", ["INT64", "FLOAT64", "STRING"])
def test_inputs_of_other_types(type_name):
    file = LayerFile()
    ids = file.tensor("ids", [1], np.int32)
    file.graph.tensors[ids].type = getattr(schema.TensorType, type_name)
    file.operator("ADD", [file.x, file.x], [file.y])
    found = problems(file.finish([file.x, ids], [file.y]))
    assert f"input ids is {type_name.lower()}" in found


def test_outputs_of_other_types():
    file = LayerFile()
    file.operator("ARG_MAX", [file.x], [file.y])
    file.graph.tensors[file.y].type = schema.TensorType.INT64
    assert "output y is int64" in problems(file.finish([file.x], [file.y]))


def test_all_problems_are_listed_at_once():
    file = LayerFile(np.float32)
    found = guard.find_problems(file.layer(file.kernel(block=None, scales=(0.1, 0.2)), 5))
    assert len(found) == 3


def test_a_file_that_was_cut_off(dense_file):
    with pytest.raises(UserError, match="damaged"):
        guard.check(dense_file[: len(dense_file) // 2])
