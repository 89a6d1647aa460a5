"""Drop neurons that nothing reads, and bring those that are read together side by side.

The neurons between two layers (a feed-forward block) may stand in any order, and one whose weights
in the second layer are all 0 does not count: sums of integers are the same without it. So rows of
the first kernel and columns of the second are moved together, as long as only element-wise
operators lie between.

Legend: N neurons · K inputs of the first layer · M outputs of the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.layers import scales_of, why_not
from tf_prune_ofa.blocks.layout import BINARY, UNARY
from tf_prune_ofa.blocks.live import Block, live_blocks
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

WhyNot = Callable[[Graph, Any], str | None]

# Kernels compute on padding where a size is no multiple of this.
_MULTIPLE = 16


@dataclass(frozen=True)
class Neurons:
    """Neurons between layers.

    Attributes:
        writer: the FULLY_CONNECTED whose outputs they are.
        readers: the FULLY_CONNECTEDs that read them.
        tensors: all tensors that hold them, [..., N].
        reshapes: operators between that name the shape.
    """

    writer: Any
    readers: list[Any]
    tensors: list[int]
    reshapes: list[Any]

    def kernels(self, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernels [N, K] and [M, N], M of all readers together."""
        first = graph.constant(int(self.writer.inputs[1]))
        return first, np.concatenate([graph.constant(int(op.inputs[1])) for op in self.readers])


def find_neurons(graph: Graph, reason: WhyNot = why_not) -> list[Neurons]:
    """Return all neurons of a graph that can be dropped and moved.

    Args:
        graph: of static INT8 layers, or others that `reason` knows.
        reason: why a layer's rows and columns cannot be; None where they can.
    """
    consumers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for tensor in {int(t) for t in operator.inputs}:
            consumers.setdefault(tensor, []).append(operator)
    layers = [op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    able = {id(operator) for operator in layers if reason(graph, operator) is None}
    found = [_follow(graph, op, consumers, able) for op in layers if id(op) in able]
    return [neurons for neurons in found if neurons is not None]


def arrange(first: np.ndarray, second: np.ndarray, block: Block | None) -> np.ndarray:
    """Return the neurons to keep, in their new order.

    Args:
        first: kernel [N, K].
        second: kernel [M, N].
        block: size of the blocks that both layers are computed in: neurons move in whole blocks.
            None: no blocks, so they only get fewer.

    Returns:
        int [neurons kept].
    """
    if block is None or not (block.divides(first) and second.shape[1] % block.inputs == 0):
        return _kept(np.any(second, axis=0))
    grain = block.inputs
    tile = max(block.outputs, grain)
    if tile % grain or tile % block.outputs or len(first) % tile or len(second) % block.outputs:
        return np.arange(len(first))
    live = live_blocks(second, block)  # [M / outputs, grains]
    grains = _tiles(live_blocks(first, Block(grain, block.inputs)), live, tile // grain)
    grains = _chain(grains, live)
    return (grains.reshape(-1, 1) * grain + np.arange(grain)).ravel()


def rearrange(graph: Graph, neurons: Neurons, order: np.ndarray) -> None:
    """Keep the neurons in `order`, in that order, in place."""
    writer = neurons.writer
    weights = int(writer.inputs[1])
    writer.inputs[1] = taken(graph, weights, order, axis=0)
    if len(writer.inputs) > 2 and writer.inputs[2] >= 0:
        writer.inputs[2] = taken(graph, int(writer.inputs[2]), order, axis=0)
    for reader in neurons.readers:
        reader.inputs[1] = taken(graph, int(reader.inputs[1]), order, axis=1)
    for tensor in neurons.tensors:
        shape = [*graph.shape(tensor)[:-1], len(order)]
        graph.tensors[tensor].shape = np.asarray(shape, np.int32)
        graph.tensors[tensor].shapeSignature = None
    for operator in neurons.reshapes:
        result = np.asarray(graph.shape(int(operator.outputs[0])), np.int32)
        name = f"{graph.name(int(operator.outputs[0]))}/kept"
        operator.inputs[1] = graph.add_constant(name, result)
        operator.builtinOptions = schema.ReshapeOptionsT()
        operator.builtinOptions.newShape = result
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions


def _follow(
    graph: Graph, writer: Any, consumers: dict[int, list[Any]], able: set[int]
) -> Neurons | None:
    """Return the neurons that one layer writes; None if anything needs them where they are."""
    outputs = {int(tensor) for tensor in graph.subgraph.outputs}
    tensors = [int(writer.outputs[0])]
    readers: list[Any] = []
    between: dict[int, Any] = {}
    for tensor in tensors:  # grows on the way
        if tensor in outputs:
            return None
        for operator in consumers.get(tensor, []):
            name = graph.op_name(operator)
            if name == "FULLY_CONNECTED":
                if id(operator) not in able or _count(graph, operator) != len(_last(graph, writer)):
                    return None
                readers.append(operator)
                continue
            is_reshape = name == "RESHAPE" and len(operator.inputs) == 2
            if not (is_reshape or name in UNARY or name in BINARY) or not len(operator.outputs):
                return None
            result = int(operator.outputs[0])
            if graph.shape(result)[-1:] != graph.shape(tensor)[-1:]:
                return None
            if not is_reshape and graph.shape(result) != graph.shape(tensor):
                return None
            if id(operator) not in between:
                between[id(operator)] = operator
                tensors.append(result)
    for operator in between.values():
        for tensor in (int(t) for t in operator.inputs[: 1 if _is_reshape(graph, operator) else 2]):
            if tensor not in tensors and np.prod(graph.shape(tensor)) != 1:
                return None
    if not readers:
        return None
    reshapes = [op for op in between.values() if _is_reshape(graph, op)]
    return Neurons(writer, readers, tensors, reshapes)


def _is_reshape(graph: Graph, operator: Any) -> bool:
    return graph.op_name(operator) == "RESHAPE"


def _count(graph: Graph, reader: Any) -> int:
    return graph.shape(int(reader.inputs[1]))[1]


def _last(graph: Graph, writer: Any) -> range:
    return range(graph.shape(int(writer.inputs[1]))[0])


def taken(graph: Graph, tensor: int, order: np.ndarray, axis: int) -> int:
    """Add the part of a constant that `order` names, with its scales, and return it."""
    scales = scales_of(graph, tensor)
    if axis == 0 and scales.size > 1:
        scales = scales[order]
    value = np.ascontiguousarray(np.take(graph.constant(tensor), order, axis))
    return graph.add_constant(
        graph.name(tensor), value, quantization(scales) if scales.size else None
    )


def _kept(is_read: np.ndarray) -> np.ndarray:
    """Return the neurons that are read, filled up with others to a multiple of 16."""
    wanted = max(-(-int(is_read.sum()) // _MULTIPLE), 1) * _MULTIPLE
    if wanted >= len(is_read):
        return np.arange(len(is_read))
    spare = np.flatnonzero(~is_read)[: wanted - int(is_read.sum())]
    return np.sort(np.concatenate([np.flatnonzero(is_read), spare]))


def _tiles(inputs: np.ndarray, live: np.ndarray, size: int) -> np.ndarray:
    """Return which grains are computed together, [tiles, size], without those that nobody reads.

    Args:
        inputs: which input blocks each grain needs, bool [grains, K / inputs].
        live: which blocks of outputs read it, bool [M / outputs, grains].
        size: grains in a tile.
    """
    is_read = np.any(live, axis=0)
    tiles = np.arange(len(is_read)).reshape(-1, size)
    whole = is_read[tiles].all(axis=1)
    halves = [int(grain) for grain in tiles[~whole].ravel() if is_read[grain]]
    spare = [int(grain) for grain in tiles[~whole].ravel() if not is_read[grain]]
    found = [list(tile) for tile in tiles[whole]]
    while halves:
        tile = [halves.pop(0)]
        while len(tile) < size and halves:
            # The one that needs the fewest further inputs.
            needed = inputs[tile].any(axis=0)
            nearest = min(halves, key=lambda grain: int((inputs[grain] & ~needed).sum()))
            halves.remove(nearest)
            tile.append(nearest)
        # There are enough: these tiles held at least as many grains before.
        found.append([*tile, *spare[: size - len(tile)]])
    if not found:
        found = [list(tiles[0])]
    return np.asarray(found)


def _chain(tiles: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Return tiles in an order in which neighbours are read by the same outputs.

    Then what an output reads lies in few runs. The order of before is kept where it is as good.
    """
    left = list(range(len(tiles)))
    chained = [left.pop(0)]
    while left:
        last = live[:, tiles[chained[-1]][-1]]
        nearest = min(left, key=lambda tile: int((live[:, tiles[tile][0]] != last).sum()))
        left.remove(nearest)
        chained.append(nearest)
    reordered = tiles[chained]
    return reordered if _run_count(reordered, live) < _run_count(tiles, live) else tiles


def _run_count(tiles: np.ndarray, live: np.ndarray) -> int:
    ordered = live[:, tiles.ravel()]
    return int(ordered[:, 0].sum() + (ordered[:, 1:] & ~ordered[:, :-1]).sum())
