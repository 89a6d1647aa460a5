"""Which blocks of a kernel are live, and how its output rows are computed in groups.

A block is `outputs x inputs` weights, in TFLite's order of a kernel [N, K]; it is live if any of
its weights is not 0. Where training zeroed whole blocks, most of them are dead, and an output row
needs only the input columns of its live ones.

Legend: N outputs · K inputs · a place is one of the K / inputs columns of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.errors import UserError


@dataclass(frozen=True)
class Block:
    """Size of a block: `outputs` rows x `inputs` columns of a kernel [N, K]."""

    outputs: int
    inputs: int

    def divides(self, kernel: np.ndarray) -> bool:
        """Return whether a kernel [N, K] falls into whole blocks."""
        return kernel.shape[0] % self.outputs == 0 and kernel.shape[1] % self.inputs == 0

    def __str__(self) -> str:
        return f"{self.outputs}x{self.inputs}"


@dataclass(frozen=True)
class Group:
    """Neighbouring output rows that are computed from the same input blocks.

    `start` and `rows` say which outputs; `places` which input blocks, ascending. No place means
    that the rows hold nothing but their bias.
    """

    start: int
    rows: int
    places: tuple[int, ...]


def parse_block(text: str) -> Block:
    """Return the block that a text such as "64x32" (outputs x inputs) names.

    Raises:
        UserError: the text is something else.
    """
    sizes = text.lower().split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UserError(
            f"{text!r} is no block size. Write outputs x inputs, such as 64x32, or auto."
        )
    return Block(int(sizes[0]), int(sizes[1]))


def live_blocks(kernel: np.ndarray, block: Block) -> np.ndarray:
    """Return which blocks of a kernel are live.

    Args:
        kernel: [N, K], in whole blocks.
        block: the size.

    Returns:
        bool [N / outputs, K / inputs].
    """
    outputs, inputs = kernel.shape
    tiles = kernel.reshape(
        outputs // block.outputs, block.outputs, inputs // block.inputs, block.inputs
    )
    return np.any(tiles, axis=(1, 3))


def possible_groups(live: np.ndarray, block: Block) -> list[list[Group]]:
    """Return the ways to group a pattern's rows.

    One group for each row of blocks, so that all are of one height and their results can stay block
    by block; and, if that makes fewer, one for neighbours with the same live blocks.

    Args:
        live: from `live_blocks`.
        block: the size.

    >>> single, merged = possible_groups(np.array([[1, 0], [1, 0], [0, 1]], bool), Block(4, 4))
    >>> merged
    [Group(start=0, rows=8, places=(0,)), Group(start=8, rows=4, places=(1,))]
    """
    places = [tuple(int(place) for place in np.flatnonzero(row)) for row in live]
    single = [Group(index * block.outputs, block.outputs, row) for index, row in enumerate(places)]
    merged: list[Group] = []
    for group in single:
        if merged and merged[-1].places == group.places:
            last = merged.pop()
            group = Group(last.start, last.rows + group.rows, group.places)
        merged.append(group)
    return [single] if len(merged) == len(single) else [single, merged]


def runs_of(places: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return ascending places as runs of neighbours: (first, count) each.

    >>> runs_of((0, 1, 2, 5))
    [(0, 3), (5, 1)]
    """
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and sum(runs[-1]) == place:
            first, count = runs.pop()
            runs.append((first, count + 1))
        else:
            runs.append((place, 1))
    return runs
