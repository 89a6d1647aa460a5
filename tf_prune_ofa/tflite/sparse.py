"""Store pruned INT8 layers without their zeros, in a form that every runtime computes correctly.

The one form of sparse INT8 weights that all runtimes run, and at the speed of dense weights, is
DENSIFY in front of a CONV_2D: the runtime unpacks the weights once when it loads the file. So a
FULLY_CONNECTED becomes a convolution whose window is the whole input vector. The vector of K
numbers is laid out as W places of K/W channels, with K/W <= 256: column indices then fit one byte
where a 1x1 convolution over K > 256 channels needs two. Sums are over the same integers, so results
are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.tflite import flatbuffer, guard
from tf_prune_ofa.tflite.dense_layers import KERNEL_SUFFIX, layer_of_kernel
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

# DENSIFY, two RESHAPEs, and the tensors between: what the file grows by for one layer, measured.
OVERHEAD_BYTES = 1000
_INT8_CONV_VERSION = 3
# Those that convolutions have.
_ACTIVATIONS = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU_N1_TO_1,
    schema.ActivationFunctionType.RELU6,
)
_DENSE, _SPARSE_CSR = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR


@dataclass(frozen=True)
class Encoding:
    """How one kernel [N, K] is stored.

    `width` is the number of places W that K is split into; `values` INT8 [nonzeros]; `columns`
    [nonzeros] positions within a place; `segments` [N*W + 1] where each place's values start.
    """

    width: int
    values: np.ndarray
    columns: np.ndarray
    segments: np.ndarray

    @property
    def size_bytes(self) -> int:
        """Bytes of values and indices."""
        return self.values.nbytes + self.columns.nbytes + self.segments.nbytes


def encode(kernel: np.ndarray) -> Encoding:
    """Return the smallest encoding of a kernel.

    Args:
        kernel: INT8 [N, K].
    """
    channels = kernel.shape[1]
    # More places mean more segments; one byte suffices from the first width on.
    widths = [w for w in range(1, channels + 1) if channels % w == 0]
    one_byte = next(w for w in widths if channels // w <= 256)
    return min((_encode(kernel, w) for w in {1, one_byte}), key=lambda e: e.size_bytes)


def sparse_int8(dense_int8_file: bytes, *, is_ours: bool = True) -> bytes:
    """Store INT8 layers without their zeros where that is smaller.

    Args:
        dense_int8_file: from `int8.dense_int8`.
        is_ours: otherwise forms that the file has already are not refused.

    Returns:
        A file with the same results, bit for bit with XNNPACK.
    """
    content = dense_int8_file
    for index in range(len(Graph(content).model.subgraphs)):
        graph = Graph(content, index)
        operators: list[Any] = []
        reshaped: dict[tuple[int, int], int] = {}
        for operator in graph.operators:
            encoding = _worthwhile_encoding(graph, operator)
            if encoding is None:
                operators.append(operator)
            else:
                operators += _as_convolution(graph, operator, encoding, reshaped)
        graph.set_operators(operators)
        content = graph.to_bytes()
    guard.check(content, before=None if is_ours else dense_int8_file)
    return content


def stored_layers(file: bytes) -> dict[str, tuple[int, bool]]:
    """Return (bytes stored, is sparse) of each Dense layer's kernel, by layer name.

    Sparse is a kernel without its zeros, or one of which only the live blocks are in the file.
    """
    graph = Graph(file)
    found: dict[str, tuple[int, bool]] = {}
    for tensor, entry in enumerate(graph.tensors):
        name = graph.name(tensor)
        layer = layer_of_kernel(name)
        if layer is not None and graph.is_constant(tensor):
            size, _ = found.get(layer, (0, False))
            is_sparse = entry.sparsity is not None or not name.endswith(KERNEL_SUFFIX)
            found[layer] = (size + graph.stored_bytes(tensor), is_sparse)
    return found


def _encode(kernel: np.ndarray, width: int) -> Encoding:
    places = kernel.reshape(kernel.shape[0] * width, kernel.shape[1] // width)
    row, column = np.nonzero(places)
    segments = np.searchsorted(row, np.arange(len(places) + 1))
    return Encoding(
        width=width,
        values=places[row, column],
        columns=column.astype(_smallest_type(places.shape[1] - 1)),
        segments=segments.astype(_smallest_type(len(row))),
    )


def _smallest_type(largest: int) -> type[np.generic]:
    # The types that the file format has for indices.
    if largest < 2**8:
        return np.uint8
    return np.uint16 if largest < 2**16 else np.int32


def _worthwhile_encoding(graph: Graph, operator: Any) -> Encoding | None:
    if graph.op_name(operator) != "FULLY_CONNECTED" or not _is_plain_int8(graph, operator):
        return None
    kernel = graph.constant(int(operator.inputs[1]))
    if not kernel.any():
        return None  # a tensor without any stored value is none to the runtime
    encoding = encode(kernel)
    smaller = encoding.size_bytes + OVERHEAD_BYTES < kernel.nbytes
    return encoding if smaller else None


def _is_plain_int8(graph: Graph, operator: Any) -> bool:
    """Return whether a layer computes from INT8 to INT8 in a way that a convolution does, too."""
    source, weights = (int(tensor) for tensor in operator.inputs[:2])
    result = int(operator.outputs[0])
    tensors = [graph.tensors[tensor] for tensor in (source, weights, result)]
    return (
        all(graph.dtype(tensor) == np.int8 for tensor in (source, weights, result))
        and all(tensor.quantization is not None for tensor in tensors)
        and graph.is_constant(weights)
        and graph.tensors[weights].sparsity is None
        and not graph.is_constant(source)
        and not np.any(flatbuffer.numbers(graph.tensors[weights].quantization.zeroPoint))
        and not any(flatbuffer.is_dynamic(tensor) for tensor in tensors)
        and operator.builtinOptions.weightsFormat == 0
        and operator.builtinOptions.fusedActivationFunction in _ACTIVATIONS
    )


def _as_convolution(
    graph: Graph, operator: Any, encoding: Encoding, reshaped: dict[tuple[int, int], int]
) -> list[Any]:
    """Return the operators that stand for one FULLY_CONNECTED.

    Args:
        graph: the file.
        operator: the FULLY_CONNECTED.
        encoding: its kernel.
        reshaped: (tensor, width) -> that tensor as an image; layers with one input share it.
    """
    source, weights, *bias = (int(tensor) for tensor in operator.inputs)
    result = int(operator.outputs[0])
    outputs, inputs = graph.shape(weights)
    rows = int(np.prod(graph.shape(source))) // inputs
    name = graph.name(weights)
    operators = []

    image = reshaped.get((source, encoding.width))
    if image is None:
        shape = [1, rows, encoding.width, inputs // encoding.width]
        image = graph.add_like(source, f"{graph.name(source)}/image{encoding.width}", shape)
        reshaped[source, encoding.width] = image
        operators.append(_reshape(graph, source, image))

    filter_shape = [outputs, 1, encoding.width, inputs // encoding.width]
    stored = graph.add_constant(
        name,
        encoding.values,
        graph.tensors[weights].quantization,
        _sparsity(encoding, filter_shape),
        filter_shape,
    )
    unpacked = graph.add_like(weights, f"{name}/dense", filter_shape)
    operators.append(graph.new_operator("DENSIFY", [stored], [unpacked], schema.DensifyOptionsT()))

    if not bias or bias[0] < 0:
        input_scale = graph.tensors[source].quantization.scale[0]
        scales = input_scale * graph.tensors[weights].quantization.scale
        zeros = np.zeros(outputs, np.int32)
        bias = [graph.add_constant(f"{name}/no_bias", zeros, quantization(scales))]
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
    columns = graph.add_like(result, f"{graph.name(result)}/image", [1, rows, 1, outputs])
    convolution = [image, unpacked, bias[0]]
    operators.append(
        graph.new_operator("CONV_2D", convolution, [columns], options, _INT8_CONV_VERSION)
    )
    operators.append(_reshape(graph, columns, result))
    return operators


def _sparsity(encoding: Encoding, shape: list[int]) -> schema.SparsityParametersT:
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.arange(len(shape), dtype=np.int32)
    sparsity.dimMetadata = []
    for size in shape[:-1]:
        dimension = schema.DimensionMetadataT()
        dimension.format = _DENSE
        dimension.denseSize = size
        sparsity.dimMetadata.append(dimension)
    dimension = schema.DimensionMetadataT()
    dimension.format = _SPARSE_CSR
    dimension.arraySegmentsType, dimension.arraySegments = _index_vector(encoding.segments)
    dimension.arrayIndicesType, dimension.arrayIndices = _index_vector(encoding.columns)
    sparsity.dimMetadata.append(dimension)
    return sparsity


def _index_vector(values: np.ndarray) -> tuple[int, Any]:
    kinds: Mapping[type, tuple[int, type]] = {
        np.uint8: (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
        np.uint16: (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
        np.int32: (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
    }
    kind, vector_class = kinds[values.dtype.type]
    vector = vector_class()
    vector.values = values
    return kind, vector


def _reshape(graph: Graph, source: int, result: int) -> Any:
    shape = np.asarray(graph.shape(result), np.int32)
    target = graph.add_constant(f"{graph.name(result)}/shape", shape)
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    return graph.new_operator("RESHAPE", [source, target], [result], options)
