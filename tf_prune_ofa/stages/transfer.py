"""Transfer: fine-tuning on a task with the sparsity pattern locked and distillation.

Prune OFA, section 3: "once for all" because this stage, cheap and alike for every task, is all that
a new task needs. A sparse checkpoint from elsewhere (e.g. a released Prune OFA model) enters here:
with start "model" the pattern is taken from its zeros, once, and written as masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.config import TransferSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.patterns import sparsity_figures
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.lock import (
    LEAST_ZEROS,
    Masks,
    PatternLock,
    assert_same_zeros,
    assert_zeros,
    load_masks,
    masks_from_weights,
    save_masks,
)
from tf_prune_ofa.pruning.rules import match_layers


def run(settings: TransferSettings, context: Context) -> dict[str, Any]:
    """Fine-tune with the pattern locked; return figures."""
    job = TrainingJob(settings, context)
    student = job.load(settings.start)
    masks = locked_masks(settings, context, student)
    kernels = dense_kernels(student)
    where = f"the weights that '{context.name}' starts from"
    # Layers that `locked` leaves out lose their zeros because they were asked to.
    (assert_zeros if settings.locked else assert_same_zeros)(kernels, masks, where=where)
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
    own = context.folder / paths.MASKS
    if not own.exists():
        kernels = {name: kernel.numpy() for name, kernel in dense_kernels(student).items()}
        names = sparse_layers(settings.locked, kernels)
        save_masks(own, masks_from_weights({name: kernels[name] for name in names}))
    return load_masks(own)


def sparse_layers(locked: Sequence[str], kernels: Mapping[str, np.ndarray]) -> list[str]:
    """Return the layers whose zeros are a pattern, and say of which a few are not.

    Args:
        locked: patterns of layer names whose zeros are one however few they are; none for every
            layer, the pooler and heads too, with at least `LEAST_ZEROS` of them.
        kernels: of a sparse checkpoint, by layer name.

    Raises:
        UserError: there is no pattern.
    """
    shares = {name: float(np.mean(kernel == 0)) for name, kernel in kernels.items()}
    matched = {name for names in match_layers(locked, kernels).values() for name in names}
    names = [n for n in kernels if (n in matched if locked else shares[n] >= LEAST_ZEROS)]
    few = [f"{n} ({np.count_nonzero(kernels[n] == 0)})" for n, s in shares.items()
           if 0 < s < LEAST_ZEROS]  # fmt: skip
    if few:
        taken = "are a pattern where transfer.locked says so" if locked else "are no pattern"
        print(f"  note: zeros of less than {LEAST_ZEROS:.0%} of a layer {taken}: {', '.join(few)}")
    if not names:
        raise UserError(
            f"no sparsity pattern to lock in {len(kernels)} of {len(kernels)} layers: at most "
            f"{max(shares.values()):.2%} of a layer's weights are zeros. Start from a sparse "
            "checkpoint, or prune first"
        )
    return names
