"""A pattern that another stage or encoder has, for weights that are computed anew."""

from __future__ import annotations

import numpy as np

from tf_prune_ofa.config import ReconstructSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.plan_units import levels_of
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.layerwise import Wanted
from tf_prune_ofa.pruning.lock import Masks, load_masks, pattern_in


def plan_pattern(
    settings: ReconstructSettings,
    context: Context,
    job: TrainingJob,
    dense: keras.Model,
    sparse: keras.Model,
) -> Wanted:
    """Return the pattern that is kept, and where weights are held.

    Args:
        settings: of the stage.
        context: of the stage.
        job: loads the models of the stage.
        dense: whose outputs are wanted.
        sparse: what is computed; with `held_at: pattern_of` it begins there, changed in place.

    Raises:
        UserError: `pattern_of` is not sparse, or is so outside of the encoder.
    """
    masks = _masks_of(settings, context, job)
    held = _begin_at_pattern_of(settings, job, dense, sparse, masks)
    return Wanted({}, masks, settings.rounds, settings.damping, levels_of(settings), held)


def _masks_of(settings: ReconstructSettings, context: Context, job: TrainingJob) -> Masks:
    name = settings.pattern_of
    path = context.masks_file(name)
    if path is not None:
        masks = dict(load_masks(path))
    elif name not in context.results:
        weights = job.weights_of(name)
        end = "/kernel"
        kernels = {key.removesuffix(end): v for key, v in weights.items() if key.endswith(end)}
        masks = dict(pattern_in(kernels))
    else:
        masks = {}
    if not masks:
        raise UserError(
            f"{context.name}.pattern_of is '{name}', which is not sparse and comes from no stage "
            "that pruned"
        )
    outside = [name for name in masks if not name.startswith("encoder_")]
    if outside:
        raise UserError(f"{context.name} computes layers of the encoder only, not {outside}")
    return masks


def _begin_at_pattern_of(
    settings: ReconstructSettings,
    job: TrainingJob,
    dense: keras.Model,
    sparse: keras.Model,
    masks: Masks,
) -> dict[str, np.ndarray]:
    """Let the sparse model begin at weights that were trained sparse; return kernels by layer name.

    They are moved by what training has changed in `dense` since the encoder that it began with,
    where a weight is kept (task arithmetic: Ilharco et al. 2023, arXiv 2212.04089).
    """
    if settings.held_at == "start":
        return {}
    trained = job.weights_of(settings.pattern_of)
    origin = settings.start
    while origin in job.context.results:
        origin = job.context.results[origin].start
    before = job.weights_of(origin)
    held = {}
    taught = bert.parameters(dense)
    for name, variable in bert.parameters(sparse).items():
        layer, _, part = name.rpartition("/")
        if not name.startswith("encoder_"):
            continue
        moved = trained[name] + taught[name].numpy() - before[name]
        if part == "kernel" and layer in masks:
            moved = np.where(masks[layer], moved, 0.0).astype(np.float32)
            held[layer] = moved
        variable.assign(moved)
    return held
