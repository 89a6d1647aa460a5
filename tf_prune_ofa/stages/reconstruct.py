"""Reconstruction: pruning without training, from a few examples, in minutes on one core.

Layer by layer, from the embeddings up, each Dense layer is pruned so that it gives what the dense
model's layer gives (`pruning.layerwise`). How far each layer is pruned is the rules' word, or with
scope "global" that of a ranking of all their weights, by the diagonal Fisher (Kurtic et al. 2022,
oBERT, arXiv 2203.07259) or any other score.
The result is a start for distillation: `transfer`, with the pattern locked. Given the pattern of
another stage, only the weights are computed: an encoder that was pruned once takes over a task's
teacher.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import ReconstructSettings
from tf_prune_ofa.files import require_writable_dir
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.patterns import earlier_pattern, sparsity_figures
from tf_prune_ofa.jobs.plan_layers import is_only_rounded, plan_layers, plan_rounding
from tf_prune_ofa.jobs.plan_pattern import plan_pattern
from tf_prune_ofa.jobs.plan_units import plan_units, train_settings
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.layerwise import Plan, reconstruct_layers
from tf_prune_ofa.pruning.lock import assert_zeros, save_masks
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.tasks import reads_corpus

# Words that are masked as for training would not be seen as they are later on.
UNMASKED = 1e-6


class _Job(TrainingJob):
    """Data, models and results of the stage, which are those of a training stage."""

    def __init__(self, settings: ReconstructSettings, context: Context) -> None:
        super().__init__(replace(train_settings(settings), mlm_share=UNMASKED), context)
        self.has_task_head = not reads_corpus(settings) and self.starts_with_head

    @property
    def head(self) -> bert.Head | None:
        """The task's head where `start` has it; one that is not trained is of no use to anyone."""
        return super().head if self.has_task_head else None


def run(settings: ReconstructSettings, context: Context) -> dict[str, Any]:
    """Prune, or compute the weights of a pattern; write masks and model; return figures."""
    job = _Job(settings, context)
    load_plugins(settings.plugins)
    find_score(settings.score)  # before any work
    dense = job.load(settings.start, is_trained=False)
    sparse = job.load(settings.start, is_trained=False)
    checkpoint = require_writable_dir(context.folder / paths.CHECKPOINT)
    batches = job.calibration_inputs(job.total_steps)
    wanted: Plan
    more: dict[str, Any] = {}
    if settings.goal:
        wanted, more = plan_units(settings, context, dense, batches, checkpoint)
    elif settings.pattern_of:
        wanted = plan_pattern(settings, context, job, dense, sparse)
    elif is_only_rounded(settings):
        wanted = plan_rounding(settings, context, dense)
    else:
        wanted = plan_layers(settings, context, dense, checkpoint)
    found = reconstruct_layers(
        dense,
        sparse,
        batches,
        wanted,
        num_layers=job.recipe_inputs.encoder.num_layers,
        checkpoint=checkpoint,
        title=context.name,
    )
    computed = {name: one.mask for name, one in found.items()}
    if is_only_rounded(settings):
        computed = {name: mask for name, mask in computed.items() if not mask.all()}
    kernels = {name: kernel.numpy() for name, kernel in bert.dense_kernels(sparse).items()}
    # Weights that were rounded to 0 are no pattern: it is looked for in those before.
    before = {name: kernel.numpy() for name, kernel in bert.dense_kernels(dense).items()}
    masks = earlier_pattern(context, settings.start, before, found) | computed
    assert_zeros(kernels, masks, where="the reconstructed model")
    if masks and settings.weights == "int4":
        # Nothing is trained behind it: what was rounded to 0 is a zero like those that were pruned.
        masks |= {name: kernels[name] != 0 for name in found}
    if masks:
        save_masks(context.folder / paths.MASKS, masks)
    job.save(sparse)
    figures = job.figures(sparse) if job.has_task_head else {}
    figures.pop("steps", None)  # nothing was trained
    figures |= {
        "examples": job.total_steps * settings.batch_size,
        "reconstruction_errors": {name: one.error for name, one in found.items()},
    }
    return figures | more | (sparsity_figures(sparse, masks) if masks else {})
