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

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.config import ReconstructSettings, SparsitySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import require_writable_dir
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.plan_units import levels_of, plan_units, train_settings, trained_job
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.layerwise import Plan, Wanted, reconstruct_layers
from tf_prune_ofa.pruning.lock import Masks, assert_zeros, load_masks, pattern_in, save_masks
from tf_prune_ofa.pruning.plan import Pool, plan_pools
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.ranking import observed_scores, ranked_sparsities
from tf_prune_ofa.pruning.rules import layer_rules, match_layers, rules_of_kept
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.schedules import SparsitySchedule
from tf_prune_ofa.stages.prune import earlier_pattern, pattern_before, sparsity_figures
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
        masks = _masks_of(settings, context, job)
        held = _begin_at_pattern_of(settings, job, dense, sparse, masks)
        wanted = Wanted({}, masks, settings.rounds, settings.damping, levels_of(settings), held)
    elif _is_only_rounded(settings):
        whole = _all_weights(settings, context, dense)
        wanted = Wanted({}, whole, settings.rounds, settings.damping, levels_of(settings))
    else:
        known = _kept_before(settings, context, dense)
        pools = _pools(settings, dense, job, checkpoint / paths.SPARSITIES, known)
        given = {name: known[name] for name in pools if name in known}
        wanted = Wanted(pools, given, settings.rounds, settings.damping, levels_of(settings))
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
    if _is_only_rounded(settings):
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


def _is_only_rounded(settings: ReconstructSettings) -> bool:
    shares = [rule if isinstance(rule, float | int) else rule.sparsity
              for rule in settings.rules.values()]  # fmt: skip
    return settings.weights == "int4" and not any(shares)


def _all_weights(settings: ReconstructSettings, context: Context, model: keras.Model) -> Masks:
    """Return masks that keep all weights of the layers that the rules name, but for zeros so far.

    Raises:
        UserError: a layer outside the encoder.
    """
    kernels = {name: kernel.numpy() for name, kernel in bert.dense_kernels(model).items()}
    known = pattern_before(context, settings.start, kernels)
    names = {
        name for found in match_layers(settings.rules, list(kernels)).values() for name in found
    }
    outside = sorted(name for name in names if not name.startswith("encoder_"))
    if outside:
        raise UserError(
            f"a reconstruction rounds layers of the encoder only, not {outside[0]}; change the "
            "rules"
        )
    return {
        name: known.get(name, np.ones(kernel.shape, bool))
        for name, kernel in kernels.items()
        if name in names
    }


def _masks_of(settings: ReconstructSettings, context: Context, job: _Job) -> Masks:
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
    settings: ReconstructSettings, job: _Job, dense: keras.Model, sparse: keras.Model, masks: Masks
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


def _kept_before(settings: ReconstructSettings, context: Context, model: keras.Model) -> Masks:
    """Return the masks that sparsities are shares of: none where they are shares of all weights."""
    if settings.share_of == "all":
        return {}
    kernels = {name: kernel.numpy() for name, kernel in bert.dense_kernels(model).items()}
    return pattern_before(context, settings.start, kernels)


def _pools(
    settings: ReconstructSettings, model: keras.Model, job: _Job, ranked: Path, before: Masks
) -> dict[str, Pool]:
    """Return what is pruned by layer name; a step of the schedules is a round.

    Sparsities that come from a ranking are kept in the file `ranked`, so that a killed run goes on
    with the same ones.

    Raises:
        UserError: a layer outside the encoder, or a pattern that joins layers.
    """
    kernels = bert.dense_kernels(model)
    shapes = {name: tuple(kernel.shape) for name, kernel in kernels.items()}
    rules = layer_rules(settings.rules, shapes, settings.pattern)
    if settings.share_of == "kept":
        rules = rules_of_kept(rules, shapes, before, settings.scope)
    final = max(rule.sparsity for rule in rules.values())
    rounds = settings.rounds
    schedule = SparsitySchedule(final, 0, rounds, rounds, 1, power=settings.power)
    heads = job.recipe_inputs.encoder.num_heads
    pools = plan_pools(rules, shapes, schedule, heads=heads)
    for pool in pools:
        if len(pool.layers) > 1:
            raise UserError(
                f"a reconstruction prunes one layer at a time, but the pattern of {pool.layers[0]} "
                f"joins {len(pool.layers)}; set {job.context.name}.speedup instead of rules, or "
                "use a 'prune' stage"
            )
        if not pool.layers[0].startswith("encoder_"):
            raise UserError(
                f"a reconstruction prunes layers of the encoder only, not {pool.layers[0]}; change "
                "the rules"
            )
    if settings.scope == "global":
        if not ranked.exists():
            scores = _scores(list(rules), settings, job.context)
            together = plan_pools(rules, shapes, schedule, heads=heads, scope="global")
            write_arrays(ranked, ranked_sparsities(together, scores, rounds))
        sparsities = read_arrays(ranked, rules)
        rules = {name: replace(rules[name], sparsity=float(sparsities[name])) for name in rules}
        pools = plan_pools(rules, shapes, schedule, heads=heads)
    return {pool.layers[0]: pool for pool in pools}


def _scores(
    names: Sequence[str], settings: ReconstructSettings, context: Context
) -> dict[str, np.ndarray]:
    """Return the stage's score of every weight, by the loss on the examples' labels.

    Raises:
        UserError: the model that is pruned was not trained on those labels.
    """
    job = trained_job(settings, context, f"{context.name}.scope is 'global'")
    model = job.load(settings.start, is_trained=False)
    distiller = job.distiller(model)
    kernels = {name: bert.dense_kernels(model)[name] for name in names}

    def loss(step: int) -> tf.Tensor:
        inputs, targets = job.batch(step)
        outputs = distiller.call(inputs, training=False)
        return distiller.total_loss(distiller.loss_terms(inputs, targets, outputs))

    score = find_score(settings.score)(SparsitySettings(), job.seed)
    title = f"{context.name}: ranking"
    return observed_scores(score, kernels, loss, job.total_steps, title=title)
