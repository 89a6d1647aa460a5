"""How far each layer is pruned where layers share a sparsity: by a ranking of all their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.pruning.plan import Pool
from tf_prune_ofa.pruning.scores import Score


def ranked_sparsities(
    pools: Sequence[Pool], scores: Mapping[str, np.ndarray], rounds: int
) -> dict[str, np.ndarray]:
    """Return the sparsity of each layer where the layers of a pool are ranked together.

    Args:
        pools: each with layers that are ranked together.
        scores: of all weights by layer name.
        rounds: the step of the pools' schedules that is the last.
    """
    shares = {}
    for pool in pools:
        own = {name: scores[name].copy() for name in pool.layers}
        for score in own.values():
            score.flat[np.argmax(score)] = np.inf  # no layer may lose all of its weights
        dense = {name: np.ones(score.shape, np.float32) for name, score in own.items()}
        for name, mask in pool.masks(rounds, own, dense).items():
            shares[name] = np.array(1 - np.count_nonzero(mask) / mask.size)
    return shares


def observed_scores(
    score: Score,
    kernels: Mapping[str, tf.Variable],
    loss: Callable[[int], tf.Tensor],
    steps: int,
    *,
    title: str,
) -> dict[str, np.ndarray]:
    """Return a score of every weight by layer name, from gradients of a model that stands still.

    Args:
        score: any; its statistics are kept in float64.
        kernels: [in, out] by layer name.
        loss: returns the loss of a step.
        steps: how many.
        title: for the progress.
    """
    variables = list(kernels.values())
    statistics = {
        name: {
            key: tf.Variable(tf.zeros(shape, tf.float64))
            for key, shape in score.statistics(tuple(kernel.shape)).items()
        }
        for name, kernel in kernels.items()
    }
    for step in tqdm(range(steps if any(statistics.values()) else 0), title, unit="batch"):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = loss(step)
        for name, gradient in zip(kernels, tape.gradient(value, variables), strict=True):
            kernel = tf.cast(kernels[name], tf.float64)
            score.observe(kernel, tf.cast(gradient, tf.float64), statistics[name])
    return {
        name: score.values(
            name, kernel.numpy(), {k: variable.numpy() for k, variable in statistics[name].items()}
        )
        for name, kernel in kernels.items()
    }
