"""Rows of TSV, CSV and JSON lines files, as mappings of column names to values."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.task_data import clipped, listed, nearest
from tf_prune_ofa.data.text_files import MAX_LINE_BYTES, read_text
from tf_prune_ofa.errors import UserError

Row = tuple[int, dict[str, Any]]  # line number from 1, value of each column
_Lines = Iterator[tuple[int, list[str]]]


def read_rows(
    path: Path, columns: Sequence[str], *, header: bool, skip_short_rows: bool
) -> Iterator[Row]:
    """The rows of a file, in its form by its ending; see `tables.table_task`.

    Args:
        path: the file.
        columns: that are needed.
        header: whether TSV and CSV files begin with a line of names.
        skip_short_rows: leave out rows that lack one of the columns, and say how many.

    Raises:
        UserError: a file of another form, or without one of the columns.
    """
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


def parse_json(text: str) -> Any:
    """A JSON text as plain values.

    Raises:
        ValueError: it is none, is too deep, has a name twice in an object, or half of a character.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the name {clipped(twice)} is there twice in one object")
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("too many levels deep") from None


def text_of(value: Any) -> str | None:
    """A text or a number as text: 1 and "1" are the same. None for all else.

    NaN is what pandas writes for a value that is missing.
    """
    if isinstance(value, str):
        # Half of a surrogate pair, as of an emoji that was cut, is in no text.
        return value if not any("\ud800" <= letter <= "\udfff" for letter in value) else None
    if isinstance(value, bool | int) or isinstance(value, float) and value - value == 0:
        return json.dumps(value)
    return None


def _tsv_lines(text: str, path: Path) -> _Lines:
    # Not splitlines(), nor csv: both also break lines at characters that texts contain.
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.removesuffix("\r"):
            yield number, line.split("\t")


def _csv_lines(text: str, path: Path) -> _Lines:
    # Of the whole process; the module's own limit is 131,072 characters a field.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
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
) -> Iterator[Row]:
    start, first = next(lines, (0, []))
    if not first:
        raise UserError(f"{path} is empty. Give a file with data.")
    names = first if header else [str(column) for column in range(1, len(first) + 1)]
    for column in columns:
        if column not in names:
            raise UserError(
                f"{path} has no column {column!r}{nearest(column, names)}. Its columns are "
                f"{listed(names)}. {_advice(path, names, column, header)}"
            )
        places = [str(place) for place, name in enumerate(names, 1) if name == column]
        if len(places) > 1:
            raise UserError(
                f"{path} has {len(places)} columns called {column!r}, at {', '.join(places[:9])}, "
                "and one is meant. Rename the others in its first line."
            )
    needed = max(names.index(column) for column in columns)
    short = 0
    rows = lines if header else itertools.chain([(start, first)], lines)
    for number, fields in rows:
        if skip_short_rows and len(fields) <= needed:
            short += 1
            continue
        if len(fields) != len(names) and not skip_short_rows:
            advice = "Correct the line."
            if path.suffix == ".tsv" and fields[-1].startswith('"'):
                advice = (
                    "A .tsv has no quotes around texts: write it without them and without line "
                    "ends in texts, or write a .csv."
                )
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, but there are {len(names)} columns "
                f"({listed(names)}). {advice}"
            )
        yield number, dict(zip(names, fields, strict=False))
    if short:
        print(f"  {path}: {short} rows lack columns and are left out", flush=True)


def _advice(path: Path, names: Sequence[str], column: str, header: bool) -> str:
    if header and column.isdecimal():
        return "If this file has no header line, set task.header to false."
    if any("\0" in name for name in names):
        return "It looks like UTF-16 without a byte order mark: save it as UTF-8."
    others = {"\t": "tabs", ";": "semicolons", ",": "commas"}
    found = [word for letter, word in others.items() if letter in names[0]]
    if len(names) == 1 and found:
        return f"Its columns seem to be parted by {found[0]}: a .csv has commas, a .tsv has tabs."
    return "Name one of them in the task's settings."


def _jsonl_rows(text: str, path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
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
                    f"fields are {listed(row)}. Correct it or the task's settings."
                )
        yield number, row
