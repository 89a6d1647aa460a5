"""Compute layers with dead blocks from their live blocks only: sparse INT8 on stock operators.

No runtime has a fast kernel for sparse INT8 weights. Where whole blocks of a kernel are zero, none
is needed: a group of outputs with the same live blocks is a small dense layer on a part of the
input. The pass replaces a FULLY_CONNECTED by a few such layers, in ordinary operators that XNNPACK
takes over, with the same integers: the results are equal bit for bit. It knows nothing of how the
zeros came about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.cost import DEFAULT_TABLE, CostTable, blocks_us
from tf_prune_ofa.blocks.heads import drop_dead_heads
from tf_prune_ofa.blocks.layers import LayerNumbers, read_layer, why_not
from tf_prune_ofa.blocks.layout import Layouts, move_conversions, remove_unused
from tf_prune_ofa.blocks.live import (
    Block,
    Group,
    live_blocks,
    possible_groups,
    runs_of,
)
from tf_prune_ofa.blocks.neurons import arrange, find_neurons, rearrange
from tf_prune_ofa.blocks.ops import Writer
from tf_prune_ofa.blocks.sound import check_foreign
from tf_prune_ofa.tflite import guard, sparse
from tf_prune_ofa.tflite.graph import Graph

# Sizes to try where none is given, as outputs x inputs. Below 16 outputs or 16 inputs XNNPACK's
# kernels compute on padding.
AUTO_BLOCKS = (Block(64, 32), Block(32, 32), Block(128, 32), Block(32, 64), Block(16, 32))


@dataclass(frozen=True)
class LayerChoice:
    """How one layer is computed, and why.

    Attributes:
        name: of its kernel in the file.
        outputs: N, in the input file.
        inputs: K, in the input file.
        block: size of the blocks it is computed in; None if it stays dense.
        live: share of the blocks that are live, of those that were kept; 1 if it stays dense.
        dense_us: what the cost table says of the layer in the input file.
        blocks_us: what it says of the form that was chosen.
        reason: why it stays dense; empty if it does not.
    """

    name: str
    outputs: int
    inputs: int
    block: Block | None
    live: float
    dense_us: float
    blocks_us: float
    reason: str = ""


def block_sparse(
    file: bytes,
    block: Block | None = None,
    table: CostTable = DEFAULT_TABLE,
    *,
    compact: bool = False,
) -> tuple[bytes, list[LayerChoice]]:
    """Return a file with the same results, bit for bit, that skips dead blocks.

    Args:
        file: the bytes of any .tflite file; layers that are static INT8 FULLY_CONNECTED are looked
            at.
        block: the only size of blocks to look for; None tries several for each layer.
        table: costs on the machine that the file is for; a layer stays dense unless it says that
            blocks are faster.
        compact: store the zeros of layers that stay dense compactly (`sparse.sparse_int8`).

    Returns:
        The new file, and what became of each FULLY_CONNECTED.

    Raises:
        UserError: the bytes are no whole .tflite file, or hold forms that this pass does not
            understand or that runtimes are known to fail on.
    """
    graphs = [Graph(file)]
    graphs += [Graph(file, index) for index in range(1, len(graphs[0].model.subgraphs))]
    check_foreign(file, graphs)
    content, choices = file, []
    for graph in graphs:
        graph = Graph(content, graph.subgraph_index)
        choices += _rewrite(graph, AUTO_BLOCKS if block is None else (block,), table)
        content = graph.to_bytes()
    if compact:
        content = sparse.sparse_int8(content, is_ours=False)
    guard.check(content, before=file)
    return content, choices


def _rewrite(graph: Graph, blocks: Sequence[Block], table: CostTable) -> list[LayerChoice]:
    """Rewrite one subgraph in place and return what became of each FULLY_CONNECTED."""
    shapes = _kernel_shapes(graph)
    move_conversions(graph)
    drop_dead_heads(graph)
    _arrange_neurons(graph, blocks, table)
    plans, choices = _plan(graph, blocks, table, shapes)
    writer = Writer(graph)
    layouts = Layouts(writer)
    pieces: dict[tuple[int, int, int], int] = {}
    for operator in graph.operators:
        plan = plans.get(id(operator))
        if plan is None:
            layouts.follow(operator)
        else:
            _write_layer(plan, writer, layouts, pieces)
    graph.set_operators(writer.operators)
    remove_unused(graph)
    return choices


@dataclass(frozen=True)
class _Form:
    block: Block
    groups: Sequence[Group]
    live: float
    cost_us: float


@dataclass(frozen=True)
class _Plan:
    layer: LayerNumbers
    form: _Form


def _plan(
    graph: Graph, blocks: Sequence[Block], table: CostTable, shapes: dict[int, list[int]]
) -> tuple[dict[int, _Plan], list[LayerChoice]]:
    layers = [op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    readers = Counter(int(operator.inputs[0]) for operator in layers)
    plans, choices = {}, []
    for operator in layers:
        name = graph.name(int(operator.inputs[1]))
        outputs, inputs = shapes[id(operator)]
        reason = why_not(graph, operator)
        if reason is not None:
            choices.append(LayerChoice(name, outputs, inputs, None, 1.0, 0.0, 0.0, reason))
            continue
        layer = read_layer(graph, operator)
        dense = table.layer_us(layer.rows, outputs, inputs)
        best = _best(layer.kernel, layer.rows, blocks, table, readers[layer.source])
        if best is None:
            reason = _why_dense(layer.kernel, blocks)
            now = table.layer_us(layer.rows, *layer.kernel.shape)
            choices.append(LayerChoice(name, outputs, inputs, None, 1.0, dense, now, reason))
            continue
        plans[id(operator)] = _Plan(layer, best)
        choices.append(
            LayerChoice(name, outputs, inputs, best.block, best.live, dense, best.cost_us)
        )
    return plans, choices


def _kernel_shapes(graph: Graph) -> dict[int, list[int]]:
    """Return the shapes of all layers' kernels by operator; dropping neurons changes them."""
    layers = [op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    return {id(operator): graph.shape(int(operator.inputs[1])) for operator in layers}


def _best(
    kernel: np.ndarray, rows: int, blocks: Sequence[Block], table: CostTable, readers: int
) -> _Form | None:
    """Return the fastest form in blocks; None if the dense layer is faster."""
    outputs, inputs = kernel.shape
    best, cost = None, table.layer_us(rows, outputs, inputs)
    for block in blocks:
        if not block.divides(kernel):
            continue
        live = live_blocks(kernel, block)
        for groups in possible_groups(live, block):
            us = blocks_us(table, rows, inputs, block, groups, readers)
            if us < cost:
                best, cost = _Form(block, groups, float(live.mean()), us), us
    return best


def _why_dense(kernel: np.ndarray, blocks: Sequence[Block]) -> str:
    if not any(block.divides(kernel) for block in blocks):
        return f"{kernel.shape[0]}x{kernel.shape[1]} weights do not divide into blocks"
    return "blocks would not be faster"


def _arrange_neurons(graph: Graph, blocks: Sequence[Block], table: CostTable) -> None:
    """Drop and move neurons wherever the cost table says that this is faster."""
    for neurons in find_neurons(graph):
        first, second = neurons.kernels(graph)
        rows = read_layer(graph, neurons.writer).rows

        def cost_us(order: np.ndarray, first: Any = first, second: Any = second) -> float:
            total = 0.0
            for kernel in (first[order], second[:, order]):
                best = _best(kernel, rows, blocks, table, 1)  # noqa: B023
                total += best.cost_us if best else table.layer_us(rows, *kernel.shape)  # noqa: B023
            return total

        before = np.arange(len(first))
        orders = [arrange(first, second, block) for block in (None, *blocks)]
        changed = [order for order in orders if not np.array_equal(order, before)]
        best = min(changed, key=cost_us, default=before)
        if best is not before and cost_us(best) < cost_us(before):
            rearrange(graph, neurons, best)


def _write_layer(
    plan: _Plan, writer: Writer, layouts: Layouts, pieces: dict[tuple[int, int, int], int]
) -> None:
    layer, width = plan.layer, plan.form.block.inputs
    places = layer.kernel.shape[1] // width
    source = layouts.twin(layouts.current(layer.source), width)
    results = []
    for group in plan.form.groups:
        # Rows without a live block still have their bias: any block does, as its weights are 0.
        chosen = group.places or (0,)
        runs = []
        for first, count in runs_of(chosen):
            key = (source, first, count)
            if key not in pieces:
                is_whole = count == places
                pieces[key] = source if is_whole else writer.part(source, 1, first, count)
            runs.append(pieces[key])
        rows = slice(group.start, group.start + group.rows)
        columns = (np.asarray(chosen)[:, None] * width + np.arange(width)).ravel()
        kernel = np.ascontiguousarray(layer.kernel[rows][:, columns])
        results.append(writer.convolution(writer.join(runs, 1), kernel, layer, rows))
    _write_result(plan, results, writer, layouts)


def _write_result(plan: _Plan, results: list[int], writer: Writer, layouts: Layouts) -> None:
    layer = plan.layer
    shape = writer.graph.shape(layer.result)
    heights = {group.rows for group in plan.form.groups}
    if len(heights) > 1:
        writer.reshape(writer.join(results, 3), shape, layer.result)
        return
    (height,) = heights
    twin = writer.join(results, 1)
    layouts.learn(layer.result, height, twin)
    rows: Any = twin
    if len(results) > 1 and layer.rows > 1:
        rows = writer.transpose(twin, [0, 2, 1, 3])
    writer.reshape(rows, shape, layer.result)
