"""What pruned layers will cost once `block_sparse` has rewritten them, from their masks alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tf_prune_ofa.blocks.cost import CostTable, blocks_us
from tf_prune_ofa.blocks.live import live_blocks, parse_block, possible_groups

# Layers that read one input and share its layout.
_SHARING = ("/query", "/key", "/value")


def masks_us(masks: Mapping[str, np.ndarray], pattern: str, table: CostTable, tokens: int) -> float:
    """Return the time in microseconds of layers that are pruned together.

    Args:
        masks: by layer name, bool [in, out], True kept: one kernel, or all of a set of heads or
            neurons.
        pattern: its name in a recipe; blocks, heads and neurons become faster, all else is dense.
        table: costs of the machine.
        tokens: of an example.
    """
    if len(masks) > 1:
        return sum(_without_dead_us(mask.T, table, tokens) for mask in masks.values())
    [(name, mask)] = masks.items()
    kernel = mask.T  # as TFLite has it: outputs x inputs
    costs = [table.layer_us(tokens, *kernel.shape)]
    if "x" in pattern:
        block = parse_block(pattern)
        shared = len(_SHARING) if name.endswith(_SHARING) else 1
        costs += [
            blocks_us(table, tokens, kernel.shape[1], block, groups, shared)
            for groups in possible_groups(live_blocks(kernel, block), block)
        ]
    return min(costs)


def _without_dead_us(kernel: np.ndarray, table: CostTable, tokens: int) -> float:
    rows, columns = int(kernel.any(axis=1).sum()), int(kernel.any(axis=0).sum())
    return table.layer_us(tokens, rows, columns)
