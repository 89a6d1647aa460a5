"""Drop attention heads that nothing reads.

A head whose columns in the layer behind attention are all 0 does not count, and neither do its rows
in the layers of query, key and value. Its share of every tensor between is cut out: the other heads
compute what they computed before.

Legend: A heads · D size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.layers import why_not
from tf_prune_ofa.blocks.layout import BINARY, UNARY
from tf_prune_ofa.blocks.neurons import WhyNot, taken
from tf_prune_ofa.tflite.graph import Graph, schema


@dataclass
class _Attention:
    """What lies between the layers of query, key and value and the layer `reader`.

    `axes` says of each tensor along which axis its heads lie, and how many entries each takes
    there; `operators` made them.
    """

    graph: Graph
    reader: Any
    producers: dict[int, Any]
    able: set[int]
    size: int = 0
    axes: dict[int, tuple[int, int]] = field(default_factory=dict)
    operators: list[Any] = field(default_factory=list)
    writers: list[Any] = field(default_factory=list)

    def follow(self, tensor: int, axis: int, merged: bool) -> bool:
        """Go back from a tensor to the layers; return whether all on the way was understood.

        Args:
            tensor: where to go on.
            axis: along which its heads lie.
            merged: whether a head takes D entries there, instead of one.
        """
        if tensor in self.axes:
            return self.axes[tensor] == (axis, self.size if merged else 1)
        producer = self.producers.get(tensor)
        if producer is None:
            return False
        name = self.graph.op_name(producer)
        if name == "FULLY_CONNECTED":
            is_last = axis == len(self.graph.shape(tensor)) - 1
            if not merged or not is_last or id(producer) not in self.able:
                return False
            self.writers.append(producer)
            self.axes[tensor] = (axis, self.size)
            return True
        sources = self._sources(producer, name, tensor, axis, merged)
        if sources is None:
            return False
        self.axes[tensor] = (axis, self.size if merged else 1)
        self.operators.append(producer)
        return all(self.follow(*source) for source in sources)

    def _sources(
        self, producer: Any, name: str, tensor: int, axis: int, merged: bool
    ) -> list[tuple[int, int, bool]] | None:
        """Return what to follow from an operator; None if it is not understood."""
        if not len(producer.inputs):
            return None
        graph, shape = self.graph, self.graph.shape(tensor)
        source = int(producer.inputs[0])
        before = graph.shape(source)
        if name == "RESHAPE":
            is_last = axis == len(shape) - 1
            if merged and is_last and before[-1] == shape[-1]:
                return [(source, len(before) - 1, True)]
            if merged and is_last and before[-2:] and np.prod(before[-2:]) == shape[-1]:
                self.size = self.size or before[-1]
                return [(source, len(before) - 2, False)] if before[-1] == self.size else None
            if not merged and axis == len(shape) - 2 and np.prod(shape[-2:]) == before[-1]:
                return [(source, len(before) - 1, True)] if shape[-1] == self.size else None
            return None
        if name == "TRANSPOSE" and graph.is_constant(int(producer.inputs[1])):
            order = graph.constant(int(producer.inputs[1])).tolist()
            return [(source, order[axis], merged)]
        is_last = axis == len(shape) - 1
        if (name in UNARY or (name == "SOFTMAX" and not is_last)) and before == shape:
            return [(source, axis, merged)]
        if name in BINARY or (name == "BATCH_MATMUL" and axis < len(shape) - 2):
            return self._operands(producer, shape, axis, merged)
        return None

    def _operands(
        self, producer: Any, shape: list[int], axis: int, merged: bool
    ) -> list[tuple[int, int, bool]] | None:
        """Return the operands that have heads; one of size 1 there is the same for all."""
        found = []
        for operand in (int(t) for t in producer.inputs):
            own = self.graph.shape(operand)
            place = axis - len(shape) + len(own)
            if place >= 0 and own[place] == shape[axis]:
                found.append((operand, place, merged))
            elif place >= 0 and own[place] != 1:
                return None
        return found


def drop_dead_heads(graph: Graph, reason: WhyNot = why_not) -> None:
    """Cut heads that nothing reads out of every attention of a graph, in place.

    Attention whose form is not understood stays as it is, as does one of which nothing is read.

    Args:
        graph: as of `neurons.find_neurons`.
        reason: likewise.
    """
    producers = {int(t): op for op in graph.operators for t in op.outputs}
    layers = [op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    able = {id(op) for op in layers if reason(graph, op) is None}
    for reader in layers:
        if id(reader) not in able:
            continue
        attention = _Attention(graph, reader, producers, able)
        source = int(reader.inputs[0])
        columns = graph.shape(int(reader.inputs[1]))[1]
        if graph.shape(source)[-1] != columns:
            continue
        if attention.follow(source, len(graph.shape(source)) - 1, True) and _is_private(attention):
            live = graph.constant(int(reader.inputs[1])).reshape(
                -1, columns // attention.size, attention.size
            )
            kept = np.flatnonzero(live.any(axis=(0, 2)))
            if 0 < len(kept) < columns // attention.size:
                _cut(attention, kept)


def _is_private(attention: _Attention) -> bool:
    """Return whether nothing but the reader reads what comes of the heads."""
    if not attention.size or len(attention.writers) != len({id(w) for w in attention.writers}):
        return False
    inside = {id(op) for op in (*attention.operators, attention.reader)}
    outputs = {int(tensor) for tensor in attention.graph.subgraph.outputs}
    return not any(
        tensor in outputs or any(id(op) not in inside for op in attention.graph.consumers(tensor))
        for tensor in attention.axes
    )


def _cut(attention: _Attention, kept: np.ndarray) -> None:
    graph = attention.graph
    entries = (kept[:, None] * attention.size + np.arange(attention.size)).ravel()
    for writer in attention.writers:
        writer.inputs[1] = taken(graph, int(writer.inputs[1]), entries, axis=0)
        if len(writer.inputs) > 2 and writer.inputs[2] >= 0:
            writer.inputs[2] = taken(graph, int(writer.inputs[2]), entries, axis=0)
    reader = attention.reader
    reader.inputs[1] = taken(graph, int(reader.inputs[1]), entries, axis=1)
    for tensor, (axis, size) in attention.axes.items():
        shape = graph.shape(tensor)
        shape[axis] = len(kept) * size
        graph.tensors[tensor].shape = np.asarray(shape, np.int32)
        graph.tensors[tensor].shapeSignature = None
    for operator in attention.operators:
        if graph.op_name(operator) == "RESHAPE":
            result = np.asarray(graph.shape(int(operator.outputs[0])), np.int32)
            name = f"{graph.name(int(operator.outputs[0]))}/kept"
            operator.inputs = np.asarray(
                [operator.inputs[0], graph.add_constant(name, result)], np.int32
            )
            operator.builtinOptions = schema.ReshapeOptionsT()
            operator.builtinOptions.newShape = result
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
