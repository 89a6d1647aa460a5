"""What is odd about a task's data, though it can be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from tf_prune_ofa.data.squad import SpanSplit
from tf_prune_ofa.data.task_data import Split, TaskData, listed


def doubts(task: TaskData) -> list[str]:
    """Return what is odd about a task, in sentences: it can be learnt, but hardly is meant."""
    return _doubts_of_labels(task) + _doubts_of_texts(task)


def _doubts_of_labels(task: TaskData) -> list[str]:
    found = []
    for side, split in (("to learn from", task.train), ("to judge by", task.dev)):
        values: Any = ()
        if isinstance(split, Split) and split.label.ndim == 1:
            values = np.unique(split.label)
        if len(values) == 1:
            name = f"{values[0]:g}" if not task.labels else repr(task.labels[values[0]])
            found.append(f"all {len(split):,} examples {side} have the label {name}")
        elif isinstance(split, Split) and split.label.ndim > 1:
            never = [name for name, n in zip(task.labels, split.label.sum(0), strict=True) if not n]
            if never:
                found.append(f"no example {side} has the label {listed(never)}")
        elif len(values) and task.labels and side == "to learn from":
            absent = [name for i, name in enumerate(task.labels) if i not in set(values)]
            if absent:
                found.append(f"no example {side} has the label {listed(absent)}")
    return found


def _doubts_of_texts(task: TaskData) -> list[str]:
    found = []
    for side, split in (("to learn from", task.train), ("to judge by", task.dev)):
        texts = list(_texts_of(split))
        for says, is_odd in _ODD.items():
            count = sum(any(map(is_odd, one)) for one in texts)
            if count:
                found.append(f"{count:,} of {len(texts):,} examples {side} have a text {says}")
    return found


def _texts_of(split: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(split, SpanSplit):
        yield from ((question.text, question.context) for question in split.questions)
    elif isinstance(split, Split):
        yield from zip(split.text_a, *([] if split.text_b is None else [split.text_b]), strict=True)


def _is_blank(text: str) -> bool:
    """Whether a text is white space, control and format characters only."""
    return all(unicodedata.category(character)[0] in "CZ" for character in text)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"' and '""' in text[1:-1]


_ODD = {
    "without a visible character": _is_blank,
    "in quotes with doubled quotes inside, as a .csv has them: a .tsv has none, and they are part "
    "of the text": _is_quoted,
}
