"""Whole heads and neurons of an encoder by reconstruction: how many of each layer, and which.

How many is decided before any goes: of every layer it is known what each count would lose
(`pruning.units`) and what time it would save, and a dynamic program picks the counts (as ZipLM,
Kurtic et al. 2023, arXiv 2302.04089). Which ones is decided layer by layer from the bottom up,
with the inputs that come from the layers pruned before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.pruning.allocation import Level, allocate
from tf_prune_ofa.pruning.layerwise import Batch, Inputs, variables
from tf_prune_ofa.pruning.reconstruction import Moments, Reconstruction, reconstruct
from tf_prune_ofa.pruning.units import Removal, removal

# Kernels compute on padding where the number of neurons is no multiple of it.
NEURONS_TOGETHER = 16
# The layer that units are inputs of, and those that they are outputs of, in an encoder layer.
READERS = {
    "attention/output": ("attention/query", "attention/key", "attention/value"),
    "ffn/output": ("ffn/intermediate",),
}
_INPUTS = {"attention/output": "attention/context", "ffn/output": "ffn/activation"}


@dataclass(frozen=True)
class WantedUnits:
    """What is to be computed; in place of `layerwise.Wanted` where whole units go.

    Attributes:
        counts: how many units go, by the name of the layer that reads them.
        heads: of the encoder.
        importance: of the readers' outputs, [O] by name.
        damping: see `pruning.reconstruction.reconstruct`.
        levels: likewise.
    """

    counts: Mapping[str, int]
    heads: int
    importance: Mapping[str, np.ndarray]
    damping: float
    levels: int = 0

    def layers(self, prefix: str) -> list[str]:
        """Return the layers that are computed whose names begin so."""
        found = []
        for reader in self.counts:
            layer, _, end = reader.partition("/")
            found += [*(f"{layer}/{writer}" for writer in READERS[end]), reader]
        return [name for name in found if name.startswith(prefix)]

    def reconstructed(self, dense: keras.Model, name: str, moments: Moments) -> Reconstruction:
        """Return the new weights of one layer; those that write units lose theirs in `joined`."""
        kernel, bias = (variable.numpy() for variable in variables(dense, name))
        mask = np.ones(kernel.shape, bool)
        if name in self.counts:
            order = _removal(
                name, kernel, bias, moments, self.heads, self.importance, self.damping,
                most=self.counts[name],
            )  # fmt: skip
            mask &= _inputs_of(order.kept(self.counts[name]), len(kernel))[:, None]
        return reconstruct(
            kernel, bias, moments, None, mask=mask, damping=self.damping, levels=self.levels
        )

    def joined(self, found: Mapping[str, Reconstruction]) -> dict[str, Reconstruction]:
        """Return the layers of an encoder layer with all weights of units that are gone at 0."""
        joined = dict(found)
        for name, one in found.items():
            layer, _, end = name.partition("/")
            for writer in READERS.get(end, ()):
                own = found[f"{layer}/{writer}"]
                mask = np.broadcast_to(one.mask.any(axis=1), own.mask.shape).copy()
                joined[f"{layer}/{writer}"] = replace(own, kernel=own.kernel * mask, mask=mask)
        return joined


def removals(
    model: keras.Model,
    batches: Sequence[Batch],
    *,
    num_layers: int,
    heads: int,
    importance: Mapping[str, np.ndarray],
    damping: float,
) -> dict[str, Removal]:
    """Return what each count of units would lose, by the name of the layer that reads them.

    Args:
        model: dense.
        batches: its inputs.
        num_layers: of the encoder.
        heads: of the encoder.
        importance: of the readers' outputs, [O] by name.
        damping: see `pruning.reconstruction.reconstruct`.
    """
    found = {}
    inputs = Inputs(model, model, batches)
    for layer in (f"encoder_{index:02d}" for index in range(num_layers)):
        for end in READERS:
            name = f"{layer}/{end}"
            kernel, bias = (variable.numpy() for variable in variables(model, name))
            moments = inputs.moments(f"{layer}/{_INPUTS[end]}")
            found[name] = _removal(name, kernel, bias, moments, heads, importance, damping)
        inputs.ascend(f"{layer}/ffn/norm")
    return found


def choose_counts(
    found: Mapping[str, Removal],
    saved_us: Callable[[str, int], float],
    *,
    dense_us: float,
    speedup: float,
) -> dict[str, int]:
    """Return how many units go by reader: the least loss at a time of dense_us / speedup.

    Args:
        found: from `removals`.
        saved_us: time that a layer saves when so many units go, by the reader's last two names.
        dense_us: of the whole model.
        speedup: that is asked for.

    Raises:
        UserError: even with one head and 16 neurons in each layer the model takes longer.
    """
    levels, least = {}, dense_us
    for name, one in found.items():
        end = name.partition("/")[2]
        step = 1 if end.startswith("attention") else NEURONS_TOGETHER
        counts = range(0, len(one.order), step)
        most = saved_us(end, counts[-1])
        levels[name] = [
            Level(
                count / len(one.order),
                max(most - saved_us(end, count), 0.0),
                float(one.losses[count - 1]) if count else 0.0,
            )
            for count in counts
        ]
        least -= most
    budget = dense_us / speedup - least
    if budget < 0:
        raise UserError(
            f"with one head and {NEURONS_TOGETHER} neurons in each layer the model would be "
            f"{dense_us / least:.2f} times as fast as the dense one; a speedup of {speedup:g} is "
            "more than heads and neurons can give: ask for less, or start from fewer layers"
        )
    chosen = allocate(levels, budget) if budget else {n: rows[-1] for n, rows in levels.items()}
    return {name: round(one.sparsity * len(found[name].order)) for name, one in chosen.items()}


def _removal(
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    moments: Moments,
    heads: int,
    importance: Mapping[str, np.ndarray],
    damping: float,
    most: int | None = None,
) -> Removal:
    is_heads = name.endswith("attention/output")
    return removal(
        kernel,
        bias,
        moments,
        heads if is_heads else len(kernel),
        together=1 if is_heads else NEURONS_TOGETHER,
        most=most if most is not None or is_heads else len(kernel) - NEURONS_TOGETHER,
        importance=importance[name],
        damping=damping,
    )


def _inputs_of(kept: np.ndarray, inputs: int) -> np.ndarray:
    """Return which inputs are left, bool [I], where these units are."""
    return np.repeat(kept, inputs // len(kept))
