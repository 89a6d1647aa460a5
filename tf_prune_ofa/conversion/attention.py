"""Attention in INT8: products of queries and keys, and of probabilities and values.

Between the layers of query, key and value and the layer behind attention nothing is float any more
but the softmax, for which no runtime has a fast INT8 kernel:

    query, key -> BATCH_MATMUL -> scores INT8 -> DEQUANTIZE, mask, SOFTMAX, QUANTIZE
                                                 -> with value -> BATCH_MATMUL -> context INT8

XNNPACK multiplies INT8 by INT8 only where the second operand has zero point 0, so the ranges of
keys and values are symmetric; and it is more than twice as fast where that operand lies transposed.

Legend: S tokens · A heads · D size of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.layout import remove_unused
from tf_prune_ofa.conversion import integers
from tf_prune_ofa.tflite.dense_layers import DenseLayer, layer_of
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

# Of probabilities: 0 and 1 are integers.
PROBABILITIES = (0.0, 1.0)
_HEADS_FIRST = [0, 2, 1, 3]  # [1, S, A, D] <-> [1, A, S, D]
_HEADS_TRANSPOSED = [0, 2, 3, 1]  # [1, S, A, D] -> [1, A, D, S]
# Versions of the operators' definitions that know INT8.
_BATCH_MATMUL_VERSION = 2
_DEQUANTIZE_VERSION = 2
_TRANSPOSE_VERSION = 2


@dataclass(frozen=True)
class Attention:
    """The attention of one encoder layer, in a file whose attention is float.

    Attributes:
        query: Keras name of the layer; so are `key` and `value`.
        scores: BATCH_MATMUL of queries and keys, [1, A, S, D] x [1, A, S, D] -> [1, A, S, S].
        context: BATCH_MATMUL of probabilities and values, -> [1, A, S, D].
        merged: TRANSPOSE and RESHAPE that put the heads' contexts side by side.
    """

    query: str
    key: str
    value: str
    scores: Any
    context: Any
    merged: tuple[Any, Any]

    @property
    def scores_name(self) -> str:
        """Keras name of the layer that computes the scores."""
        return f"{self.query.rpartition('/')[0]}/scores"


def find(graph: Graph, layers: Mapping[str, DenseLayer]) -> list[Attention]:
    """Return the attentions of a float32 file, in order.

    Args:
        graph: from `convert.to_float32`.
        layers: from `dense_layers.read_stamps`.
    """
    walk = _Walk(graph, layers)
    found = [walk.attention(op) for op in graph.operators if graph.op_name(op) == "BATCH_MATMUL"]
    return [attention for attention in found if attention is not None]


def symmetric(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the range around 0 that holds another one; its zero point is 0.

    It reaches from -128 to 127 steps. With ends of one size 0 would lie between two integers, and
    rounding would decide which one it is.
    """
    if integers.activation_params(*bounds)[1] == 0:
        return bounds
    largest = max(abs(end) for end in bounds)
    return largest * integers.INT8_MIN / integers.INT8_MAX, largest


def to_int8(
    graph: Graph, attentions: Sequence[Attention], ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Compute attention in INT8, in place.

    Args:
        graph: a file whose dense layers are INT8, keys and values with zero point 0.
        attentions: from `find` before they were; each has a range of its scores.
        ranges: as of `int8.dense_int8`.
    """
    for attention in attentions:
        writer = _Writer(graph)
        writer.write_scores(attention, ranges[attention.scores_name])
        writer.write_context(attention)
    # What made the float operands.
    remove_unused(graph)


class _Walk:
    """Goes from products back and forth to dense layers."""

    def __init__(self, graph: Graph, layers: Mapping[str, DenseLayer]) -> None:
        self.graph = graph
        self.layers = layers
        self.producers = {int(t): op for op in graph.operators for t in op.outputs}

    def attention(self, scores: Any) -> Attention | None:
        """Return the attention whose scores an operator computes; None if it computes none."""
        query, key = (self.layer_of_heads(int(tensor)) for tensor in scores.inputs)
        behind = [int(scores.outputs[0])]
        if query is None or key is None or not scores.builtinOptions.adjY:
            return None
        for name in ("ADD", "SOFTMAX", "BATCH_MATMUL", "TRANSPOSE", "RESHAPE"):
            consumers = self.graph.consumers(behind[-1])
            if len(consumers) != 1 or self.graph.op_name(consumers[0]) != name:
                return None
            behind.append(int(consumers[0].outputs[0]))
        context, transpose, reshape = (self.producers[tensor] for tensor in behind[3:])
        value = self.layer_of_heads(int(context.inputs[1]))
        if value is None or context.builtinOptions.adjY or not self.is_heads_first(transpose):
            return None
        return Attention(query, key, value, scores, context, (transpose, reshape))

    def layer_of_heads(self, heads: int) -> str | None:
        """Return the dense layer whose output, [1, S, A * D], `heads` [1, A, S, D] holds."""
        transpose = self.producers.get(heads)
        if transpose is None or not self.is_heads_first(transpose):
            return None
        reshape = self.producers.get(int(transpose.inputs[0]))
        if reshape is None or self.graph.op_name(reshape) != "RESHAPE":
            return None
        dense = self.producers.get(int(reshape.inputs[0]))
        layer = None if dense is None else layer_of(self.graph, dense, self.layers)
        return None if layer is None else layer.name

    def is_heads_first(self, operator: Any) -> bool:
        is_transpose = self.graph.op_name(operator) == "TRANSPOSE"
        return is_transpose and self.graph.constant(operator.inputs[1]).tolist() == _HEADS_FIRST


class _Writer:
    """Writes one attention into a graph whose dense layers are INT8."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = {int(t): op for op in graph.operators for t in op.outputs}

    def write_scores(self, attention: Attention, bounds: tuple[float, float]) -> None:
        """Multiply queries and keys in INT8; the scores have a range."""
        graph, operator = self.graph, attention.scores
        query, making_query = self._heads(int(operator.inputs[0]), _HEADS_FIRST)
        key, making_key = self._heads(int(operator.inputs[1]), _HEADS_FIRST)
        scores = int(operator.outputs[0])
        rounded = self._rounded(scores, quantization(*integers.activation_params(*bounds)))
        self._replace(
            operator,
            *making_query,
            *making_key,
            self._product(query, key, rounded),
            graph.new_operator("DEQUANTIZE", [rounded], [scores], version=_DEQUANTIZE_VERSION),
        )

    def write_context(self, attention: Attention) -> None:
        """Multiply probabilities and values in INT8; the contexts have the next layer's range."""
        graph, operator = self.graph, attention.context
        transpose, reshape = attention.merged
        (quantize,) = graph.consumers(int(reshape.outputs[0]))
        merged = int(quantize.outputs[0])
        parameters = graph.tensors[merged].quantization
        probabilities = int(operator.inputs[0])
        rounded = self._rounded(
            probabilities, quantization(*integers.activation_params(*PROBABILITIES))
        )
        value, making_value = self._heads(int(operator.inputs[1]), _HEADS_TRANSPOSED)
        heads = self._rounded(int(operator.outputs[0]), parameters)
        apart = self._rounded(int(transpose.outputs[0]), parameters)
        self._replace(
            operator,
            graph.new_operator("QUANTIZE", [probabilities], [rounded]),
            *making_value,
            self._product(rounded, value, heads),
        )
        transpose.inputs[0], transpose.outputs[0] = heads, apart
        transpose.opcodeIndex = graph.opcode("TRANSPOSE", _TRANSPOSE_VERSION)
        reshape.inputs[0], reshape.outputs[0] = apart, merged
        self._replace(quantize)

    def _heads(self, heads: int, order: Sequence[int]) -> tuple[int, list[Any]]:
        """Return what float `heads` [1, A, S, D] are made of as INT8, and the operators for it."""
        graph = self.graph
        reshape = self.producers[int(self.producers[heads].inputs[0])]
        (integers_of,) = self.producers[int(reshape.inputs[0])].inputs
        parameters = graph.tensors[int(integers_of)].quantization
        name, shape = graph.name(heads), graph.shape(int(reshape.outputs[0]))
        apart = graph.add_tensor(f"{name}/apart", shape, np.int8, parameters)
        result = graph.add_tensor(
            f"{name}/int8", [shape[axis] for axis in order], np.int8, parameters
        )
        axes = graph.add_constant(f"{name}/order", np.asarray(order, np.int32))
        options = schema.TransposeOptionsT()
        return result, [
            graph.new_operator(
                "RESHAPE", [integers_of, reshape.inputs[1]], [apart], reshape.builtinOptions
            ),
            graph.new_operator("TRANSPOSE", [apart, axes], [result], options, _TRANSPOSE_VERSION),
        ]

    def _product(self, first: int, second: int, result: int) -> Any:
        options = schema.BatchMatMulOptionsT()
        options.adjY = True
        return self.graph.new_operator(
            "BATCH_MATMUL", [first, second], [result], options, _BATCH_MATMUL_VERSION
        )

    def _rounded(self, tensor: int, parameters: Any) -> int:
        """Add a tensor like a float one, in INT8."""
        name, shape = self.graph.name(tensor), self.graph.shape(tensor)
        return self.graph.add_tensor(f"{name}/int8", shape, np.int8, parameters)

    def _replace(self, operator: Any, *others: Any) -> None:
        operators = self.graph.operators
        position = next(i for i, op in enumerate(operators) if op is operator)
        self.graph.set_operators([*operators[:position], *others, *operators[position + 1 :]])
