"""Assign weights from elsewhere to a model, with an account of what did not fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.tensor_names import HEADS, file_order, head_of


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint and a model did not share, as layer names.

    Attributes:
        new: layers of heads that the checkpoint does not have, or not in this shape; they keep
            their fresh weights.
        unused_heads: layers of heads in the checkpoint that the model does not have.
    """

    new: tuple[str, ...] = ()
    unused_heads: tuple[str, ...] = ()


def assign_weights(
    model: keras.Model,
    values: Mapping[str, np.ndarray],
    source: str | Path,
    *,
    new_heads: Collection[str] = (),
    names: Mapping[str, str] | None = None,
) -> LoadReport:
    """Assign arrays to a model's weights of the same stable names; see `load_weights`.

    Args:
        model: from `models.bert.build_model`.
        values: arrays by stable name, kernels as [in, out].
        source: where they come from, for messages.
        new_heads: of `HEADS`, those that may be new.
        names: the file's names by stable name, for messages; the stable names if not given.
    """
    unknown = set(new_heads) - set(HEADS)
    if unknown:
        raise ValueError(f"new_heads has {sorted(unknown)}; heads are {HEADS}")
    wanted = bert.parameters(model)
    missing = {name for name in wanted if name not in values}
    misshapen = {
        name for name in wanted if name in values and values[name].shape != wanted[name].shape
    }
    new_names = set()
    for head in new_heads:
        of_head = {name for name in wanted if head_of(name) == head}
        # Half a head in the file is damage, not another task.
        if of_head <= missing or of_head & misshapen:
            new_names |= of_head
    left_over = [name for name in values if name not in wanted and head_of(name) is None]

    def shown(name: str, shape: Iterable[int]) -> str:
        return f"{(names or {}).get(name, name)} {file_order(name, shape)}"

    problems = [
        f"missing: {shown(name, wanted[name].shape)}"
        for name in wanted
        if name in missing - new_names
    ]
    problems += [f"left over: {shown(name, values[name].shape)}" for name in left_over]
    problems += [
        f"shape: {shown(name, values[name].shape)}, "
        f"the model needs {file_order(name, wanted[name].shape)}"
        for name in wanted
        if name in misshapen - new_names
    ]
    if problems:
        raise UserError(
            f"The weights in {source} do not fit the model:\n  " + "\n  ".join(problems) + "\n"
            "Give weights of the same encoder, and of the same task where a head must not be new."
        )
    for name, variable in wanted.items():
        if name not in new_names:
            variable.assign(values[name])
    unused = [name for name in values if name not in wanted or name in new_names]
    return LoadReport(
        new=tuple(bert.layer_names(name for name in wanted if name in new_names)),
        unused_heads=tuple(bert.layer_names(unused)),
    )
