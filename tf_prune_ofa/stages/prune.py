"""Pruning: gradual pruning with learning-rate rewinding and distillation.

Prune OFA, section 3: during pre-training sparsity ramps up to its final value, masks are updated
some more, then the pattern is fixed for the rest of the run. With objective "task" the same is GMP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import PruneSettings, SparsitySettings
from tf_prune_ofa.distill.distiller import Distiller
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.patterns import earlier_pattern, pattern_before, sparsity_figures
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.gradual import (
    UpdateMasks,
    gradient_observer,
    pruning_wrap,
    wrapper_masks,
)
from tf_prune_ofa.pruning.lock import (
    Masks,
    PatternLock,
    assert_zeros,
    save_masks,
    sparsity_of,
)
from tf_prune_ofa.pruning.plan import Pool, asked_sparsity, plan_pools
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.rules import layer_rules, rules_of_kept
from tf_prune_ofa.pruning.scores import Score, find_score
from tf_prune_ofa.schedules import SparsitySchedule


def run(settings: PruneSettings, context: Context) -> dict[str, Any]:
    """Prune while training; write the masks, once and for all later stages; return figures."""
    job = TrainingJob(settings, context)
    sparsity = settings.sparsity
    load_plugins(sparsity.plugins)
    score = find_score(sparsity.score)(sparsity, job.seed)
    found = {n: kernel.numpy() for n, kernel in dense_kernels(job.load(settings.start)).items()}
    shapes = {name: kernel.shape for name, kernel in found.items()}
    rules = layer_rules(sparsity.rules, shapes, sparsity.pattern)
    before = pattern_before(context, settings.start, found) if sparsity.share_of == "kept" else {}
    if sparsity.share_of == "kept":
        rules = rules_of_kept(rules, shapes, before, sparsity.scope)
    schedule = sparsity_schedule(sparsity, job, final=max(r.sparsity for r in rules.values()))
    heads = job.recipe_inputs.encoder.num_heads
    pools = plan_pools(rules, shapes, schedule, heads=heads, scope=sparsity.scope)
    student = job.load(settings.start, wrap=pruning_wrap(pools, score))
    kernels, masks = dense_kernels(student), wrapper_masks(student)
    for name in masks.keys() & before.keys():
        masks[name].assign(before[name])
    earlier = earlier_pattern(context, settings.start, found, rules)
    lock = PatternLock(kernels, {**earlier, **masks}, gradient_observer(student, score))
    distiller = job.distiller(student, lock)
    check_score(score, pools, settings, [kernels[name] for name in masks], distiller)
    rate = job.schedule(schedule if sparsity.rewind else None)

    def pattern() -> Masks:
        return {**earlier, **{name: mask.numpy() > 0 for name, mask in masks.items()}}

    job.fit(
        distiller,
        schedule=rate,
        callbacks=lambda start: [UpdateMasks(pools, student, score)],
        extra_metrics=lambda step: {
            "sparsity_asked": asked_sparsity(pools, step),
            "sparsity_measured": sparsity_of({name: mask.numpy() for name, mask in masks.items()}),
        },
        before_save=lambda where: assert_zeros(kernels, pattern(), where=where),
    )
    final_masks = pattern()
    save_masks(context.folder / paths.MASKS, final_masks)
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
        shape=settings.shape,
    )


def check_score(
    score: Score,
    pools: Sequence[Pool],
    settings: PruneSettings,
    pruned: Sequence[tf.Variable],
    distiller: Distiller,
) -> None:
    """Check that a score has seen enough gradients before it ranks.

    Raises:
        UserError: the first weights are pruned too early, or a pruned kernel is not trained.
    """
    if not score.steps_before:
        return
    name = settings.sparsity.score
    first = min(pool.first_zeros for pool in pools)
    if first < score.steps_before:
        raise UserError(
            f"the score '{name}' needs the gradients of {score.steps_before} training steps, but "
            f"the first weights are pruned at step {first}; set sparsity.begin to "
            f"{score.steps_before} or later"
        )
    trained = {variable.ref() for variable in distiller.trained_variables}
    if any(kernel.ref() not in trained for kernel in pruned):
        raise UserError(
            f"the score '{name}' needs gradients of all pruned layers, but some are frozen; change "
            "'frozen' or the rules"
        )
