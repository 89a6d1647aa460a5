import random

import numpy as np
import pytest
import tflite_files
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer


def constant(**options):
    file = tflite_files.FileBuilder()
    index = file.tensor("kernel", options.pop("shape"), options.pop("dtype"), **options)
    model = flatbuffer.parse_model(file.finish([], []))
    return model, model.subgraphs[0].tensors[index]


def sparse_kernel():
    return constant(
        shape=[4, 4], dtype=np.float32, data=[1, 2, 3, 4], sparsity=tflite_files.block_sparsity()
    )


def test_reads_dense_values():
    model, tensor = constant(shape=[4, 4], dtype=np.float32, data=tflite_files.KERNEL)
    np.testing.assert_array_equal(flatbuffer.tensor_values(model, tensor), tflite_files.KERNEL)
    assert flatbuffer.stored_bytes(model, tensor) == 4 * 16


def test_writes_blocks_of_a_sparse_tensor_to_their_places():
    model, tensor = sparse_kernel()
    np.testing.assert_array_equal(flatbuffer.tensor_values(model, tensor), tflite_files.KERNEL)
    # Four float32 values, five segments and two indices of one byte each.
    assert flatbuffer.stored_bytes(model, tensor) == 4 * 4 + 5 + 2


def test_follows_the_traversal_order_of_a_sparse_tensor():
    # The same block pattern, but stored column by column: columns are level 0, rows level 1.
    columns, rows = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    columns.format, columns.denseSize = schema.DimensionType.DENSE, 4
    rows.format = schema.DimensionType.SPARSE_CSR
    rows.arraySegmentsType = rows.arrayIndicesType = schema.SparseIndexVector.Uint16Vector
    rows.arraySegments, rows.arrayIndices = schema.Uint16VectorT(), schema.Uint16VectorT()
    rows.arraySegments.values = np.array([0, 1, 2, 3, 4], np.uint16)
    rows.arrayIndices.values = np.array([2, 2, 0, 0], np.uint16)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.array([1, 0], np.int32)
    sparsity.dimMetadata = [columns, rows]
    model, tensor = constant(shape=[4, 4], dtype=np.float32, data=[3, 4, 1, 2], sparsity=sparsity)
    np.testing.assert_array_equal(flatbuffer.tensor_values(model, tensor), tflite_files.KERNEL)


def test_unpacks_int4_lowest_bits_first():
    model, tensor = constant(shape=[2], dtype=np.int8, data=[0, 0])
    tensor.type, tensor.shape = schema.TensorType.INT4, np.array([3])
    model.buffers[tensor.buffer].data = np.array([0xF1, 0x07], np.uint8)
    assert flatbuffer.tensor_values(model, tensor).tolist() == [1, -1, 7]


def test_refuses_index_arrays_that_contradict_the_shape():
    model, tensor = sparse_kernel()
    tensor.sparsity.dimMetadata[1].arrayIndices.values = np.array([1, 9], np.uint8)
    with pytest.raises(UserError, match="'kernel'.*do not fit that shape"):
        flatbuffer.tensor_values(model, tensor)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip archive", "is not a TFLite file"),
        (b"\x10\x00\x00\x00TFL3", "damaged"),
    ],
)
def test_names_what_is_wrong_with_a_file(tmp_path, content, says):
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        flatbuffer.read_model(file)
    assert str(file) in str(error.value)


def test_names_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        flatbuffer.read_model(tmp_path / "none.tflite")
    with pytest.raises(UserError, match="is a folder"):
        flatbuffer.read_model(tmp_path)


def test_every_cut_of_a_file_is_a_user_error():
    data = tflite_files.classifier()
    flatbuffer.parse_model(data)
    for length in range(len(data)):
        with pytest.raises(UserError):
            flatbuffer.parse_model(data[:length])


def test_flipped_bytes_never_raise_anything_but_a_user_error():
    file = tflite_files.FileBuilder()
    file.tensor(
        "kernel", [4, 4], np.float32, data=[1, 2, 3, 4], sparsity=tflite_files.block_sparsity()
    )
    data = file.finish([], [])
    chance = random.Random(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 4])):
            damaged[chance.randrange(8, len(data))] = chance.randrange(256)
        try:
            model = flatbuffer.parse_model(bytes(damaged))
            for tensor in model.subgraphs[0].tensors or []:
                flatbuffer.tensor_values(model, tensor)
                flatbuffer.stored_bytes(model, tensor)
        except UserError:
            refused += 1
    # Most bytes of so small a file are offsets and sizes; a change of padding or values may pass.
    assert refused > 200


def test_refuses_a_constant_that_is_shorter_than_its_shape():
    file = tflite_files.FileBuilder()
    file.tensor("kernel", [4, 4], np.float32, data=np.zeros(15))
    with pytest.raises(UserError, match="'kernel', has 60 bytes instead of 64"):
        flatbuffer.parse_model(file.finish([], []))


def test_refuses_an_operator_that_reads_a_tensor_which_is_not_there():
    file = tflite_files.FileBuilder()
    only = file.tensor("x", [1], np.float32)
    file.operator("RELU", [7], [only])
    with pytest.raises(UserError, match="tensor 7 of 1"):
        flatbuffer.parse_model(file.finish([], [only]))


@pytest.mark.parametrize("index", [2, 200])
def test_sparse_indices_stay_inside_the_shape(index):
    sparsity = tflite_files.block_sparsity()
    sparsity.dimMetadata[1].arrayIndices.values = np.array([1, index], np.uint8)
    file = tflite_files.FileBuilder()
    file.tensor("kernel", [4, 4], np.float32, data=[1, 2, 3, 4], sparsity=sparsity)
    with pytest.raises(UserError, match="'kernel'.*do not fit that shape"):
        flatbuffer.parse_model(file.finish([], []))


def damaged_signature(model):
    model.signatureDefs = [tflite_files.schema.SignatureDefT()]
    model.signatureDefs[0].subgraphIndex = 7


def damaged_metadata(model):
    model.metadata = [tflite_files.schema.MetadataT()]
    model.metadata[0].buffer = 99


def damaged_loop(model):
    operator = model.subgraphs[0].operators[0]
    operator.builtinOptionsType = tflite_files.schema.BuiltinOptions.WhileOptions
    operator.builtinOptions = tflite_files.schema.WhileOptionsT()
    operator.builtinOptions.bodySubgraphIndex = 3


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damaged_signature, "a signature is of subgraph 7"),
        (damaged_metadata, "metadata buffer 99"),
        (damaged_loop, "subgraph 3 of 1 is missing"),
    ],
)
def test_every_other_index_points_at_something(damage, says):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1], np.float32)
    file.operator("RELU", [x], [x])
    damage(file.model)
    with pytest.raises(UserError, match=says):
        flatbuffer.parse_model(file.finish([x], [x]))
