"""INT8 files from a float32 file: passes over the file, without TensorFlow.

`dense_int8` is static: fully-connected layers compute INT8 x INT8 -> INT8 with ranges fixed by
training or calibration, and so do the products inside attention where there is a range of the
scores. `dynamic_int8` stores INT8 weights and lets the runtime choose the range of each input when
it runs. Softmax, LayerNorm, GELU and residual sums stay float32 in both: XNNPACK has no INT8
kernels for most of them, and they are a small part of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.conversion import attention, embeddings, equalize, integers
from tf_prune_ofa.conversion.attention import Attention
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import dense_layers, guard
from tf_prune_ofa.tflite.dense_layers import DenseLayer
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

Ranges = Mapping[str, tuple[float, float]]

# FULLY_CONNECTED versions: 5 = keep_num_dims (INT8 is 4), 6 = without bias, 12 = float input with
# one weight scale for each channel (older runtimes would use the first scale for all).
_STATIC_VERSION = 5
_NO_BIAS_VERSION = 6
_DYNAMIC_VERSION = 12
# Layers that dense_int4 stores in INT4; a head is small, and its errors are the answer's.
INT4_PREFIX = "encoder_"
_KEPT_ACTIVATIONS = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)


def dense_int8(
    float32_file: bytes,
    ranges: Ranges,
    outlier_scales: Mapping[str, np.ndarray] | None = None,
    *,
    words: str = "int8",
) -> bytes:
    """Quantize fully-connected layers statically, and embedding tables.

    A layer becomes INT8 where `ranges` has its input and its output; others stay float32 (see
    `float_layers`). Weights have one scale for each output channel and zero point 0; inputs and
    outputs one scale and zero point.

    Args:
        float32_file: from `convert.to_float32`.
        ranges: Keras layer name -> (min, max). A Dense's own name gives the range of its output
            (with bias, before any activation), the name of the layer in front that of its input.
            An attention's `<prefix>/scores` gives the range of its scores before the mask, and
            makes it compute in INT8 (see `attention`).
        outlier_scales: by Dense name, a divisor of each output channel, a power of two. The
            layer computes the divided output, for which its range is meant, and a MUL behind it
            multiplies it back; so a few outlying channels do not set the step of all. By the name
            of the layer in front, the same of the input (`equalize`).
        words: "int8" or "int4", of the table of words; see `embeddings`.

    Raises:
        UserError: no layer has both ranges, a range is empty, a name is no layer of the file, or
            scales are not one for each channel.
    """
    graph = Graph(float32_file)
    layers = dense_layers.read_stamps(graph)
    outlier_scales = outlier_scales or {}
    _check_scales(outlier_scales, graph, layers)
    static = {name: layer for name, layer in layers.items() if why_float(layer, ranges) is None}
    equalize.divide_inputs(graph, static, outlier_scales)
    attentions = attention.find(graph, layers)
    _check_ranges(ranges, layers, attentions)
    attentions = [found for found in attentions if _is_int8(found, layers, ranges)]
    for found in attentions:
        ranges = dict(ranges) | {
            name: attention.symmetric(ranges[name]) for name in (found.key, found.value)
        }
    operators: list[Any] = []
    quantized_inputs: dict[tuple[int, float, int], int] = {}
    for operator in graph.operators:
        layer = dense_layers.layer_of(graph, operator, layers)
        if layer is None or why_float(layer, ranges) is not None:
            operators.append(operator)
            continue
        source = int(operator.inputs[0])
        parameters = integers.activation_params(*ranges[layer.input_name])
        key = (source, *parameters)
        if key not in quantized_inputs:
            quantized_inputs[key] = _int8_copy(graph, source, parameters)
            operators.append(graph.new_operator("QUANTIZE", [source], [quantized_inputs[key]]))
        scales = outlier_scales.get(layer.name)
        operators += _static_layer(graph, operator, layer, quantized_inputs[key], ranges, scales)
    graph.set_operators(operators)
    attention.to_int8(graph, attentions, ranges)
    embeddings.to_int8(graph, words)
    return _checked(graph)


def dynamic_int8(float32_file: bytes, *, words: str = "int8", int4: bool = False) -> bytes:
    """Quantize the weights of every fully-connected layer, and embedding tables.

    Weights as in `dense_int8`; inputs and outputs stay float32, and the runtime quantizes each
    input with its own range. tflite-runtime 2.14 does not load such a file: it knows only one scale
    for a whole kernel where the input is float.

    Args:
        float32_file: from `convert.to_float32`.
        words: as of `dense_int8`.
        int4: store the weights of the encoder's layers in INT4 (the variant dense_int4). Static
            files cannot: LiteRT before 2 runs INT4 weights with INT8 inputs 60 times slower.
    """
    graph = Graph(float32_file)
    for operator in graph.operators:
        if not dense_layers.has_constant_kernel(graph, operator):
            continue
        name, kernel = graph.name(operator.inputs[1]), graph.constant(operator.inputs[1])
        if int4 and name.startswith(INT4_PREFIX) and kernel.shape[1] % 2 == 0:
            scales = integers.int4_channel_scales(kernel)
            steps = integers.quantize_int4(kernel, scales)
            operator.inputs[1] = graph.add_int4(name, steps, quantization(scales))
        else:
            scales = integers.weight_scales(kernel)
            steps = integers.quantize_weights(kernel, scales)
            operator.inputs[1] = graph.add_constant(name, steps, quantization(scales))
        operator.builtinOptions.asymmetricQuantizeInputs = True
        operator.opcodeIndex = graph.opcode("FULLY_CONNECTED", _DYNAMIC_VERSION)
    embeddings.to_int8(graph, words)
    return _checked(graph)


def float_layers(float32_file: bytes, ranges: Ranges) -> dict[str, str]:
    """Return the Dense layers that `dense_int8` leaves in float32, each with the reason."""
    layers = dense_layers.read_stamps(Graph(float32_file))
    reasons = {name: why_float(layer, ranges) for name, layer in layers.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def why_float(layer: DenseLayer, ranges: Ranges) -> str | None:
    """Return why a layer cannot be INT8 with these ranges; None if it can."""
    if not layer.is_linear:
        return "its Keras layer has an activation of its own, so its range is not the sum's"
    missing = [name for name in (layer.input_name, layer.name) if name not in ranges]
    return f"no range for {' and '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Int8Layer:
    """The numbers of a static INT8 layer; a real number is scale * (integer - zero point).

    `kernel` is INT8 [out, in] with zero point 0 and scales [out]; `bias` is INT32 [out] with scales
    input_scale * weight_scales, or None. `output_scale` is that of the file's output, which is the
    Keras layer's times `factor`; `output_tensor` is that output's index in the file.
    """

    kernel: np.ndarray
    weight_scales: np.ndarray
    bias: np.ndarray | None
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    factor: float
    output_tensor: int


def int8_layers(file: bytes) -> dict[str, Int8Layer]:
    """Return the integers and scales of all static INT8 layers of a file, by Keras layer name.

    Args:
        file: variant dense_int8 or sparse_int8.
    """
    graph = Graph(file)
    layers = dense_layers.read_stamps(graph)
    unpacked = {
        int(op.outputs[0]): int(op.inputs[0])
        for op in graph.operators
        if graph.op_name(op) == "DENSIFY"
    }
    found = {}
    for operator in graph.operators:
        if graph.op_name(operator) not in ("FULLY_CONNECTED", "CONV_2D"):
            continue
        source, result = int(operator.inputs[0]), int(operator.outputs[0])
        stored = unpacked.get(int(operator.inputs[1]), int(operator.inputs[1]))
        name = graph.name(stored).removesuffix(dense_layers.KERNEL_SUFFIX)
        if name not in layers or graph.dtype(source) != np.int8:
            continue
        values = graph.values(stored)
        biases = [int(tensor) for tensor in operator.inputs[2:] if tensor >= 0]
        found[name] = Int8Layer(
            values.reshape(len(values), -1),
            np.asarray(graph.tensors[int(operator.inputs[1])].quantization.scale),
            graph.constant(biases[0]) if biases else None,
            *_parameters(graph, source),
            *_parameters(graph, result),
            factor=layers[name].factor,
            output_tensor=result,
        )
    return found


def _parameters(graph: Graph, tensor: int) -> tuple[float, int]:
    parameters = graph.tensors[tensor].quantization
    return float(parameters.scale[0]), int(parameters.zeroPoint[0])


def _static_layer(
    graph: Graph,
    operator: Any,
    layer: DenseLayer,
    source: int,
    ranges: Ranges,
    outlier_scales: np.ndarray | None,
) -> list[Any]:
    """Return the INT8 FULLY_CONNECTED for a float one, and what makes its output float again."""
    input_scale = float(graph.tensors[source].quantization.scale[0])
    kernel = graph.constant(operator.inputs[1])
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    bias = graph.constant(operator.inputs[2]) if has_bias else None
    if outlier_scales is not None:
        # Powers of two: the integers stay the same, only the scales change.
        kernel = kernel / outlier_scales[:, None]
        bias = None if bias is None else bias / outlier_scales
    scales = integers.weight_scales(kernel, bias, input_scale)
    weights = graph.add_constant(
        graph.name(operator.inputs[1]),
        integers.quantize_weights(kernel, scales),
        quantization(scales),
    )
    inputs = [source, weights]
    if bias is not None:
        bias_scales = np.float32(input_scale) * scales
        inputs.append(
            graph.add_constant(
                graph.name(operator.inputs[2]),
                integers.quantize_bias(bias, bias_scales),
                quantization(bias_scales),
            )
        )
    if operator.builtinOptions.fusedActivationFunction not in _KEPT_ACTIVATIONS:
        raise UserError(
            f"{layer.name} has a fused activation that INT8 layers do not have. Put the activation "
            "into a layer of its own behind the Dense."
        )
    low, high = (layer.factor * end for end in ranges[layer.name])
    result = int(operator.outputs[0])
    output = _int8_copy(graph, result, integers.activation_params(low, high))
    version = _STATIC_VERSION if has_bias else _NO_BIAS_VERSION
    layer_operator = graph.new_operator(
        "FULLY_CONNECTED", inputs, [output], operator.builtinOptions, version
    )
    if outlier_scales is None:
        return [layer_operator, graph.new_operator("DEQUANTIZE", [output], [result])]
    divided = graph.add_tensor(f"{graph.name(result)}/divided", graph.shape(result), np.float32)
    # Files have had this name from the start; renamed, their bytes would differ.
    multipliers = graph.add_constant(f"{layer.name}/factors", outlier_scales.astype(np.float32))
    return [
        layer_operator,
        graph.new_operator("DEQUANTIZE", [output], [divided]),
        graph.new_operator("MUL", [divided, multipliers], [result], schema.MulOptionsT()),
    ]


def _int8_copy(graph: Graph, tensor: int, parameters: tuple[float, int]) -> int:
    scale, zero_point = parameters
    name = f"{graph.name(tensor)}/int8"
    return graph.add_tensor(name, graph.shape(tensor), np.int8, quantization(scale, zero_point))


def _is_int8(found: Attention, layers: Mapping[str, DenseLayer], ranges: Ranges) -> bool:
    """Return whether an attention can be INT8: so are the layers around, and there is a range."""
    prefix = found.query.rpartition("/")[0]
    around = (found.query, found.key, found.value, f"{prefix}/output")
    return found.scores_name in ranges and all(
        name in layers and why_float(layers[name], ranges) is None for name in around
    )


def _check_ranges(
    ranges: Ranges, layers: Mapping[str, DenseLayer], attentions: Sequence[Attention]
) -> None:
    known = {name for layer in layers.values() for name in (layer.name, layer.input_name)}
    known |= {found.scores_name for found in attentions}
    unknown = sorted(set(ranges) - known)
    if unknown:
        raise UserError(
            f"ranges name {len(unknown)} layers that are neither a Dense, nor in front of one, nor "
            f"an attention's scores: {', '.join(unknown)}. Give the ranges of this model."
        )
    if all(why_float(layer, ranges) is not None for layer in layers.values()):
        raise UserError(
            "no Dense layer has a range for its input and one for its output, so nothing would be "
            f"INT8. Ranges are given for: {', '.join(sorted(ranges)) or 'nothing'}."
        )


def _check_scales(
    scales: Mapping[str, np.ndarray], graph: Graph, layers: Mapping[str, DenseLayer]
) -> None:
    """Refuse scales that would be left out: their ranges are of divided values."""
    channels: dict[str, int] = {}
    for operator in graph.operators:
        layer = dense_layers.layer_of(graph, operator, layers)
        if layer is not None:
            outputs, inputs = graph.shape(int(operator.inputs[1]))
            channels |= {layer.name: outputs, layer.input_name: inputs}
    wrong = [
        f"{name} ({len(values)} for {channels.get(name, 'no')} channels)"
        for name, values in scales.items()
        if len(values) != channels.get(name)
    ]
    if wrong:
        raise UserError(
            f"outlier scales do not fit the model: {', '.join(wrong[:5])}. Give the ranges of this "
            "model."
        )


def _checked(graph: Graph) -> bytes:
    content = graph.to_bytes()
    guard.check(content)
    return content
