"""A task as data: texts to classify or to score."""

import dataclasses
import difflib
import itertools
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one side of a task.

    Attributes:
        text_a: the texts.
        text_b: second texts, or None for a task on single texts.
        label: int32 index into the task's labels, or float32 score for regression.
    """

    text_a: list[str]
    text_b: list[str] | None
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.text_a)

    def documents(self) -> list[list[str]]:
        """The texts as documents for masked language modelling, one for each example."""
        if self.text_b is None:
            return [[text] for text in self.text_a]
        return [list(pair) for pair in zip(self.text_a, self.text_b, strict=True)]

    def take(self, count: int, seed: int = 0) -> "Split":
        """A fixed random selection of at most `count` examples, in their order here."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        second = None if self.text_b is None else [self.text_b[i] for i in chosen]
        return Split([self.text_a[i] for i in chosen], second, self.label[chosen])


class Side(typing.Protocol):
    """One side of a task, of whatever kind."""

    def __len__(self) -> int: ...

    def documents(self) -> list[list[str]]:
        """The texts as documents for masked language modelling."""

    def take(self, count: int, seed: int = 0) -> Any:
        """A fixed random selection of at most `count` examples, in their order here."""


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task: its training examples and the ones it is judged on.

    Attributes:
        name: for tables and files.
        labels: name of each class, in the order of the logits; empty for regression.
        train: examples to learn from.
        dev: examples to judge by; never trained on.
        metrics: names of the scores that the task is judged by, the main one first; empty means
            accuracy, or the correlations for regression.
        more_dev: further examples to judge by, by name: MNLI's "mismatched" ones.
        kind: of task, one of `tasks.KINDS`; without a word, labels make it a classification, and no
            labels a regression.
    """

    name: str
    labels: tuple[str, ...]
    train: Side
    dev: Side
    metrics: tuple[str, ...] = ()
    more_dev: Mapping[str, Side] = dataclasses.field(default_factory=dict)
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", "classification" if self.labels else "regression")


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of a task as a tuple; empty means regression.

    Raises:
        UserError: one label only, or a label listed twice.
    """
    labels = tuple(labels)
    if len(labels) == 1:
        raise UserError(f"The task has one label, {labels[0]!r}: classification needs two or more.")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"The task lists these labels more than once: {', '.join(twice)}.")
    return labels


def parse_labels(
    values: Sequence[str],
    labels: tuple[str, ...],
    places: Sequence[str],
    score_range: tuple[float, float] = (-math.inf, math.inf),
) -> np.ndarray:
    """Turns written labels into class indices, or into scores where `labels` is empty.

    Args:
        values: as written in the data.
        labels: the task's labels, as they are written there.
        places: where each value stands ("file, line 7"), for the message.
        score_range: least and greatest score that there can be.

    Returns:
        int32 [N], or float32 [N] for regression.

    Raises:
        UserError: a value that is missing, not a label, not a finite number, or out of range.
    """
    for value, place in zip(values, places, strict=True):
        if not value.strip():
            raise UserError(
                f"{place}: no label. Every example to learn from or to judge by needs one: fill it "
                "in, or remove the line."
            )
    if not labels:
        scores = [_score(v, p, score_range) for v, p in zip(values, places, strict=True)]
        return np.array(scores, np.float32)
    index = {label: i for i, label in enumerate(labels)}
    for value, place in zip(values, places, strict=True):
        if value not in index:
            raise UserError(_unknown_label(value, place, labels, values))
    return np.array([index[value] for value in values], np.int32)


def without_labels(
    rows: list[Any], labels: Sequence[str | None], skip: Sequence[str], place: str
) -> list[Any]:
    """The rows whose label is not to be skipped; says how many are left out.

    Args:
        rows: of any kind.
        labels: of each.
        skip: the labels to leave out.
        place: where the rows are from, for the message.
    """
    kept = [row for row, label in zip(rows, labels, strict=True) if label not in skip]
    if len(kept) < len(rows):
        print(
            f"  {place}: {len(rows) - len(kept):,} of {len(rows):,} rows have a label of "
            "task.skip_labels and are left out",
            flush=True,
        )
    return kept


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint for a message: "; the nearest is 'x'", or nothing where none is near."""
    # Of a row of a million columns, comparing all takes minutes.
    close = difflib.get_close_matches(name[:200], [one[:200] for one in names[:1000]], n=1)
    return f"; the nearest is {clipped(close[0])}" if close else ""


def clipped(value: str, length: int = 60) -> str:
    """A text of the data in quotes for a message, cut where it is long."""
    return repr(value) if len(value) <= length else f"{value[:length]!r}..."


def listed(names: Iterable[str], count: int = 20) -> str:
    """The first of some names in quotes for a message."""
    some = [clipped(name) for name in itertools.islice(names, count + 1)]
    return ", ".join(some[:count]) + (", ..." if len(some) > count else "")


def _score(value: str, place: str, score_range: tuple[float, float]) -> float:
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not abs(score) <= np.finfo(np.float32).max:
        raise UserError(
            f"{place}: the score {clipped(value)} is not a finite number. Correct it, or give the "
            "task its labels if this is classification."
        )
    low, high = score_range
    if not low <= score <= high:
        raise UserError(
            f"{place}: the score {score:g} is outside of {low:g} to {high:g}. Correct it, "
            "or check that this is the column of the scores."
        )
    return score


def _unknown_label(value: str, place: str, labels: Sequence[str], values: Sequence[str]) -> str:
    found = sorted(set(values))
    return (
        f"{place}: the label {clipped(value)} is not one of {listed(labels)}"
        f"{nearest(value, labels)}. The labels in the data are {listed(found, 10)}. Correct the "
        "data or the task's labels, or name those to leave out in task.skip_labels."
    )
