"""Transfer: fine-tuning on a task with the sparsity pattern locked and distillation.

Prune OFA, section 3: "once for all" because this stage, cheap and alike for every task, is all that
a new task needs. A sparse checkpoint from elsewhere (e.g. a released Prune OFA model) enters here:
with start "model" the pattern is taken from its zeros, once, and written as masks.
"""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.config import TransferSettings
from tf_prune_ofa.jobs.context import MASKS_FILE, Context
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.lock import (
    Masks,
    PatternLock,
    assert_zeros,
    load_masks,
    masks_from_weights,
    save_masks,
)
from tf_prune_ofa.pruning.rules import match_layers
from tf_prune_ofa.stages.prune import sparsity_figures


def run(settings: TransferSettings, context: Context) -> dict[str, Any]:
    """Fine-tune with the pattern locked; return figures."""
    job = TrainingJob(settings, context)
    student = job.load(settings.start)
    masks = locked_masks(settings, context, student)
    kernels = dense_kernels(student)
    assert_zeros(kernels, masks, where=f"the weights that '{context.name}' starts from")
    job.fit(
        job.distiller(student, PatternLock(kernels, masks)),
        before_save=lambda where: assert_zeros(kernels, masks, where=where),
    )
    job.save(student)
    return job.figures(student) | sparsity_figures(student, masks)


def locked_masks(settings: TransferSettings, context: Context, student: keras.Model) -> Masks:
    """Return the masks of the stage that pruned, or for a foreign checkpoint those of its zeros."""
    path = context.masks_file(settings.start)
    if path is not None:
        return load_masks(path)
    own = context.folder / MASKS_FILE
    if not own.exists():
        kernels = dense_kernels(student)
        names = {name for m in match_layers(settings.locked, kernels).values() for name in m}
        found = {name: kernels[name].numpy() for name in kernels if name in names}
        save_masks(own, masks_from_weights(found))
    return load_masks(own)
