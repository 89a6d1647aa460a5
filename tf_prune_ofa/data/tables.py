"""Tasks from the user's own TSV, CSV and JSON lines files with named columns."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.task_data import Split, TaskData, check_labels, nearest, parse_labels
from tf_prune_ofa.errors import UserError

_Row = tuple[int, dict[str, Any]]  # line number from 1, value of each column


def table_task(
    name: str,
    *,
    train: str | os.PathLike[str],
    dev: str | os.PathLike[str],
    text_a: str,
    text_b: str | None = None,
    label: str = "label",
    labels: Sequence[str] = (),
    header: Sequence[str] | None = None,
) -> TaskData:
    """Reads a task from two files.

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
        header: names of the columns of a TSV or CSV file that has no header line.

    Raises:
        UserError: a file that is missing, empty, not UTF-8 or of another form, a column that it
            does not have, a label that is not in the list.
    """
    labels = check_labels(labels)
    columns = [text_a, label] if text_b is None else [text_a, text_b, label]
    splits = []
    for path in (Path(train), Path(dev)):
        rows = list(_read(path, columns, header))
        if not rows:
            raise UserError(f"{path} has no examples. Give a file with at least one row of data.")
        values = [[_as_text(row[c], f"{path}, line {n}", c) for n, row in rows] for c in columns]
        places = [f"{path}, line {number}" for number, _ in rows]
        splits.append(
            Split(
                values[0],
                None if text_b is None else values[1],
                parse_labels(values[-1], labels, places),
            )
        )
    return TaskData(name, labels, *splits)


def _read(path: Path, columns: Sequence[str], header: Sequence[str] | None) -> Iterator[_Row]:
    readers: dict[str, Callable[[str, Path], Iterator[tuple[int, list[str]]]]] = {
        ".tsv": _tsv_lines,
        ".csv": _csv_lines,
    }
    text = _read_text(path)
    if path.suffix == ".jsonl":
        yield from _jsonl_rows(text, path, columns)
    elif path.suffix in readers:
        yield from _table_rows(readers[path.suffix](text, path), path, columns, header)
    else:
        raise UserError(
            f"{path} ends in {path.suffix!r}: give a .tsv, .csv or .jsonl file, named so."
        )


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"No file {path}. Correct the path of the task's data.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Name the file in it.") from None
    except PermissionError:
        raise UserError(f"{path} may not be read. Give yourself the right to read it.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Convert the file, for instance: iconv -f latin1 -t utf-8."
        ) from None


def _tsv_lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    # Not splitlines(), nor csv: both also break lines at characters that texts contain.
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.removesuffix("\r"):
            yield number, line.split("\t")


def _csv_lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
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
    lines: Iterator[tuple[int, list[str]]],
    path: Path,
    columns: Sequence[str],
    header: Sequence[str] | None,
) -> Iterator[_Row]:
    names = list(header) if header is not None else next(lines, (0, []))[1]
    if not names:
        raise UserError(f"{path} is empty. Give a file with a header line and data.")
    for column in columns:
        if column not in names:
            raise UserError(
                f"{path} has no column {column!r}{nearest(column, names)}. Its columns are "
                f"{', '.join(map(repr, names))}. Name one of them in the task's settings."
            )
    for number, fields in lines:
        if len(fields) != len(names):
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, but there are {len(names)} columns "
                f"({', '.join(names)}). Correct the line."
            )
        yield number, dict(zip(names, fields, strict=True))


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
                    f"fields are {', '.join(map(repr, row))}. Correct it or the task's settings."
                )
        yield number, row


def _as_text(value: Any, place: str, column: str) -> str:
    """The value of a column as it would stand in a table: 1 and "1" are the same label."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UserError(
        f"{place}: {column!r} is {json.dumps(value)}, not a text or a number. Correct it."
    )
