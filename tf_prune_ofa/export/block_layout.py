"""Keep track of tensors that exist block by block, so that none is rearranged twice.

A layer in blocks reads its input, and writes its output, block by block: [1, blocks, tokens, width]
instead of [tokens, blocks * width]. That is also what attention wants of queries, keys and values,
with a block for each head; and element-wise operators do not mind either. So every tensor that has
such a twin is remembered with it, and whoever needs the twin takes it. Rearrangements that nobody
needs in the end are removed by `remove_unused`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_prune_ofa.export.block_ops import Writer
from tf_prune_ofa.export.graph import Graph

UNARY = (
    "ABS",
    "COS",
    "DEQUANTIZE",
    "ELU",
    "EXP",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "NEG",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RSQRT",
    "SIN",
    "SQRT",
    "SQUARE",
    "TANH",
)
BINARY = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SUB")
# [tokens, heads, size] to [heads, tokens, size], and back.
_HEADS_FIRST = [0, 2, 1, 3]
# What may be left out where nothing reads its result; other operators may have effects.
_PURE = (*UNARY, *BINARY, "CONCATENATION", "RESHAPE", "SLICE", "TRANSPOSE")


class Layouts:
    """The twins of one graph's tensors.

    Give every operator that stays to `follow`, in order of execution.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.graph = writer.graph
        self._twins: dict[int, dict[int, int]] = {}
        self._same: dict[int, int] = {}
        self._heads_last: dict[int, tuple[int, int]] = {}
        self._replaced: dict[int, int] = {}
        self._outputs = {int(tensor) for tensor in self.graph.subgraph.outputs}

    def learn(self, tensor: int, width: int, twin: int) -> None:
        """Remember that `twin` [1, blocks, tokens, width] holds what `tensor` holds."""
        self._twins.setdefault(self._base(tensor), {})[width] = twin

    def twin(self, tensor: int, width: int) -> int:
        """Return `tensor` [..., blocks * width] block by block, [1, blocks, tokens, width]."""
        twins = self._twins.setdefault(self._base(tensor), {})
        if width not in twins:
            near = [w for w in twins if w % width == 0 or width % w == 0]
            twins[width] = (
                self._regrouped(twins[near[0]], width)
                if near
                else self._from_rows(self._base(tensor), width)
            )
        return twins[width]

    def current(self, tensor: int) -> int:
        """Return the tensor to read instead of `tensor`."""
        return self._replaced.get(tensor, tensor)

    def follow(self, operator: Any) -> None:
        """Append an operator that stays, and learn what it does to twins."""
        operator.inputs = np.asarray([self.current(int(t)) for t in operator.inputs], np.int32)
        self.writer.keep(operator)
        name = self.graph.op_name(operator)
        if name == "RESHAPE":
            self._follow_reshape(int(operator.inputs[0]), int(operator.outputs[0]))
        elif name == "TRANSPOSE" and self._is_heads_first(operator):
            self._follow_transpose(int(operator.inputs[0]), int(operator.outputs[0]))
        elif name in UNARY or name in BINARY:
            self._follow_elementwise(operator)

    def _follow_reshape(self, source: int, result: int) -> None:
        before, after = self.graph.shape(source), self.graph.shape(result)
        if before[-1:] == after[-1:]:
            self._same[result] = self._base(source)
        elif len(after) == 4 and after[0] == 1 and after[2] * after[3] == before[-1]:
            # [.., tokens, heads * size] -> [1, tokens, heads, size]
            self._heads_last[result] = (self._base(source), after[3])
        elif source in self._heads_last and after[-1] == before[2] * before[3]:
            # ... and back.
            self._same[result] = self._heads_last[source][0]

    def _follow_transpose(self, source: int, result: int) -> None:
        if source in self._heads_last:
            base, size = self._heads_last[source]
            if self._twins.get(base) and result not in self._outputs:
                self._replaced[result] = self.twin(base, size)
        else:
            # [1, heads, tokens, size] -> [1, tokens, heads, size]; no tensor of rows exists yet.
            self._heads_last[result] = (result, self.graph.shape(source)[3])
            self._twins[result] = {self.graph.shape(source)[3]: source}

    def _follow_elementwise(self, operator: Any) -> None:
        inputs = [int(tensor) for tensor in operator.inputs]
        result = int(operator.outputs[0])
        shape = self.graph.shape(result)
        large = [t for t in inputs if np.prod(self.graph.shape(t)) != 1]
        if not large or any(self.graph.shape(tensor) != shape for tensor in large):
            return
        widths = set.intersection(*({*self._twins.get(self._base(t), {})} for t in large))
        for width in widths:
            read = [self.twin(t, width) if t in large else t for t in inputs]
            twin = self.graph.add_tensor(
                f"{self.graph.name(result)}/blocks_of_{width}",
                self.graph.shape(read[inputs.index(large[0])]),
                self.graph.dtype(result),
                self.graph.tensors[result].quantization,
            )
            version = self.graph.op_version(operator)
            name, options = self.graph.op_name(operator), operator.builtinOptions
            self.writer.keep(self.graph.new_operator(name, read, [twin], options, version))
            self.learn(result, width, twin)

    def _is_heads_first(self, operator: Any) -> bool:
        source, order = int(operator.inputs[0]), int(operator.inputs[1])
        return (
            self.graph.is_constant(order)
            and self.graph.constant(order).tolist() == _HEADS_FIRST
            and self.graph.shape(source)[0] == 1
        )

    def _base(self, tensor: int) -> int:
        """Return the tensor of rows that another shape of it stands for."""
        return self._same.get(tensor, tensor)

    def _from_rows(self, tensor: int, width: int) -> int:
        channels = self.graph.shape(tensor)[-1]
        tokens = int(np.prod(self.graph.shape(tensor))) // channels
        blocks = channels // width
        if tokens > 1 and blocks > 1:
            apart = self.writer.reshape(tensor, [tokens, blocks, width])
            tensor = self.writer.transpose(apart, [1, 0, 2])
        return self.writer.reshape(tensor, [1, blocks, tokens, width])

    def _regrouped(self, twin: int, width: int) -> int:
        """Return [1, blocks, tokens, old width] with another width."""
        _, blocks, tokens, old = self.graph.shape(twin)
        target = [1, blocks * old // width, tokens, width]
        if tokens == 1:
            return self.writer.reshape(twin, target)
        if old > width:
            apart = self.writer.reshape(twin, [blocks, tokens, old // width, width])
        else:
            apart = self.writer.reshape(twin, [target[1], width // old, tokens, old])
        return self.writer.reshape(self.writer.transpose(apart, [0, 2, 1, 3]), target)


def remove_unused(graph: Graph) -> None:
    """Remove operators whose results nothing reads, in place."""
    used = {int(tensor) for tensor in graph.subgraph.outputs}
    kept = []
    for operator in reversed(graph.operators):
        is_read = any(int(tensor) in used for tensor in operator.outputs)
        if is_read or graph.op_name(operator) not in _PURE:
            kept.append(operator)
            used.update(int(tensor) for tensor in operator.inputs)
    graph.set_operators(reversed(kept))


def move_conversions(graph: Graph) -> None:
    """Let RESHAPE and TRANSPOSE move INT8 instead of float numbers, in place.

    A DEQUANTIZE in front of one goes behind it, a QUANTIZE behind one in front of it: the same
    numbers, in a quarter of the bytes.
    """
    for _ in range(len(graph.operators)):
        if not any([_swap_one(graph, first) for first in list(graph.operators)]):
            break


def _swap_one(graph: Graph, first: Any) -> bool:
    middle = int(first.outputs[0]) if len(first.outputs) else -1
    consumers = graph.consumers(middle)
    if len(consumers) != 1 or middle in graph.subgraph.outputs:
        return False
    (second,) = consumers
    names = (graph.op_name(first), graph.op_name(second))
    movers = ("RESHAPE", "TRANSPOSE")
    source, result = int(first.inputs[0]), int(second.outputs[0])
    if names[0] == "DEQUANTIZE" and names[1] in movers:
        converter, mover, integers = first, second, source
        shape = graph.shape(result)
    elif names[0] in movers and names[1] == "QUANTIZE":
        converter, mover, integers = second, first, result
        shape = graph.shape(source)
    else:
        return False
    is_int8 = graph.dtype(integers) == np.int8 and not graph.is_constant(integers)
    parameters = graph.tensors[integers].quantization
    if not is_int8 or len(parameters.scale) != 1 or middle != int(second.inputs[0]):
        return False
    if graph.dtype(source) == graph.dtype(result):
        return False
    name = f"{graph.name(result)}/moved"
    between = graph.add_tensor(name, shape, np.int8, parameters)
    options = mover.builtinOptions
    version = 2 if graph.op_name(mover) == "TRANSPOSE" else graph.op_version(mover)
    moving = [source, *mover.inputs[1:]] if converter is first else [between, *mover.inputs[1:]]
    moved = graph.new_operator(
        graph.op_name(mover), moving, [between if converter is first else result], options, version
    )
    ends = [between, result] if converter is first else [source, between]
    converted = graph.new_operator(
        graph.op_name(converter),
        ends[:1],
        ends[1:],
        converter.builtinOptions,
        graph.op_version(converter),
    )
    pair = [moved, converted] if converter is first else [converted, moved]
    # The first of the two moves to where the second was: everything it reads is there by then.
    operators = [op for op in graph.operators if op is not first]
    position = next(i for i, op in enumerate(operators) if op is second)
    graph.set_operators([*operators[:position], *pair, *operators[position + 1 :]])
    return True
