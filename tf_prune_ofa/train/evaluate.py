"""Predictions and scores of a model on a split.

The scores are SciPy's: Matthews correlation is Pearson's of the two 0/1 vectors, and F1 is one
minus their Dice dissimilarity, 2 TP / (2 TP + FP + FN).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial import distance

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf

NOWHERE = np.float32(-1e9)  # logit of a position that is padding


def traced(
    model: keras.Model, call: Callable[[dict[str, tf.Tensor]], Any]
) -> Callable[[dict[str, Any]], Any]:
    """Return a function of the model's inputs by name as one graph for batches of all sizes."""
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in model.input.items()
    }
    return tf.function(call, input_signature=[signature])


def predict(
    model: keras.Model, batches: Iterable[dict[str, np.ndarray]], output: str = "logits"
) -> np.ndarray:
    """Return one output of the model for all batches, [N, ...], in order."""
    step = traced(model, lambda inputs: model(inputs, training=False)[output])
    return np.concatenate([step(batch).numpy() for batch in batches])


def predict_ends(
    model: keras.Model, batches: Iterable[dict[str, np.ndarray]], *, length: int
) -> np.ndarray:
    """Return start and end logits of a span head for all batches in order, [N, 2, length].

    Beyond a batch's sequences they are `NOWHERE`.
    """

    def step(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        outputs = model(inputs, training=False)
        return tf.stack([outputs["start_logits"], outputs["end_logits"]], axis=1)

    call = traced(model, step)
    parts = [call(batch).numpy() for batch in batches]
    margins = [((0, 0), (0, 0), (0, length - part.shape[2])) for part in parts]
    padded = zip(parts, margins, strict=True)
    return np.concatenate([np.pad(p, m, constant_values=NOWHERE) for p, m in padded])


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of right classes, in [0, 1]."""
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return F1 of class 1 of two; 0 where it is neither predicted nor there."""
    return _f1_of(np.argmax(logits, axis=-1) == 1, labels == 1)


def f1_macro(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of all classes' F1."""
    found = np.argmax(logits, axis=-1)
    return float(np.mean([_f1_of(found == c, labels == c) for c in range(logits.shape[-1])]))


def matthews(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the Matthews correlation of two classes, in [-1, 1]; see `pearson`."""
    return _correlation(stats.pearsonr, np.argmax(logits, axis=-1), labels)


def pearson(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the correlation of outputs [N, 1] with labels [N].

    It is 0 where it is not defined, because all outputs or all labels are the same: such a model
    has learned nothing, and JSON has no NaN.
    """
    return _correlation(stats.pearsonr, logits[..., 0], labels)


def spearman(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the rank correlation of outputs [N, 1] with labels [N]; see `pearson`."""
    return _correlation(stats.spearmanr, logits[..., 0], labels)


Metric = Callable[[np.ndarray, np.ndarray], float]

# By name, of logits [N, C] and labels [N]: of two classes, of any number of them, of a regression.
OF_TWO_CLASSES: dict[str, Metric] = {"f1": f1, "matthews": matthews}
OF_CLASSES: dict[str, Metric] = {"accuracy": accuracy, "f1_macro": f1_macro}
OF_REGRESSION: dict[str, Metric] = {"pearson": pearson, "spearman": spearman}
OF_SPANS = ("f1", "exact_match")  # in `squad_metrics`
METRICS: dict[str, Metric] = {**OF_CLASSES, **OF_TWO_CLASSES, **OF_REGRESSION}


def metric_names(asked: Sequence[str], num_labels: int) -> tuple[str, ...]:
    """Return the names of a task's scores, the main one first.

    Args:
        asked: by the task or the recipe; empty means accuracy, or both correlations for regression.
        num_labels: outputs of the task's head; 1 is a regression.

    Raises:
        UserError: a name that is not known, or not of such a task.
    """
    allowed = OF_REGRESSION if num_labels == 1 else OF_CLASSES
    if num_labels == 2:
        allowed = allowed | OF_TWO_CLASSES
    for name in asked:
        if name not in allowed:
            raise UserError(
                f"task.metrics has {name!r}; a task with "
                f"{'a score' if num_labels == 1 else f'{num_labels} labels'} is judged by "
                f"{', '.join(allowed)}"
            )
    return tuple(asked) or (("pearson", "spearman") if num_labels == 1 else ("accuracy",))


def span_metric_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the scores of answers, the main one first.

    Raises:
        UserError: a name that is not one of them.
    """
    for name in asked:
        if name not in OF_SPANS:
            raise UserError(f"task.metrics has {name!r}; answers are judged by f1, exact_match")
    return tuple(asked) or OF_SPANS


def scores(names: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the scores of logits [N, C] against labels [N] by name; see `METRICS`."""
    return {name: METRICS[name](logits, labels) for name in names}


def _f1_of(found: np.ndarray, right: np.ndarray) -> float:
    if not found.any() and not right.any():
        return 0.0
    return float(1 - distance.dice(found, right))


def _correlation(of: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(of(x, y).statistic)
