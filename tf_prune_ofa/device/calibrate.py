"""The delegate's costs on a device: measured there, written as a cost table for its processor.

The delegate takes a layer if its table expects that to be faster than the runtime's dense one. The
shipped tables are of other processors; this one is made of the runtime's speed on a dense layer
and of the delegate's own on sparse ones (native/bench/cost_bench.cc), both on this device.
"""

from __future__ import annotations

import re

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import flatbuffer

TOKENS, SIZE = 128, 768
TABLE = "costs.txt"


def dense_layer() -> bytes:
    """Return a file with one dense INT8 layer: [1, 128, 768] to 768 numbers."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators = [], []
    kernel = np.random.default_rng(0).integers(-127, 128, [SIZE, SIZE], np.int8)
    ends = [
        _tensor(model, name, [1, TOKENS, SIZE], schema.TensorType.INT8, 0.05) for name in ("x", "y")
    ]
    weights = _tensor(model, "kernel", [SIZE, SIZE], schema.TensorType.INT8, 0.001, kernel)
    zeros = np.zeros(SIZE, np.int32)
    bias = _tensor(model, "bias", [SIZE], schema.TensorType.INT32, 0.05 * 0.001, zeros)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 5
    model.operatorCodes = [code]
    operator, options = schema.OperatorT(), schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = options
    operator.inputs = np.array([ends[0], weights, bias], np.int32)
    operator.outputs = np.array([ends[1]], np.int32)
    graph.operators = [operator]
    graph.inputs, graph.outputs = (np.array([end], np.int32) for end in ends)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


def products_per_nanosecond(milliseconds: float) -> float:
    """Return the runtime's speed, from the time of `dense_layer`."""
    return TOKENS * SIZE * SIZE / (1e6 * milliseconds)


def table_of(output: str, processor: str, speed: float) -> str | None:
    """Return the cost table in what cost_bench printed, with a head; None if it is none."""
    found = re.search(r"^\w+( \d+(\.\d+)?){4}$", output, re.MULTILINE)
    if not found:
        return None
    return (
        f"# {processor}: measured there; dense, {speed:.1f} products a nanosecond\n"
        f"# set group column row layer, in products of the dense layer\n{found.group()}\n"
    )


def _tensor(
    model: schema.ModelT,
    name: str,
    shape: list[int],
    kind: int,
    scale: float,
    data: np.ndarray | None = None,
) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), kind
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.zeros(1, np.int64)
    if data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    graph = model.subgraphs[0]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
