"""Sparsity patterns of stages: what those before have pruned, and what one leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels, parameters
from tf_prune_ofa.pruning.lock import Masks, load_masks, pattern_in


def earlier_pattern(
    context: Context, start: str, kernels: Mapping[str, np.ndarray], rules: Iterable[str]
) -> Masks:
    """Return the masks of layers that were pruned before and are not to be pruned now.

    They stay locked, and go into this stage's masks: later stages read only those.

    Args:
        context: of the stage.
        start: where its weights come from.
        kernels: of `start`, by layer name.
        rules: layers that the stage prunes.
    """
    before = pattern_before(context, start, kernels)
    kept = {name: mask for name, mask in before.items() if name not in set(rules)}
    if kept:
        print(f"  zeros of {start} stay in: {', '.join(sorted(kept))}", flush=True)
    return kept


def pattern_before(context: Context, start: str, kernels: Mapping[str, np.ndarray]) -> Masks:
    """Return the masks of what `start` has pruned; its `kernels` are by layer name."""
    path = context.masks_file(start)
    return load_masks(path) if path else pattern_in(kernels)


def sparsity_figures(model: keras.Model, masks: dict[str, Any]) -> dict[str, Any]:
    """Return zeros counted in a model's weights: of the pruned layers together and each, and all.

    Args:
        model: the trained model.
        masks: whose layers were pruned.
    """
    kernels = dense_kernels(model)
    zeros = {name: int(np.count_nonzero(kernels[name].numpy() == 0)) for name in masks}
    sizes = {name: int(np.size(mask)) for name, mask in masks.items()}
    total = sum(int(v.shape.num_elements()) for v in parameters(model).values())
    return {
        "sparsity": sum(zeros.values()) / sum(sizes.values()),
        "sparsity_of_model": sum(zeros.values()) / total,
        "pruned_weights": sum(zeros.values()),
        "layers": {name: zeros[name] / sizes[name] for name in masks},
    }
