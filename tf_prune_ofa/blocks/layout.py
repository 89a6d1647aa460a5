"""Keep track of tensors that exist block by block, so that none is rearranged twice.

A layer in blocks reads its input, and writes its output, block by block: [1, blocks, tokens, width]
instead of [tokens, blocks * width]. That is also what attention wants of queries, keys and values,
with a block for each head; and element-wise operators do not mind either. So every tensor that has
such a twin is remembered with it, and whoever needs the twin takes it. Rearrangements that nobody
needs in the end are removed by `remove_unused`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.layers import scales_of
from tf_prune_ofa.blocks.ops import Writer
from tf_prune_ofa.tflite.graph import Graph

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
# [tokens, heads, size] to [heads, size, tokens]: the values of INT8 attention.
_HEADS_TRANSPOSED = [0, 2, 3, 1]
# Operators that leave numbers as they are.
_MOVERS = ("RESHAPE", "TRANSPOSE")
# What may be left out where nothing reads its result; other operators may have effects.
_PURE = (
    *UNARY,
    *BINARY,
    "BATCH_MATMUL",
    "CONCATENATION",
    "CONV_2D",
    "FULLY_CONNECTED",
    "RESHAPE",
    "SLICE",
    "SOFTMAX",
    "TRANSPOSE",
)


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
        read = [int(tensor) for op in self.graph.operators for tensor in op.inputs]
        self._uses = Counter([*read, *self._outputs])

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
        # Only INT8: between float operators it would change which ones XNNPACK sees in a row.
        is_int8 = len(operator.outputs) and self.graph.dtype(int(operator.outputs[0])) == np.int8
        if name == "RESHAPE" and is_int8:
            self._follow_reshape(int(operator.inputs[0]), int(operator.outputs[0]))
        elif name == "TRANSPOSE" and is_int8:
            self._follow_transpose(operator)
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

    def _follow_transpose(self, operator: Any) -> None:
        source, order, result = (int(t) for t in (*operator.inputs, *operator.outputs))
        if not self.graph.is_constant(order) or self.graph.shape(source)[0] != 1:
            return
        axes = self.graph.constant(order).tolist()
        if source in self._heads_last and axes in (_HEADS_FIRST, _HEADS_TRANSPOSED):
            base, size = self._heads_last[source]
            readers = {self.graph.op_name(op) for op in self.graph.consumers(result)}
            is_free = not ("DEQUANTIZE" in readers and _is_symmetric(self.graph, result))
            if self._twins.get(base) and result not in self._outputs and is_free:
                heads = self.twin(base, size)
                is_first = axes == _HEADS_FIRST
                self._replaced[result] = (
                    heads if is_first else self.writer.transpose(heads, [0, 1, 3, 2])
                )
        elif axes == _HEADS_FIRST:
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
        # As above: in twins, too, a float result goes where it went, and nowhere else.
        floats = [t for t in (*large, result) if self.graph.dtype(t) != np.int8]
        if any(self._uses.get(tensor, 0) != 1 for tensor in floats):
            return
        widths = set.intersection(*({*self._twins.get(self._base(t), {})} for t in large))
        for width in widths:
            read = [self.twin(t, width) if t in large else t for t in inputs]
            name = f"{self.graph.name(result)}/blocks_of_{width}"
            of_shape = self.graph.shape(read[inputs.index(large[0])])
            twin = self.graph.add_like(result, name, of_shape)
            version = self.graph.op_version(operator)
            name, options = self.graph.op_name(operator), operator.builtinOptions
            self.writer.keep(self.graph.new_operator(name, read, [twin], options, version))
            self.learn(result, width, twin)

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
    """Swap an operator with the one behind it if that is such a pair; return whether it was."""
    if graph.op_name(first) not in ("DEQUANTIZE", *_MOVERS):
        return False
    middle = int(first.outputs[0])
    consumers = graph.consumers(middle)
    if len(consumers) != 1 or middle in graph.subgraph.outputs:
        return False
    (second,) = consumers
    names = (graph.op_name(first), graph.op_name(second))
    source, result = int(first.inputs[0]), int(second.outputs[0])
    if names[0] == "DEQUANTIZE" and names[1] in _MOVERS:
        converter, mover, integers, shape = first, second, source, graph.shape(result)
    elif names[0] in _MOVERS and names[1] == "QUANTIZE":
        converter, mover, integers, shape = second, first, result, graph.shape(source)
    else:
        return False
    is_int8 = graph.dtype(integers) == np.int8 and not graph.is_constant(integers)
    if not is_int8 or scales_of(graph, integers).size != 1 or middle != int(second.inputs[0]):
        return False
    if graph.dtype(source) == graph.dtype(result):  # from one INT8 scale to another
        return False
    if converter is first and _is_symmetric(graph, source):
        return False
    # XNNPACK computes DEQUANTIZE, GELU, QUANTIZE (and alike) by table where they follow each other
    # directly. Numbers that were not looked up before must not be now.
    around = graph.consumers(result) if converter is first else _makers(graph, source)
    if not all(graph.op_name(op) in ("BATCH_MATMUL", *_MOVERS) for op in around):
        return False
    parameters = graph.tensors[integers].quantization
    between = graph.add_tensor(f"{graph.name(result)}/moved", shape, np.int8, parameters)
    # What was first comes second now.
    is_mover_first = converter is first
    ends = {True: (source, between), False: (between, result)}
    moved = _again(graph, mover, *ends[is_mover_first])
    converted = _again(graph, converter, *ends[not is_mover_first])
    # Both stand where the second stood: everything they read is there by then.
    operators = [op for op in graph.operators if op is not first]
    position = next(i for i, op in enumerate(operators) if op is second)
    pair = [moved, converted] if is_mover_first else [converted, moved]
    graph.set_operators([*operators[:position], *pair, *operators[position + 1 :]])
    return True


def _is_symmetric(graph: Graph, tensor: int) -> bool:
    """Return whether a tensor's zero point is 0.

    A BATCH_MATMUL multiplies by the integers, and by their scale afterwards, where XNNPACK finds
    that its second operand comes from a DEQUANTIZE with zero point 0: the last bits are other ones
    than where it does not. What stands between such a DEQUANTIZE and a product must stay there.
    """
    return not np.any(graph.tensors[tensor].quantization.zeroPoint)


def _makers(graph: Graph, tensor: int) -> list[Any]:
    return [op for op in graph.operators if tensor in op.outputs]


def _again(graph: Graph, operator: Any, source: int, result: int) -> Any:
    """Return the same operator between other tensors."""
    name = graph.op_name(operator)
    # The second version of TRANSPOSE is the first that knows INT8.
    version = max(graph.op_version(operator), 2 if name == "TRANSPOSE" else 1)
    inputs = [source, *(int(tensor) for tensor in operator.inputs[1:])]
    return graph.new_operator(name, inputs, [result], operator.builtinOptions, version)
