"""Tasks from TSV, CSV and JSON lines files: the user's own, and those of a benchmark's folder."""

import csv
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.task_data import (
    Split,
    TaskData,
    check_labels,
    clipped,
    nearest,
    parse_labels,
)
from tf_prune_ofa.errors import UserError

# Far beyond any document, and far below what would fill the memory many times over on its way
# through a parser.
MAX_LINE_BYTES = 10_000_000

_Row = tuple[int, dict[str, Any]]  # line number from 1, value of each column
_Lines = Iterator[tuple[int, list[str]]]


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
) -> TaskData:
    """Reads a task from a file for each split.

    The ending says the form: .tsv (no quoting: a quote is a character like any other), .csv (double
    quotes) or .jsonl (an object on each line). All are UTF-8; a byte order mark is skipped.

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
        rows = list(_read(path, columns, header, skip_short_rows))
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


def _read(
    path: Path, columns: Sequence[str], header: bool, skip_short_rows: bool
) -> Iterator[_Row]:
    readers: dict[str, Callable[[str, Path], _Lines]] = {".tsv": _tsv_lines, ".csv": _csv_lines}
    text = read_text(path)
    if path.suffix == ".jsonl":
        yield from _jsonl_rows(text, path, columns)
    elif path.suffix in readers:
        lines = readers[path.suffix](text, path)
        yield from _table_rows(lines, path, columns, header, skip_short_rows)
    else:
        raise UserError(
            f"{path} ends in {path.suffix!r}: give a .tsv, .csv or .jsonl file, named so."
        )


def read_text(path: Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or has a longer line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"No file {path}. Correct the path of the task's data.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Name the file in it.") from None
    except PermissionError:
        raise UserError(f"{path} may not be read. Give yourself the right to read it.") from None
    start = number = 0
    while len(data) - start > max_line_bytes:
        number += 1
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > max_line_bytes:
            raise UserError(
                f"{path}, line {number}: {(end - start) / 1e6:.0f} MB on one line; at most "
                f"{max_line_bytes / 1e6:.0f} MB are read. Put each example, or each document of a "
                "corpus, on a line of its own, and end it with a line feed."
            )
        start = end + 1
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Convert the file, for instance: iconv -f latin1 -t utf-8."
        ) from None


def _tsv_lines(text: str, path: Path) -> _Lines:
    # Not splitlines(), nor csv: both also break lines at characters that texts contain.
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.removesuffix("\r"):
            yield number, line.split("\t")


def _csv_lines(text: str, path: Path) -> _Lines:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: not CSV ({error}). Put texts that hold commas, "
            "quotes or line ends in double quotes, and double the quotes inside."
        ) from None


def _table_rows(
    lines: _Lines, path: Path, columns: Sequence[str], header: bool, skip_short_rows: bool
) -> Iterator[_Row]:
    start, first = next(lines, (0, []))
    if not first:
        raise UserError(f"{path} is empty. Give a file with data.")
    names = first if header else [str(column) for column in range(1, len(first) + 1)]
    for column in columns:
        if column not in names:
            advice = "Name one of them in the task's settings."
            if header and column.isdecimal():
                advice = "If this file has no header line, set task.header to false."
            shown = ", ".join(map(clipped, names[:20])) + (", ..." if len(names) > 20 else "")
            raise UserError(
                f"{path} has no column {column!r}{nearest(column, names)}. Its columns are "
                f"{shown}. {advice}"
            )
    needed = max(names.index(column) for column in columns)
    short = 0
    rows = lines if header else itertools.chain([(start, first)], lines)
    for number, fields in rows:
        if skip_short_rows and len(fields) <= needed:
            short += 1
            continue
        if len(fields) != len(names) and not skip_short_rows:
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, but there are {len(names)} columns "
                f"({', '.join(map(clipped, names))}). Correct the line."
            )
        yield number, dict(zip(names, fields, strict=False))
    if short:
        print(f"  {path}: {short} rows lack columns and are left out", flush=True)


def _jsonl_rows(text: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error}). Write one object on each line."
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number}: {type(row).__name__} in place of an object. "
                'Write lines such as {"text": "...", "label": "..."}.'
            )
        for column in columns:
            if column not in row:
                raise UserError(
                    f"{path}, line {number}: no field {column!r}{nearest(column, list(row))}. Its "
                    f"fields are {', '.join(map(clipped, row))}. Correct it or the task's settings."
                )
        yield number, row


def _as_text(value: Any, place: str, column: str) -> str:
    """The value of a column as it would stand in a table: 1 and "1" are the same label."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UserError(
        f"{place}: {column!r} is {json.dumps(value)[:60]}, not a text or a number. Correct it."
    )
