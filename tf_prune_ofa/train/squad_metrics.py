"""Exact match and F1 of answers, by the rules of SQuAD's official evaluation (v1.1 and v2).

Answers are compared in lower case, without ASCII punctuation and the articles a, an, the, and with
single spaces; of several right answers the best match counts. Where nothing is left of an answer,
F1 is that of version 2: 1 if nothing is left of both, else 0. Version 1.1 gave 0 to two such
answers, which are an exact match.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalize(answer: str) -> str:
    """Return the form in which answers are compared."""
    return " ".join(_ARTICLE.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: str) -> float:
    """Return 1 where both answers are the same after `normalize`, else 0."""
    return float(normalize(answer) == normalize(right))


def f1(answer: str, right: str) -> float:
    """Return the F1 of two answers' words after `normalize`, each as often as it occurs."""
    words, right_words = normalize(answer).split(), normalize(right).split()
    if not (words and right_words):
        return float(words == right_words)
    same = sum((Counter(words) & Counter(right_words)).values())
    if not same:
        return 0.0
    precision, recall = same / len(words), same / len(right_words)
    return 2 * precision * recall / (precision + recall)


def question_scores(answer: str, right: Sequence[str], *, v2: bool = False) -> tuple[float, float]:
    """Return exact match and F1 of an answer to one question, each the best over right answers.

    Args:
        answer: found; "" means none.
        right: the question's answers; none means that it has no answer (v2).
        v2: leave out right answers of which nothing is left, as version 2 does.
    """
    if v2:
        right = [one for one in right if normalize(one)] or [""]
    exact = max((exact_match(answer, one) for one in right), default=0.0)
    return exact, max((f1(answer, one) for one in right), default=0.0)


def squad_scores(answers: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return `exact_match` and `f1` in [0, 1], means over questions, by the rule of v1.1."""
    found = [question_scores(a, r) for a, r in zip(answers, right, strict=True)]
    return _means(np.array(found))


def squad_v2_scores(
    answers: Sequence[str],
    right: Sequence[Sequence[str]],
    null_differences: Sequence[float],
) -> dict[str, float]:
    """Return scores by the rule of v2, with the threshold that gives the best F1.

    An answer is given where no answer scores at most the threshold better than it; elsewhere none
    is. As in the official evaluation, the threshold is chosen on the questions judged.

    Args:
        answers: the best one for each question.
        right: right answers of each question, none where there is none.
        null_differences: score of no answer minus that of the best answer, for each question.

    Returns:
        `exact_match` and `f1` at `null_threshold`, and F1 on those questions that have an answer
        (`f1_answerable`) and that have none (`f1_unanswerable`), where there are such.
    """
    scored = np.array([question_scores(a, r, v2=True) for a, r in zip(answers, right, strict=True)])
    is_null = np.array([not r for r in right])
    # Any answer is wrong there, even one of which nothing is left.
    scored[is_null] = (np.array(answers) == "")[is_null, None]
    empty = np.stack([is_null, is_null], axis=1).astype(float)
    threshold = best_threshold(scored[:, 1], empty[:, 1], np.asarray(null_differences))
    is_answered = np.asarray(null_differences) <= threshold
    final = np.where(is_answered[:, None], scored, empty)
    found = _means(final) | {"null_threshold": threshold}
    if not is_null.all():
        found["f1_answerable"] = float(final[~is_null, 1].mean())
    if is_null.any():
        found["f1_unanswerable"] = float(final[is_null, 1].mean())
    return found


def best_threshold(
    if_answered: np.ndarray, if_not: np.ndarray, null_differences: np.ndarray
) -> float:
    """Return the null threshold with the greatest sum of scores.

    Args:
        if_answered: [Q], score of each question if the best answer is given.
        if_not: [Q], its score if none is given.
        null_differences: [Q]; a question is answered where this is at most the threshold.

    Returns:
        One of the differences, or something below all of them if answering none is best; of equally
        good ones the least.
    """
    finite = null_differences[np.isfinite(null_differences)]
    below = float(finite.min()) - 1.0 if len(finite) else 0.0
    candidates = np.unique(finite)  # rising
    gain = np.where(np.isfinite(null_differences), if_answered - if_not, 0.0)
    by_candidate = np.zeros(len(candidates))
    places = np.searchsorted(candidates, finite)
    np.add.at(by_candidate, places, gain[np.isfinite(null_differences)])
    sums = np.concatenate([[0.0], np.cumsum(by_candidate)])
    return float(np.concatenate([[below], candidates])[int(np.argmax(sums))])


def _means(scored: np.ndarray) -> dict[str, float]:
    return {"exact_match": float(scored[:, 0].mean()), "f1": float(scored[:, 1].mean())}
