"""What became of each layer, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from tf_prune_ofa.blocks.rewrite import LayerChoice
from tf_prune_ofa.text_table import megabytes, text_table


def describe(
    choices: Sequence[LayerChoice], size_before: int, size_after: int, *, is_verified: bool
) -> str:
    """Return a table of the layers, alike ones in one row, and a summary."""
    changed = [choice for choice in choices if choice.block is not None]
    rows = []
    for (outputs, inputs, block), group in groupby(sorted(changed, key=_kind), key=_kind):
        alike = list(group)
        live = sum(choice.live for choice in alike) / len(alike)
        ratio = sum(c.blocks_us for c in alike) / sum(c.dense_us for c in alike)
        rows.append(
            [f"{outputs} x {inputs}", str(len(alike)), block, f"{live:.1%}", f"{ratio:.2f}"]
        )
    header = ("outputs x inputs", "layers", "block", "live blocks", "estimated time, dense = 1")
    parts = [text_table(header, rows)] if rows else ["No layer is faster in blocks."]
    kept = Counter(choice.reason for choice in choices if choice.block is None)
    parts += [f"{count} layers stay as they are: {reason}" for reason, count in kept.items()]
    parts.append(f"{megabytes(size_before)} MB before, {megabytes(size_after)} MB after")
    if is_verified:
        parts.append("Both files were run on random inputs: all outputs are equal bit for bit.")
    return "\n".join(parts)


def _kind(choice: LayerChoice) -> tuple[int, int, str]:
    return choice.outputs, choice.inputs, str(choice.block)
