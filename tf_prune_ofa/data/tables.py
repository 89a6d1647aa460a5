"""Tasks from TSV, CSV and JSON lines files: the user's own, and those of a benchmark's folder."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.table_rows import read_rows, text_of
from tf_prune_ofa.data.task_data import (
    Split,
    TaskData,
    check_labels,
    parse_labels,
    without_labels,
)
from tf_prune_ofa.errors import UserError


def table_task(
    name: str,
    *,
    train: str | os.PathLike[str],
    dev: str | os.PathLike[str],
    text_a: str,
    text_b: str | None = None,
    label: str = "label",
    labels: Sequence[str] = (),
    label_values: Sequence[str] = (),
    header: bool = True,
    metrics: Sequence[str] = (),
    more_dev: Mapping[str, str | os.PathLike[str]] | None = None,
    score_range: tuple[float, float] = (-math.inf, math.inf),
    skip_short_rows: bool = False,
    skip_labels: Sequence[str] = (),
) -> TaskData:
    """Reads a task from a file for each split.

    The ending says the form: .tsv (no quoting: a quote is a character like any other), .csv (double
    quotes) or .jsonl (an object on each line). All are UTF-8, or begin with a byte order mark.

    Args:
        name: of the task.
        train: file of training examples.
        dev: file of examples to judge by.
        text_a: column of the text.
        text_b: column of the second text, if the task has pairs.
        label: column of the label.
        labels: the labels in the order of the logits; empty for regression.
        label_values: how the files write the labels, in the same order; empty means as they are.
        header: whether TSV and CSV files begin with a line of names. Without one, columns are
            called "1", "2" and so on.
        metrics: see `TaskData`.
        more_dev: further files to judge by, by name.
        score_range: least and greatest score of a regression.
        skip_short_rows: leave out rows that lack a column, and say how many; for files that are
            known to have some.
        skip_labels: labels whose rows are left out, and counted, such as SNLI's "-" where no label
            won.

    Raises:
        UserError: a file that is missing, empty, not UTF-8 or of another form, a column that it
            does not have, a label that is missing, not in the list or out of range.
    """
    labels = check_labels(labels)
    written = tuple(label_values) or labels
    if len(written) != len(labels):
        raise UserError(
            f"The task has {len(labels)} labels but {len(written)} label_values: give one for each "
            "label, in the same order."
        )
    columns = [text_a, label] if text_b is None else [text_a, text_b, label]

    def read(file: str | os.PathLike[str]) -> Split:
        path = Path(file)
        rows = list(read_rows(path, columns, header=header, skip_short_rows=skip_short_rows))
        given = [text_of(row[label]) for _, row in rows]
        rows = without_labels(rows, given, skip_labels, str(path))
        if not rows:
            raise UserError(f"{path} has no examples. Give a file with at least one row of data.")
        values = [[_as_text(row[c], f"{path}, line {n}", c) for n, row in rows] for c in columns]
        places = [f"{path}, line {number}" for number, _ in rows]
        return Split(
            values[0],
            None if text_b is None else values[1],
            parse_labels(values[-1], written, places, score_range),
        )

    others = {key: read(path) for key, path in (more_dev or {}).items()}
    return TaskData(name, labels, read(train), read(dev), tuple(metrics), others)


def _as_text(value: Any, place: str, column: str) -> str:
    """The value of a column as it would stand in a table: 1 and "1" are the same label."""
    text = text_of(value)
    if text is None:
        raise UserError(
            f"{place}: {column!r} is {json.dumps(value)[:60]}, not a text or a number. Correct it."
        )
    return text
