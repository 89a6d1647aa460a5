"""What the scores of tasks are, and what they mean. Loads no TensorFlow: a report needs them, too.

The scores are SciPy's: Matthews correlation is Pearson's of the two 0/1 vectors, and F1 is one
minus their Dice dissimilarity, 2 TP / (2 TP + FP + FN).

Legend: N examples · C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial import distance

from tf_prune_ofa.errors import UserError


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


def _of_answers(logits: np.ndarray, labels: np.ndarray) -> float:
    raise TypeError(
        "answers, entities, documents and sets of labels are scored by their task; see "
        "`tasks.kind.Kind.score`"
    )


def _of_share(score: float, count: int) -> float:
    """Standard error of a share: that of a binomial."""
    return math.sqrt(max(0.0, score * (1 - score)) / count)


def _of_correlation(score: float, count: int) -> float:
    """Standard error of a correlation: Fisher's of its arctanh, brought back to first order."""
    return (1 - score**2) / math.sqrt(max(1, count - 3))


@dataclass(frozen=True)
class Score:
    """How good a model is on held-out examples.

    Attributes:
        meaning: for a report.
        of: the score of logits [N, C] and labels [N].
        error: its standard error, from the score and N; None where that needs more than the two.
    """

    meaning: str
    of: Metric = _of_answers
    error: Callable[[float, int], float] | None = None


# By name. An old run that does not say which one is its task's main score is judged by the first of
# these that it has.
SCORES = {
    "accuracy": Score("share of held-out examples with the right label", accuracy, error=_of_share),
    "f1": Score(
        "F1 of the second label on held-out examples, or mean F1 of the answers' words", f1
    ),
    "f1_macro": Score("mean over the labels of their F1 on held-out examples", f1_macro),
    "f1_micro": Score("F1 over all labels of all held-out examples together"),
    "subset_accuracy": Score("share of held-out examples with exactly the right labels"),
    "matthews": Score(
        "Matthews correlation of predicted and right labels, on held-out examples", matthews
    ),
    "pearson": Score(
        "Pearson correlation of the outputs with the labels, on held-out examples",
        pearson,
        error=_of_correlation,
    ),
    "spearman": Score(
        "Spearman rank correlation of the outputs with the labels, on held-out examples",
        spearman,
        error=_of_correlation,
    ),
    "entity_f1": Score("F1 of the entities in held-out sentences, type and borders right"),
    "entity_precision": Score("share of the found entities that are right"),
    "entity_recall": Score("share of the right entities that are found"),
    "recall_at_1": Score(
        "share of held-out queries whose best document is the right one", error=_of_share
    ),
    "mrr_at_10": Score(
        "mean over held-out queries of one by the place of the right document, 0 beyond the tenth"
    ),
    "exact_match": Score(
        "share of held-out questions with exactly a right answer", error=_of_share
    ),
}


def standard_error(name: str, score: float, count: int) -> float | None:
    """Return the standard error of a score on `count` examples, or None where it is not known.

    >>> round(standard_error("accuracy", 0.9, 900), 4)
    0.01
    """
    error = SCORES[name].error if name in SCORES else None
    return error(score, count) if error and count > 0 else None


# Which of them a kind of task may be judged by.
OF_CLASSES = ("accuracy", "f1_macro")
OF_TWO_CLASSES = (*OF_CLASSES, "f1", "matthews")
OF_LABEL_SETS = ("f1_micro", "f1_macro", "subset_accuracy")
OF_REGRESSION = ("pearson", "spearman")
OF_ANSWERS = ("f1", "exact_match")
OF_SIMILARITY = ("spearman", "pearson")
OF_RETRIEVAL = ("recall_at_1", "mrr_at_10")
OF_ENTITIES = ("entity_f1", "entity_precision", "entity_recall")


def checked(asked: Sequence[str], allowed: Iterable[str], what: str) -> tuple[str, ...]:
    """Return the names of the scores that a task or recipe asks for, if the task has them.

    Args:
        asked: the names.
        allowed: those that there are.
        what: for the message: who is judged by them.

    Raises:
        UserError: a name that is not known, or not of such a task.
    """
    for name in asked:
        if name not in allowed:
            raise UserError(f"task.metrics has {name!r}; {what} judged by {', '.join(allowed)}")
    return tuple(asked)


def _f1_of(found: np.ndarray, right: np.ndarray) -> float:
    if not found.any() and not right.any():
        return 0.0
    return float(1 - distance.dice(found, right))


def _correlation(of: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(of(x, y).statistic)
