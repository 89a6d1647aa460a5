"""The order of a classifier's outputs: one rule for every checkpoint that comes in.

Models on the Hub order their labels as they like. A classifier is used with its outputs in the
task's order, found by the names in its config.json; names that are not the task's are refused, for
what the outputs mean would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError

# What transformers writes where nobody named the labels.
_NO_NAME = re.compile(r"LABEL_\d+")


def in_label_order(
    weights: Mapping[str, np.ndarray],
    own: Sequence[str] | None,
    wanted: Sequence[str],
    *,
    source: str | Path,
    head: str = "classifier",
) -> dict[str, np.ndarray]:
    """Return a checkpoint's weights with the outputs of its classifier in the task's order.

    A classifier without names (none, or LABEL_0, LABEL_1, ...) is taken to have the task's order;
    one of another number of outputs is left as it is: it is no classifier of this task.

    Args:
        weights: by stable name.
        own: the labels that the checkpoint names, in the order of its outputs.
        wanted: the task's labels in their order; none of a regression.
        source: where the weights come from, for messages.
        head: name of the classifier's layer.

    Raises:
        UserError: the names are others than the task's.
    """
    if f"{head}/bias" not in weights or len(weights[f"{head}/bias"]) != len(wanted):
        return dict(weights)
    if own is None or all(map(_NO_NAME.fullmatch, own)):
        return dict(weights)
    order = _order(own, wanted) or _order([n.lower() for n in own], [n.lower() for n in wanted])
    if order is None:
        raise UserError(
            f"the classifier in {source} tells {', '.join(own)} apart, the task's labels are "
            f"{', '.join(wanted)}. If they mean the same, name task.labels as the model does "
            "(task.label_values says how the files write them), or correct id2label in its "
            "config.json; if they do not, set the stage's head to new for a classifier that "
            "starts from scratch"
        )
    parts = (f"{head}/kernel", f"{head}/bias")
    return {name: value[..., order] if name in parts else value for name, value in weights.items()}


def _order(own: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return where each wanted label is among the own ones; None unless they are the same."""
    if len(set(own)) != len(own) or sorted(own) != sorted(wanted):
        return None
    return [own.index(label) for label in wanted]
