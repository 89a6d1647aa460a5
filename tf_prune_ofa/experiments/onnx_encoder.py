"""The suite's encoder as ONNX, for runtimes that do not read `.tflite` files.

`-m tf_prune_ofa.experiments.onnx_encoder JOB` runs in a Python that has NumPy and `onnx`, and
nothing else of what this package needs. The graph is written operator by operator in the forms that
PyTorch's exporter gives a Hugging Face BERT (opset 13), because those are the forms in which every
runtime recognises LayerNorm, GELU and attention.

Legend: S sequence · H hidden · A heads · D = H/A.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_OPSET = 13
_IR_VERSION = 8  # what runtimes of 2022 still read
_PADDING_SCORE = -1e4
_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")

Ranges = Mapping[str, tuple[float, float]]


def encoder(
    weights: Mapping[str, np.ndarray],
    *,
    num_layers: int,
    num_heads: int,
    sequence_length: int,
    epsilon: float,
    ranges: Ranges | None = None,
    integer_products: bool = False,
) -> Any:
    """Build a classifier of one text, batch 1.

    Args:
        weights: by the names of `models.bert.parameters`; kernels are [in, out].
        num_layers: of the encoder.
        num_heads: A.
        sequence_length: S.
        epsilon: of LayerNorm.
        ranges: (min, max) of dense layers' inputs by name of the layer in front of them. Where
            given, input and kernel of the encoder's dense layers carry QuantizeLinear and
            DequantizeLinear: UINT8 with one scale, INT8 with a scale for each output channel.
        integer_products: write those layers as MatMulInteger, integer bias, Cast and Mul instead,
            with one scale for a kernel: the form that DeepSparse has sparse INT8 kernels for.

    Returns:
        An `onnx.ModelProto` from int32 [1, S] `input_word_ids`, `input_mask` and, where the encoder
        has token types, `input_type_ids`, to float32 [1, labels] `logits`.
    """
    graph = (_IntegerGraph if integer_products else _Graph)(weights, ranges or {}, epsilon)
    hidden = weights["embeddings/word/embeddings"].shape[1]
    length, head = sequence_length, hidden // num_heads
    has_types = "embeddings/type/embeddings" in weights
    inputs = _INPUTS if has_types else _INPUTS[:2]

    x = graph.op(
        "Gather", graph.weight("embeddings/word/embeddings"), "input_word_ids", axis=0
    )  # [1, S, H]
    positions = weights["embeddings/position/embeddings"][None, :length]
    x = graph.op("Add", x, graph.constant("embeddings/position", positions))
    if has_types:
        types = graph.weight("embeddings/type/embeddings")
        x = graph.op("Add", x, graph.op("Gather", types, "input_type_ids", axis=0))
    x = graph.layer_norm(x, "embeddings/norm")

    mask = graph.op("Cast", "input_mask", to=1)  # 1: float32
    mask = graph.op("Unsqueeze", mask, graph.constant("mask/axes", np.array([1, 2])))
    mask = graph.op("Sub", graph.scalar(1.0), mask)
    mask = graph.op("Mul", mask, graph.scalar(_PADDING_SCORE))  # [1, 1, 1, S]

    for index in range(num_layers):
        name = f"encoder_{index:02d}"
        source = graph.quantized(x, f"{name}/attention/input")
        query, key, value = (
            graph.heads(
                graph.dense(source, f"{name}/attention/{part}"), length, num_heads, head, to
            )
            for part, to in (
                ("query", (0, 2, 1, 3)),
                ("key", (0, 2, 3, 1)),
                ("value", (0, 2, 1, 3)),
            )
        )
        scores = graph.op("MatMul", query, key)
        scores = graph.op("Div", scores, graph.scalar(head**0.5))
        scores = graph.op("Softmax", graph.op("Add", scores, mask), axis=3)
        context = graph.op("Transpose", graph.op("MatMul", scores, value), perm=(0, 2, 1, 3))
        context = graph.reshape(context, (1, length, hidden))
        context = graph.quantized(context, f"{name}/attention/context")
        attention = graph.dense(context, f"{name}/attention/output")
        x = graph.layer_norm(graph.op("Add", attention, x), f"{name}/attention/norm")

        ffn = graph.dense(graph.quantized(x, f"{name}/ffn/input"), f"{name}/ffn/intermediate")
        ffn = graph.quantized(graph.gelu(ffn), f"{name}/ffn/activation")
        ffn = graph.dense(ffn, f"{name}/ffn/output")
        x = graph.layer_norm(graph.op("Add", ffn, x), f"{name}/ffn/norm")

    first = graph.op("Gather", x, graph.constant("first_token", np.array(0)), axis=1)  # [1, H]
    if "pooler/kernel" in weights:
        first = graph.op("Tanh", graph.dense(first, "pooler"))
    else:
        first = graph.op("Relu", graph.dense(first, "classifier/pre"))
    graph.dense(first, "classifier", output="logits")
    labels = weights["classifier/kernel"].shape[1]
    return graph.model({name: (1, length) for name in inputs}, {"logits": (1, labels)})


class _Graph:
    """Collects operators and constants."""

    def __init__(self, weights: Mapping[str, np.ndarray], ranges: Ranges, epsilon: float) -> None:
        import onnx  # not in this package's own environment

        self.onnx = onnx
        self.weights = weights
        self.ranges = ranges
        self.epsilon = epsilon
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.rounded: set[str] = set()  # what `quantized` gave back

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operator; return the name of its result."""
        output = output or f"{kind}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(np.asarray(value), name)
        return name

    def scalar(self, value: float) -> str:
        return self.constant(f"scalar/{value}", np.float32(value))

    def weight(self, name: str) -> str:
        return self.constant(name, np.ascontiguousarray(self.weights[name], np.float32))

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self.op("Reshape", x, self.constant(f"shape/{shape}", np.array(shape)))

    def heads(self, x: str, length: int, num_heads: int, head: int, order: tuple[int, ...]) -> str:
        """[1, S, H] -> [1, A, S, D], or the order that is asked for."""
        return self.op("Transpose", self.reshape(x, (1, length, num_heads, head)), perm=order)

    def dense(self, x: str, name: str, output: str | None = None) -> str:
        as_constant = self.quantized_kernel if x in self.rounded else self.weight
        product = self.op("MatMul", x, as_constant(f"{name}/kernel"))
        return self.op("Add", product, self.weight(f"{name}/bias"), output=output)

    def layer_norm(self, x: str, name: str) -> str:
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        square = self.op("Pow", centred, self.scalar(2.0))
        variance = self.op("Add", self.op("ReduceMean", square, axes=[-1]), self.epsilon_scalar())
        normed = self.op("Div", centred, self.op("Sqrt", variance))
        scaled = self.op("Mul", normed, self.weight(f"{name}/gamma"))
        return self.op("Add", scaled, self.weight(f"{name}/beta"))

    def epsilon_scalar(self) -> str:
        return self.constant("epsilon", np.float32(self.epsilon))

    def gelu(self, x: str) -> str:
        erf = self.op("Erf", self.op("Div", x, self.scalar(2**0.5)))
        product = self.op("Mul", x, self.op("Add", erf, self.scalar(1.0)))
        return self.op("Mul", product, self.scalar(0.5))

    def quantized(self, x: str, name: str) -> str:
        """Round x to UINT8 steps and back, where there is a range for it."""
        if name not in self.ranges:
            return x
        low, high = (min(0.0, self.ranges[name][0]), max(0.0, self.ranges[name][1]))
        scale = max(high - low, 1e-6) / 255
        zero = np.uint8(np.clip(round(-low / scale), 0, 255))
        parts = (
            self.constant(f"{name}/scale", np.float32(scale)),
            self.constant(f"{name}/zero_point", zero),
        )
        return self.rounded_to(self.op("QuantizeLinear", x, *parts), parts)

    def rounded_to(self, integers: str, parts: tuple[str, str]) -> str:
        rounded = self.op("DequantizeLinear", integers, *parts)
        self.rounded.add(rounded)
        return rounded

    def quantized_kernel(self, name: str) -> str:
        """A constant INT8 kernel, symmetric, with one scale for each output channel."""
        kernel = self.weights[name]
        scale = np.maximum(np.abs(kernel).max(axis=0), 1e-6).astype(np.float32) / 127
        integers = np.clip(np.rint(kernel / scale), -127, 127).astype(np.int8)
        return self.op(
            "DequantizeLinear",
            self.constant(f"{name}/integers", integers),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero_point", np.zeros(scale.shape, np.int8)),
            axis=1,
        )

    def model(
        self, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
    ) -> Any:
        helper, types = self.onnx.helper, self.onnx.TensorProto
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [helper.make_tensor_value_info(n, types.INT32, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, types.FLOAT, s) for n, s in outputs.items()],
            list(self.constants.values()),
        )
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="tf_prune_ofa")
        model.ir_version = _IR_VERSION
        self.onnx.checker.check_model(model)
        return model


class _IntegerGraph(_Graph):
    """Writes dense layers with quantized inputs as products of integers."""

    def __init__(self, weights: Mapping[str, np.ndarray], ranges: Ranges, epsilon: float) -> None:
        super().__init__(weights, ranges, epsilon)
        self.parts: dict[str, tuple[str, str]] = {}  # scale and zero point of integers

    def rounded_to(self, integers: str, parts: tuple[str, str]) -> str:
        self.parts[integers] = parts
        return integers

    def dense(self, x: str, name: str, output: str | None = None) -> str:
        if x not in self.parts:
            return super().dense(x, name, output)
        scale_name, zero_point = self.parts[x]
        kernel = self.weights[f"{name}/kernel"]
        step = max(float(np.abs(kernel).max()), 1e-6) / 127
        integers = np.clip(np.rint(kernel / step), -127, 127).astype(np.int8)
        scale = step * float(self.onnx.numpy_helper.to_array(self.constants[scale_name]))
        bias = np.rint(self.weights[f"{name}/bias"] / scale).astype(np.int32)
        product = self.op(
            "MatMulInteger",
            x,
            self.constant(f"{name}/integers", integers),
            zero_point,
            self.constant("kernel/zero_point", np.int8(0)),
        )
        product = self.op("Add", product, self.constant(f"{name}/integer_bias", bias))
        product = self.op("Cast", product, to=1)
        rescaled = self.constant(f"{name}/scale", np.float32(scale))
        return self.op("Mul", product, rescaled, output=output)


def main(job_file: str) -> None:
    """Write the model that a JSON file describes: `weights`, `output`, arguments of `encoder`."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    with np.load(job.pop("weights")) as stored:
        weights = dict(stored)
    output = job.pop("output")
    Path(output).write_bytes(encoder(weights, **job).SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1])
