"""What a fully-connected layer costs, dense and in blocks, in microseconds.

A linear model of five numbers, each of which a short measurement finds (`block_measure`). It is
there to rank forms of one layer against each other, not to predict a whole model: caches and
threads are left out. The shipped numbers are LiteRT 2.3 with XNNPACK on one core of an x86 server
with AVX512-VNNI; on such a core a multiplication is cheap beside a copy, so a decision for blocks
made with them holds all the more where multiplications are dearer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tf_prune_ofa.blocks.live import Block, Group, runs_of
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json


@dataclass(frozen=True)
class CostTable:
    """Costs on one machine.

    Attributes:
        operator_us: of any operator, however small its work, in microseconds.
        product_ns: of one INT8 product and sum inside a layer, in nanoseconds.
        result_ns: of one result of a layer: sums to INT8, and its store.
        copy_ns: of one byte that a SLICE or CONCATENATION moves, in pieces of kilobytes, in a file
            so large that caches are of little help.
        transpose_ns: of one byte that a TRANSPOSE moves, in pieces of 32 to 64 bytes.
    """

    operator_us: float = 0.15
    product_ns: float = 0.0019
    result_ns: float = 0.073
    copy_ns: float = 0.03
    transpose_ns: float = 0.056

    def layer_us(self, rows: int, outputs: int, inputs: int) -> float:
        """Return the cost of a dense layer [rows, inputs] -> [rows, outputs]."""
        results = rows * outputs
        return self.operator_us + 1e-3 * results * (self.result_ns + inputs * self.product_ns)

    def copy_us(self, pieces: int, size_bytes: int) -> float:
        """Return the cost of joining pieces of `size_bytes` in all."""
        joins = _joins(pieces)
        # Every level of joins moves all bytes once more.
        levels = 0 if joins == 0 else 1 if joins == 1 else 2
        return joins * self.operator_us + 1e-3 * levels * size_bytes * self.copy_ns

    def transpose_us(self, size_bytes: int) -> float:
        """Return the cost of bringing a tensor into another layout."""
        return self.operator_us + 1e-3 * size_bytes * self.transpose_ns


# XNNPACK joins at most this many tensors at once.
MAX_JOINED = 5

DEFAULT_TABLE = CostTable()


def read_table(path: str | os.PathLike[str]) -> CostTable:
    """Return the table that `block_measure` or a user wrote.

    Raises:
        UserError: no such file, or not the five positive numbers of a table.
    """
    names = [field.name for field in fields(CostTable)]
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        table = CostTable(**{name: float(content[name]) for name in names})
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no cost table ({error!r}). It is a JSON object with the numbers "
            f"{', '.join(names)}; --measure writes one."
        ) from error
    if not all(0 < value < float("inf") for value in asdict(table).values()):
        raise UserError(f"{path} has a cost that is not a positive number: {asdict(table)}.")
    return table


def write_table(path: str | os.PathLike[str], table: CostTable) -> None:
    """Write a table for `read_table`, whole or not at all."""
    write_json(path, asdict(table))


def blocks_us(
    table: CostTable, rows: int, inputs: int, block: Block, groups: Sequence[Group], shared: int = 1
) -> float:
    """Return the cost of the same layer in groups.

    Args:
        table: costs of the machine.
        rows: tokens.
        inputs: K of the kernel.
        block: size of its blocks.
        groups: from `possible_groups`.
        shared: how many layers read the same input and share its layout and pieces.
    """
    pieces = {run for group in groups for run in runs_of(group.places)}
    moved = sum(count for _, count in pieces) * block.inputs * rows
    total = table.transpose_us(rows * inputs) / shared
    total += (len(pieces) * table.operator_us + 1e-3 * moved * table.copy_ns) / shared
    for group in groups:
        width = max(len(group.places), 1) * block.inputs
        total += table.layer_us(rows, group.rows, width)
        total += table.copy_us(len(runs_of(group.places)), rows * width)
    result_bytes = rows * sum(group.rows for group in groups)
    total += table.copy_us(len(groups), result_bytes) + table.transpose_us(result_bytes)
    if len({group.rows for group in groups}) > 1:
        # Results side by side token by token: the next layer has to take them apart again.
        total += table.transpose_us(result_bytes)
    return total


def _joins(pieces: int) -> int:
    """Return how many CONCATENATIONs join so many pieces, a few at a time."""
    joins = 0
    while pieces > 1:
        nodes = -(-pieces // MAX_JOINED)
        joins += nodes
        pieces = nodes
    return joins
