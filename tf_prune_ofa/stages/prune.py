"""Pruning: gradual magnitude pruning with learning-rate rewinding and distillation.

Prune OFA, section 3: during pre-training sparsity ramps up to its final value, masks are updated
some more, then the pattern is fixed for the rest of the run. With objective "task" the same is GMP.
"""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.config import PruneSettings, SparsitySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import UpdatePruningStep, keras
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.gradual import asked_sparsity, pruning_wrap, wrapper_masks
from tf_prune_ofa.pruning.lock import PatternLock, assert_zeros, save_masks, sparsity_of
from tf_prune_ofa.pruning.rules import layer_sparsities
from tf_prune_ofa.schedules import SparsitySchedule
from tf_prune_ofa.stages.context import MASKS_FILE, Context
from tf_prune_ofa.stages.training import TrainingJob


def run(settings: PruneSettings, context: Context) -> dict[str, Any]:
    """Prune while training; write the masks, once and for all later stages; return figures."""
    job = TrainingJob(settings, context)
    dense = job.load(settings.start)
    sparsities = layer_sparsities(settings.sparsity.rules, dense_kernels(dense))
    schedule = sparsity_schedule(settings.sparsity, job, final=max(sparsities.values()))
    student = job.load(settings.start, wrap=pruning_wrap(sparsities, schedule))
    kernels, masks = dense_kernels(student), wrapper_masks(student)
    rate = job.schedule(schedule if settings.sparsity.rewind else None)

    def assert_pattern(where: str) -> None:
        assert_zeros(kernels, {name: mask.numpy() > 0 for name, mask in masks.items()}, where=where)

    job.fit(
        job.distiller(student, PatternLock(kernels, masks)),
        schedule=rate,
        callbacks=lambda start: [UpdatePruningStep()],
        extra_metrics=lambda step: {
            "sparsity_asked": asked_sparsity(student, step),
            "sparsity_measured": sparsity_of({name: mask.numpy() for name, mask in masks.items()}),
        },
        before_save=assert_pattern,
    )
    final_masks = {name: mask.numpy() > 0 for name, mask in masks.items()}
    save_masks(context.folder / MASKS_FILE, final_masks)
    job.save(student)
    return job.figures(student) | sparsity_figures(student, final_masks)


def sparsity_schedule(
    settings: SparsitySettings, job: TrainingJob, *, final: float
) -> SparsitySchedule:
    """Return the recipe's schedule in steps of this run.

    Raises:
        UserError: the run ends before the final sparsity is reached.
    """
    last = job.total_steps - 1
    ramp_end = job.steps(settings.ramp_end)
    if ramp_end > last:
        raise UserError(
            f"{job.context.name}.sparsity.ramp_end is {settings.ramp_end!r}, step {ramp_end}, "
            f"but the run has only {job.total_steps} steps: its final sparsity would never be "
            "reached. Choose an earlier ramp_end or a longer run"
        )
    return SparsitySchedule(
        final=final,
        initial=settings.initial,
        begin=job.steps(settings.begin),
        ramp_end=ramp_end,
        mask_end=min(job.steps(settings.mask_end), last),
        frequency=max(1, job.steps(settings.frequency)),
        power=settings.power,
    )


def sparsity_figures(model: keras.Model, masks: dict[str, Any]) -> dict[str, Any]:
    """Return sparsity of the pruned layers together and each, and of all of the model's weights."""
    total = sum(int(v.shape.num_elements()) for v in model.trainable_variables)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    return {
        "sparsity": sparsity_of(masks),
        "sparsity_of_model": zeros / total,
        "pruned_weights": zeros,
        "layers": {name: float(1 - mask.mean()) for name, mask in masks.items()},
    }
