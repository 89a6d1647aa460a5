"""Documents from files and datasets, in units that can be read by themselves.

A unit is a range of a file's bytes, a row group of a Parquet file, a range of a dataset's examples,
or the whole of a packed file. How text is cut into units changes no record.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tf_prune_ofa.corpus import datasets
from tf_prune_ofa.data.wiki_text import documents_in
from tf_prune_ofa.errors import UserError

UNIT_BYTES = 1_000_000  # of a unit, or more where there would be over `MOST_UNITS`
MOST_UNITS = 1000  # and one for each file, where there are more of these
MOST_PIECES = 256
_OPENERS: dict[str, Any] = {".xz": lzma.open, ".bz2": bz2.open, ".gz": gzip.open}
# How much text a byte of a file stands for, for the number of buckets.
_UNPACKED = {".xz": 4.0, ".bz2": 4.0, ".gz": 3.0, ".parquet": 2.5}
_JSON_LINES = (".jsonl", ".json", ".ndjson")
TEXT_FIELD = "text"


@dataclass(frozen=True)
class Unit:
    """A part of a source.

    Attributes:
        kind: "wiki", "text", "jsonl", "parquet" or "tfds".
        name: path of the file, or name and split of the dataset.
        start: of the range: bytes, row groups or examples.
        end: of the range, exclusive.
        size: about how many bytes of text.
        field: of JSON, Parquet and datasets.
        folder: of datasets; "" for TensorFlow Datasets' own.
    """

    kind: str
    name: str
    start: int
    end: int
    size: int
    field: str = TEXT_FIELD
    folder: str = ""


def find_units(names: Sequence[str], *, field: str = TEXT_FIELD, folder: str = "") -> list[Unit]:
    """Return the units of all sources.

    Args:
        names: files, folders of files, or "tfds:NAME" or "tfds:NAME:SPLIT".
        field: that has the text.
        folder: of prepared datasets.

    Raises:
        UserError: a source is not there, or has a form that is not known.
    """
    units: list[Unit] = []
    files = []
    for name in names:
        if name.startswith(datasets.PREFIX):
            for start, end, size in datasets.ranges_of(name, UNIT_BYTES, MOST_UNITS, folder):
                units.append(Unit("tfds", name, start, end, size, field, folder))
            continue
        path = Path(name)
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = sum(path.stat().st_size for path in files if path.is_file())
    for path in files:
        units += _units_of(path, field, max(UNIT_BYTES, total // MOST_UNITS))
    if not units:
        raise UserError(f"no text in {', '.join(names)}; name files, folders or tfds:NAME")
    return units


def read_unit(unit: Unit) -> Iterator[str]:
    """Yield the documents of a unit, each as one line.

    Raises:
        UserError: the source is damaged, or what it has is no text.
    """
    documents = {"parquet": _parquet_texts, "tfds": _dataset_texts}.get(unit.kind, _file_texts)
    for text in documents(unit):
        line = " ".join(text.split())
        if line:
            yield line


def pieces_of(units: Sequence[Unit]) -> list[list[Unit]]:
    """Return the units in pieces of about one size: at most `MOST_PIECES`, whatever the files.

    What is read from a piece is kept in files of its own, and every bucket looks into all of them.
    """
    least = max(UNIT_BYTES, sum(unit.size for unit in units) / MOST_PIECES)
    pieces: list[list[Unit]] = []
    room = 0.0
    for unit in units:
        if room <= 0:
            pieces.append([])
            room = least
        pieces[-1].append(unit)
        room -= unit.size
    return pieces


def _units_of(path: Path, field: str, unit_bytes: int) -> list[Unit]:
    if path.suffix == ".parquet":
        return _parquet_units(path, field)
    try:
        size = path.stat().st_size
        kind = _kind_of(path)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read: {error}. Correct the path.") from error
    if path.suffix in _OPENERS:
        text_size = int(size * _UNPACKED[path.suffix])
        return [Unit(kind, str(path), 0, 1 << 62, text_size, field)]
    starts = range(0, size, unit_bytes)
    ends = [*starts[1:], size]
    return [
        Unit(kind, str(path), start, end, end - start, field)
        for start, end in zip(starts, ends, strict=True)
    ]


def _kind_of(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix not in _OPENERS]
    if suffixes and suffixes[-1] in _JSON_LINES:
        return "jsonl"
    with _opened(path) as file:
        head = file.read(4096).lstrip(b"\xef\xbb\xbf").lstrip()
    return "wiki" if head.startswith(b"<doc ") else "text"


def _opened(path: Path) -> IO[bytes]:
    return _OPENERS.get(path.suffix, open)(path, "rb")


def _file_texts(unit: Unit) -> Iterator[str]:
    path = Path(unit.name)
    try:
        lines = _lines_of(path, unit.start, unit.end)
        if unit.kind == "wiki":
            yield from documents_in(lines)
            return
        for is_inside, line in lines:
            if not is_inside:
                return
            yield _json_text(line, unit) if unit.kind == "jsonl" and line.strip() else line
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: {error}") from error


def _lines_of(path: Path, start: int, end: int) -> Iterator[tuple[bool, str]]:
    """Yield the lines from the first that begins in the range on; whether each begins in it.

    Who reads stops where it has no use for a line behind the range.
    """
    with _opened(path) as file:
        if start:
            file.seek(start - 1)
            file.readline()  # it began before
        place = file.tell()
        for line in file:
            text = line.decode("utf-8")
            yield place < end, text.removeprefix("\ufeff") if place == 0 else text
            place += len(line)


def _json_text(line: str, unit: Unit) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{unit.name} has a line that is no JSON ({error}): {line[:60]!r}. Give a file with an "
            "object on each line"
        ) from error
    return _text_in(value if isinstance(value, dict) else {}, unit)


def _text_in(row: dict[str, Any], unit: Unit) -> str:
    value = row.get(unit.field)
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if not isinstance(value, str):
        fields = ", ".join(map(repr, row)) or "none"
        raise UserError(
            f"{unit.name} has a row without text in {unit.field!r}; its fields are {fields}. Name "
            "the right one: --text_field=NAME"
        )
    return value


def _dataset_texts(unit: Unit) -> Iterator[str]:
    for row in datasets.read(unit.name, unit.start, unit.end, unit.folder):
        yield _text_in(row, unit)


def _parquet_units(path: Path, field: str) -> list[Unit]:
    file = _open_parquet(path)
    size = int(path.stat().st_size * _UNPACKED[".parquet"])
    groups = file.num_row_groups
    if field not in file.schema_arrow.names:
        raise UserError(
            f"{path} has no column {field!r}; it has {', '.join(file.schema_arrow.names)}. Name "
            "the right one: --text_field=NAME"
        )
    return [Unit("parquet", str(path), n, n + 1, size // groups, field) for n in range(groups)]


def _parquet_texts(unit: Unit) -> Iterator[str]:
    file = _open_parquet(Path(unit.name))
    groups = list(range(unit.start, unit.end))
    for batch in file.iter_batches(batch_size=256, row_groups=groups, columns=[unit.field]):
        for row in batch.to_pylist():
            yield _text_in(row, unit)


def _open_parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} needs the package pyarrow, which cannot be imported ({error}). Run: pip "
            "install 'tf_prune_ofa[corpus]'"
        ) from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error
