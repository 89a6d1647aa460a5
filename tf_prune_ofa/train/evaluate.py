"""Predictions and metrics of a model on a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import stats

from tf_prune_ofa.keras_compat import keras, tf


def predict(
    model: keras.Model, batches: Iterable[dict[str, np.ndarray]], output: str = "logits"
) -> np.ndarray:
    """Return one output of the model for all batches, [N, ...], in order."""

    @tf.function(reduce_retracing=True)
    def step(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        return model(inputs, training=False)[output]

    return np.concatenate([step(batch).numpy() for batch in batches])


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy in [0, 1] of logits [N, C] against integer labels [N]."""
    return {"accuracy": float(np.mean(np.argmax(logits, axis=-1) == labels))}


def regression_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return Pearson and Spearman correlation of outputs [N, 1] with labels [N] (STS-B).

    Both are 0 where they are not defined, because all outputs or all labels are the same.
    """
    values = logits[..., 0]
    if np.ptp(values) == 0 or np.ptp(labels) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(stats.pearsonr(values, labels).statistic),
        "spearman": float(stats.spearmanr(values, labels).statistic),
    }


def metrics_for(num_labels: int) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Return the metrics of a task: classification, or regression where there is one output."""
    return regression_metrics if num_labels == 1 else classification_metrics
