"""Texts that may have several labels, or none: TSV, CSV and JSON lines files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.table_rows import read_rows, text_of
from tf_prune_ofa.data.task_data import Split, TaskData, check_labels, clipped, listed, nearest
from tf_prune_ofa.errors import UserError


def label_set_task(settings: TaskSettings) -> TaskData:
    """Reads a task from two files whose label column holds any number of labels.

    In JSON lines it is a list, in tables the labels have commas between them, and nothing means
    none. A label with a comma in its name needs JSON lines.

    Raises:
        UserError: no list of labels in the recipe, a file that cannot be read, is empty or lacks a
            column, or a label that is not in the list.
    """
    labels = check_labels(settings.labels)
    if not labels:
        raise UserError(
            "a task of several labels a text needs their list: name them all in task.labels"
        )
    train, dev = (_read(Path(file), settings, labels) for file in (settings.train, settings.dev))
    return TaskData(Path(settings.train).stem, labels, train, dev, kind="multilabel")


def _read(path: Path, settings: TaskSettings, labels: Sequence[str]) -> Split:
    """Return the texts with labels float32 [N, C] of 0 and 1."""
    columns = [settings.text_a, *([settings.text_b] if settings.text_b else [])]
    index = {label: number for number, label in enumerate(labels)}
    rows = read_rows(
        path, [*columns, settings.label], header=settings.header, skip_short_rows=False
    )
    texts: list[list[str]] = [[] for _ in columns]
    targets = []
    for number, row in rows:
        place = f"{path}, line {number}"
        for column, found in zip(columns, texts, strict=True):
            text = text_of(row[column])
            if text is None:
                raise UserError(f"{place}: {column!r} is not a text. Correct it.")
            found.append(text)
        target = np.zeros(len(labels), np.float32)
        for label in _labels_of(row[settings.label], place):
            if label not in index:
                raise UserError(
                    f"{place}: the label {clipped(label)} is not one of {listed(labels)}"
                    f"{nearest(label, labels)}. Correct the data or task.labels; several labels "
                    "are a list in .jsonl, and have commas between them in a table."
                )
            target[index[label]] = 1
        targets.append(target)
    if not targets:
        raise UserError(f"{path} has no examples. Give a file with at least one row of data.")
    return Split(texts[0], texts[1] if settings.text_b else None, np.stack(targets))


def _labels_of(value: Any, place: str) -> list[str]:
    if isinstance(value, list):
        found = [text_of(one) for one in value]
    else:
        text = text_of(value)
        found = [None] if text is None else [one.strip() for one in text.split(",") if one.strip()]
    names = [one for one in found if one is not None]
    if len(names) < len(found):
        raise UserError(f"{place}: the labels are not a list of texts. Correct them.")
    return names
