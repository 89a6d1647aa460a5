"""Small INT8 files whose time is that of their fully-connected layers, to measure a runtime with.

Legend: T tokens, N outputs, K inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import flatbuffer

# Of activations and weights: a sum of a few thousand products of random INT8 stays in range.
_SCALE, _WEIGHT_SCALE = 1.0, 1e-3
_FULLY_CONNECTED, _ADD = 0, 1


@dataclass(frozen=True)
class LayerShape:
    """What the time of a dense layer depends on.

    Attributes:
        is_static: INT8 activations; otherwise float ones, quantized as the layer runs.
        threads: of the runtime, and of the delegate.
        rows: N.
        columns: K.
        tokens: T.
    """

    is_static: bool
    threads: int
    rows: int
    columns: int
    tokens: int

    def turned(self) -> LayerShape:
        """The layer that leads back: K outputs, N inputs."""
        return LayerShape(self.is_static, self.threads, self.columns, self.rows, self.tokens)


def random_kernels(
    rng: np.random.Generator, shape: LayerShape, pairs: int, zeros: float, block: int
) -> list[np.ndarray]:
    """Return kernels of `pairs` pairs of layers, int8 [N, K] and [K, N], in turns.

    Args:
        rng: where they come from.
        shape: of the first of each pair.
        pairs: how many.
        zeros: share of the 1 x `block` that are 0.
        block: how many neighbours of a row are 0 together; divides K and N.
    """
    kernels = []
    for layer in range(2 * pairs):
        rows, columns = (shape.rows, shape.columns)[:: 1 if layer % 2 == 0 else -1]
        kernel = rng.integers(1, 128, [rows, columns], np.int8)
        if zeros:
            live = rng.random([rows, -(-columns // block)], np.float32) >= zeros
            kernel *= np.repeat(live, block, axis=1)[:, :columns]
        kernels.append(kernel)
    return kernels


def chain(shape: LayerShape, kernels: list[np.ndarray]) -> bytes:
    """Return a file in which each layer reads what the one before it wrote.

    Behind each layer stands an addition, as other operators do in an encoder: it is the runtime's,
    so that a delegate which takes the layers has to give back what it computed.

    Args:
        shape: of the first layer.
        kernels: of the layers, int8, each with as many columns as the one before has rows.
    """
    writer = _Writer(shape)
    x = writer.activations(shape.columns, _SCALE)
    writer.graph.inputs = np.array([x], np.int32)
    for kernel in kernels:
        y = writer.activations(len(kernel), _SCALE)
        writer.fully_connected(x, kernel, y)
        x = writer.activations(len(kernel), _SCALE)
        writer.add(y, x)
    writer.graph.outputs = np.array([x], np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(writer.model.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


class _Writer:
    """Collects the parts of one file."""

    def __init__(self, shape: LayerShape) -> None:
        self.shape = shape
        self.graph = graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.model = model = schema.ModelT()
        model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
        codes = (
            (schema.BuiltinOperator.FULLY_CONNECTED, 5 if shape.is_static else 9),
            (schema.BuiltinOperator.ADD, 2 if shape.is_static else 1),
        )
        model.operatorCodes = []
        for builtin, version in codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = version
            model.operatorCodes.append(code)

    def activations(self, width: int, scale: float) -> int:
        shape = [1, self.shape.tokens, width]
        if self.shape.is_static:
            return self._tensor(shape, schema.TensorType.INT8, scales=[scale])
        return self._tensor(shape, schema.TensorType.FLOAT32)

    def fully_connected(self, x: int, kernel: np.ndarray, y: int) -> None:
        scales = np.full(len(kernel), _WEIGHT_SCALE, np.float32)
        w = self._tensor(kernel.shape, schema.TensorType.INT8, data=kernel, scales=scales)
        zeros = np.zeros(len(kernel), np.int32 if self.shape.is_static else np.float32)
        if self.shape.is_static:
            b = self._tensor(
                zeros.shape, schema.TensorType.INT32, data=zeros, scales=_SCALE * scales
            )
        else:
            b = self._tensor(zeros.shape, schema.TensorType.FLOAT32, data=zeros)
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        self._operator(_FULLY_CONNECTED, [x, w, b], y, options)

    def add(self, x: int, y: int) -> None:
        self._operator(_ADD, [x, x], y, schema.AddOptionsT())

    def _operator(self, code: int, inputs: list[int], output: int, options: object) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(
            schema.BuiltinOptions, type(options).__name__.removesuffix("T")
        )
        self.graph.operators.append(operator)

    def _tensor(
        self,
        shape: tuple[int, ...] | list[int],
        dtype: int,
        *,
        data: np.ndarray | None = None,
        scales: np.ndarray | list[float] | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name = f"tensor {len(self.graph.tensors)}".encode()
        tensor.shape, tensor.type = np.array(shape, np.int32), dtype
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scales, np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1
