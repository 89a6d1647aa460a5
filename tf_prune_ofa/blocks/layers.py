"""The INT8 fully-connected layers of a file that can be computed in blocks, and why others cannot.

Legend: N outputs · K inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.tflite import flatbuffer
from tf_prune_ofa.tflite.graph import Graph, schema

_ACTIVATIONS = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU_N1_TO_1,
    schema.ActivationFunctionType.RELU6,
)


@dataclass(frozen=True)
class LayerNumbers:
    """What a static INT8 FULLY_CONNECTED computes with.

    Attributes:
        name: of its kernel in the file.
        source: the tensor it reads, INT8 [..., K].
        result: the tensor it writes, INT8 [..., N].
        rows: how many vectors of K there are.
        kernel: INT8 [N, K].
        weight_scales: float32 [N].
        bias: INT32 [N]; zeros if the layer has none.
        bias_scales: float32 [N].
        result_quantization: parameters of `result`.
        activation: what is fused into the layer, by number.
    """

    name: str
    source: int
    result: int
    rows: int
    kernel: np.ndarray
    weight_scales: np.ndarray
    bias: np.ndarray
    bias_scales: np.ndarray
    result_quantization: Any
    activation: int


def why_not(graph: Graph, operator: Any) -> str | None:
    """Return why a FULLY_CONNECTED cannot be computed in blocks; None if it can."""
    source, weights = int(operator.inputs[0]), int(operator.inputs[1])
    result = int(operator.outputs[0])
    if not graph.is_constant(weights):
        return "its weights are computed"
    if graph.tensors[weights].sparsity is not None:
        return "its weights are stored sparsely"
    if graph.dtype(weights) != np.int8:
        return "its weights are not INT8"
    if graph.dtype(source) == np.float32:
        # The runtime chooses the range of each input row from all of its K numbers.
        return "its input is float: parts of a row would get other ranges than the whole"
    if graph.dtype(source) != np.int8 or graph.dtype(result) != np.int8:
        return "it does not compute from INT8 to INT8"
    if any(flatbuffer.is_dynamic(graph.tensors[tensor]) for tensor in (source, result)):
        return "how many rows it computes is known only when the file runs"
    if operator.builtinOptions.weightsFormat != 0:
        return "its weights are stored in a shuffled order"
    if operator.builtinOptions.fusedActivationFunction not in _ACTIVATIONS:
        return "it has a fused activation that convolutions do not have"
    for tensor in (source, result):
        if scales_of(graph, tensor).size != 1:
            return f"{graph.name(tensor)} has not one scale"
    outputs, inputs = graph.shape(weights)
    if scales_of(graph, weights).size not in (1, outputs) or _axis(graph, weights) != 0:
        return "its weights have not one scale, or one for each output"
    if np.any(np.asarray(graph.tensors[weights].quantization.zeroPoint) != 0):
        return "its weights have a zero point"
    if graph.is_constant(source):
        return "its input is a constant"
    if np.prod(graph.shape(source)) % inputs or not np.prod(graph.shape(source)):
        return "its input does not fit its weights"
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    if has_bias and not graph.is_constant(operator.inputs[2]):
        return "its bias is computed"
    if has_bias and graph.dtype(operator.inputs[2]) != np.int32:
        return "its bias is not INT32"
    return None


def read_layer(graph: Graph, operator: Any) -> LayerNumbers:
    """Return the numbers of a FULLY_CONNECTED for which `why_not` knows no reason."""
    source, weights = int(operator.inputs[0]), int(operator.inputs[1])
    result = int(operator.outputs[0])
    kernel = graph.constant(weights)
    outputs, inputs = kernel.shape
    # XNNPACK gives a layer of one scale that scale for every channel, too.
    weight_scales = np.broadcast_to(scales_of(graph, weights), [outputs]).astype(np.float32)
    bias = np.zeros(outputs, np.int32)
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = graph.constant(operator.inputs[2])
    return LayerNumbers(
        name=graph.name(weights),
        source=source,
        result=result,
        rows=int(np.prod(graph.shape(source))) // inputs,
        kernel=kernel,
        weight_scales=weight_scales,
        bias=bias,
        bias_scales=scales_of(graph, source)[0] * weight_scales,
        result_quantization=graph.tensors[result].quantization,
        activation=operator.builtinOptions.fusedActivationFunction,
    )


def scales_of(graph: Graph, tensor: int) -> np.ndarray:
    """Return a tensor's scales, float32 [count]; none if it is not quantized."""
    parameters = graph.tensors[tensor].quantization
    if parameters is None or parameters.scale is None:
        return np.zeros(0, np.float32)
    return np.asarray(parameters.scale, np.float32)


def _axis(graph: Graph, tensor: int) -> int:
    return graph.tensors[tensor].quantization.quantizedDimension
