"""How far a reconstruction prunes each layer: as its rules say, or as a ranking of all weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.config import ReconstructSettings, SparsitySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.patterns import pattern_before
from tf_prune_ofa.jobs.plan_units import levels_of, trained_job
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.layerwise import Wanted
from tf_prune_ofa.pruning.lock import Masks
from tf_prune_ofa.pruning.plan import Pool, plan_pools
from tf_prune_ofa.pruning.ranking import observed_scores, ranked_sparsities
from tf_prune_ofa.pruning.rules import layer_rules, match_layers, rules_of_kept
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.schedules import SparsitySchedule


def plan_layers(
    settings: ReconstructSettings, context: Context, model: keras.Model, checkpoint: Path
) -> Wanted:
    """Return which layers are pruned, how far in each round.

    Args:
        settings: of the stage.
        context: of the stage.
        model: what is pruned.
        checkpoint: folder in which sparsities that come from a ranking are kept, so that a killed
            run goes on with the same ones.

    Raises:
        UserError: a layer outside the encoder, a pattern that joins layers, or a ranking by the
            loss of a task that the model was not trained on.
    """
    known = _kept_before(settings, context, model)
    pools = _pools(settings, context, model, checkpoint / paths.SPARSITIES, known)
    given = {name: known[name] for name in pools if name in known}
    return Wanted(pools, given, settings.rounds, settings.damping, levels_of(settings))


def is_only_rounded(settings: ReconstructSettings) -> bool:
    """Return whether nothing is pruned."""
    shares = [rule if isinstance(rule, float | int) else rule.sparsity
              for rule in settings.rules.values()]  # fmt: skip
    return settings.weights == "int4" and not any(shares)


def plan_rounding(settings: ReconstructSettings, context: Context, model: keras.Model) -> Wanted:
    """Return that the layers which the rules name keep all their weights, but for zeros so far.

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
    whole = {
        name: known.get(name, np.ones(kernel.shape, bool))
        for name, kernel in kernels.items()
        if name in names
    }
    return Wanted({}, whole, settings.rounds, settings.damping, levels_of(settings))


def _kept_before(settings: ReconstructSettings, context: Context, model: keras.Model) -> Masks:
    """Return the masks that sparsities are shares of: none where they are shares of all weights."""
    if settings.share_of == "all":
        return {}
    kernels = {name: kernel.numpy() for name, kernel in bert.dense_kernels(model).items()}
    return pattern_before(context, settings.start, kernels)


def _pools(
    settings: ReconstructSettings, context: Context, model: keras.Model, ranked: Path, before: Masks
) -> dict[str, Pool]:
    """Return what is pruned by layer name; a step of the schedules is a round."""
    kernels = bert.dense_kernels(model)
    shapes = {name: tuple(kernel.shape) for name, kernel in kernels.items()}
    rules = layer_rules(settings.rules, shapes, settings.pattern)
    if settings.share_of == "kept":
        rules = rules_of_kept(rules, shapes, before, settings.scope)
    final = max(rule.sparsity for rule in rules.values())
    rounds = settings.rounds
    schedule = SparsitySchedule(final, 0, rounds, rounds, 1, power=settings.power)
    heads = context.recipe_inputs.encoder.num_heads
    pools = plan_pools(rules, shapes, schedule, heads=heads)
    for pool in pools:
        if len(pool.layers) > 1:
            raise UserError(
                f"a reconstruction prunes one layer at a time, but the pattern of {pool.layers[0]} "
                f"joins {len(pool.layers)}; set {context.name}.speedup instead of rules, or "
                "use a 'prune' stage"
            )
        if not pool.layers[0].startswith("encoder_"):
            raise UserError(
                f"a reconstruction prunes layers of the encoder only, not {pool.layers[0]}; change "
                "the rules"
            )
    if settings.scope == "global":
        if not ranked.exists():
            scores = _scores(list(rules), settings, context)
            together = plan_pools(rules, shapes, schedule, heads=heads, scope="global")
            write_arrays(ranked, ranked_sparsities(together, scores, rounds))
        sparsities = read_arrays(ranked, rules)
        rules = {name: replace(rules[name], sparsity=float(sparsities[name])) for name in rules}
        pools = plan_pools(rules, shapes, schedule, heads=heads)
    return {pool.layers[0]: pool for pool in pools}


def _scores(
    names: Sequence[str], settings: ReconstructSettings, context: Context
) -> dict[str, np.ndarray]:
    """Return the stage's score of every weight, by the loss on the examples' labels."""
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
