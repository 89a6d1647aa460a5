"""Whether a file's vocabulary, labels and description are the model's, and nothing else is in it.

A file is a flatbuffer, then a zip archive of text files, then nothing.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table

from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.verification import tokenizer
from tf_prune_ofa.verification.expected import Expected
from tf_prune_ofa.verification.reading import TfliteFile

VOCABULARY, TOKENIZER = "vocab.txt", "tokenizer.json"
LABELS, SETTINGS = "labels.txt", "text_settings.json"
_CLASSIFIED = "logits"  # the output of a classifier of whole texts
DESCRIPTION = "TFLITE_METADATA"
_ENTRIES = ("min_runtime_version", "CONVERSION_METADATA", "tf_prune_ofa.dense_layers", DESCRIPTION)
_ROLES = {"input_word_ids": "ids", "input_mask": "mask", "input_type_ids": "segment_ids"}
# Sizes of the zip format's headers, without names.
_LOCAL, _CENTRAL, _END = 30, 46, 22
# A flatbuffer's builder may align what it writes first, at the end, to so many bytes.
_ALIGNMENT = 16
_BERT_TOKENIZER = 4
_MISSING = "missing"


def find_problems(file: TfliteFile, expected: Expected) -> list[str]:
    """Return what is wrong with everything of a file that is not its graph."""
    problems = list(_zip_problems(file, expected))
    unknown = sorted(set(file.metadata) - set(_ENTRIES))
    if unknown:
        problems.append(f"its metadata has {', '.join(unknown)}, which no export writes")
    if DESCRIPTION not in file.metadata:
        return [*problems, "it has no description for task libraries (TFLITE_METADATA)"]
    try:
        problems += _description_problems(file, expected)
    # What the flatbuffers library raises when an offset leads out of the data.
    except Exception as error:
        problems.append(f"its description for task libraries is damaged ({error})")
    return problems


def _zip_problems(file: TfliteFile, expected: Expected) -> Iterator[str]:
    has_pieces = expected.tokenizer is None
    wanted = {VOCABULARY: expected.vocabulary} if has_pieces else {}
    if expected.labels:
        wanted[LABELS] = list(expected.labels)
    try:
        with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
            yield from _layout_problems(file, archive)
            texts = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        yield f"its zip part is missing or damaged ({error}): no vocabulary, no labels"
        return
    names = [*wanted] + ([SETTINGS] if expected.settings is not None else [])
    names += [] if has_pieces else [TOKENIZER]
    if sorted(texts) != sorted(names):
        yield f"its zip part holds {', '.join(texts) or 'nothing'} instead of {', '.join(names)}"
    if expected.settings is not None and SETTINGS in texts:
        yield from _settings_problems(texts[SETTINGS], expected.settings)
    if expected.tokenizer is not None and TOKENIZER in texts:
        yield from tokenizer.find_problems(texts[TOKENIZER], expected.tokenizer)
    for name, lines in wanted.items():
        if name not in texts:
            continue
        found = texts[name].decode("utf-8", errors="replace").removesuffix("\n").split("\n")
        if found != lines:
            wrong = [i for i, pair in enumerate(zip(found, lines)) if pair[0] != pair[1]]  # noqa: B905
            place = f", first in line {wrong[0] + 1}" if wrong else ""
            yield f"its {name} is not the model's: {len(found)} of {len(lines)} lines{place}"


def _settings_problems(text: bytes, wanted: Mapping[str, Any]) -> Iterator[str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        yield f"its {SETTINGS} is no JSON object"
        return
    # A tuple comes back as a list; what is left out has its default.
    wanted = json.loads(json.dumps(dict(wanted)))
    usual = json.loads(json.dumps(asdict(TextSettings())))
    for key in sorted({*found, *wanted}):
        said, right = found.get(key, usual.get(key)), wanted.get(key, _MISSING)
        if said != right:
            yield f"its {SETTINGS} has {key} {said!r} instead of {right!r}"


def _layout_problems(file: TfliteFile, archive: zipfile.ZipFile) -> Iterator[str]:
    content, end = file.content, _end_of_flatbuffer(file)
    entries = archive.infolist()
    start = entries[0].header_offset if entries else archive.start_dir
    between = content[end:start]
    if not 0 <= start - end < _ALIGNMENT or any(between):
        yield f"{start - end} bytes between the flatbuffer and the zip part belong to neither"
    position = start
    for entry in entries:
        is_plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits
        if entry.header_offset != position or not is_plain or entry.extra or entry.comment:
            yield f"{entry.filename} does not lie plainly in the zip part"
            return
        position += _LOCAL + len(entry.filename.encode()) + entry.file_size
    position += sum(_CENTRAL + len(entry.filename.encode()) for entry in entries) + _END
    if position != len(content):
        yield f"{len(content) - position} bytes lie behind the zip part"


def _end_of_flatbuffer(file: TfliteFile) -> int:
    """Return where the last part of the flatbuffer ends."""
    base = np.frombuffer(file.content, np.uint8).__array_interface__["data"][0]
    ends = [0]
    model = schema.Model.GetRootAs(file.content, 0)
    tables = [model] + [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    for part in tables:
        ends.append(part._tab.Pos + _size_of_table(part._tab))
    for buffer in file.model.buffers:
        if isinstance(buffer.data, np.ndarray) and len(buffer.data):
            start = buffer.data.__array_interface__["data"][0] - base
            ends.append(start + len(buffer.data))
    return max(ends)


def _size_of_table(table: Table) -> int:
    vtable = table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos)
    return table.Get(number_types.VOffsetTFlags, vtable + 2)


def _description_problems(file: TfliteFile, expected: Expected) -> Iterator[str]:
    content = file.metadata[DESCRIPTION]
    if content[4:8] != b"M001":
        yield "its description for task libraries is of no known version"
        return
    root = _Part(Table(content, int.from_bytes(content[:4], "little")))
    graph = root.parts(3)[0]
    roles = [part.text(0) for part in graph.parts(2)]
    if roles != [_ROLES.get(name, name) for name in file.inputs]:
        yield f"its description names the inputs {', '.join(roles)}"
    outputs = graph.parts(3)
    if [part.text(0) for part in outputs] != list(file.outputs):
        yield f"its description names the outputs {', '.join(part.text(0) for part in outputs)}"
    labels = [associated.text(0) for part in outputs for associated in part.parts(6)]
    # Those of a tagger are for this package's classes: others would read its first token's numbers.
    is_classifier = bool(expected.labels) and list(file.outputs) == [_CLASSIFIED]
    if labels != ([LABELS] if is_classifier else []):
        yield f"its description names the label files {labels}"
    units = graph.parts(5)
    files = [one.text(0) for unit in units for one in unit.part(1).parts(0)]
    if expected.tokenizer is not None:
        # Task libraries know WordPiece alone.
        if units:
            yield "its description names a tokenizer for task libraries, which have none like it"
    elif [unit.byte(0) for unit in units] != [_BERT_TOKENIZER] or files != [VOCABULARY]:
        yield f"its description does not name BERT's tokenizer with {VOCABULARY}"


class _Part:
    """A table of a flatbuffer, by the numbers of its fields."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _offset(self, field: int) -> int:
        return self._table.Offset(4 + 2 * field)

    def text(self, field: int) -> str:
        offset = self._offset(field)
        return self._table.String(self._table.Pos + offset).decode() if offset else ""

    def byte(self, field: int) -> int:
        offset = self._offset(field)
        return self._table.Get(number_types.Uint8Flags, self._table.Pos + offset) if offset else 0

    def part(self, field: int) -> _Part:
        offset = self._offset(field)
        return _Part(Table(self._table.Bytes, self._table.Indirect(self._table.Pos + offset)))

    def parts(self, field: int) -> list[Any]:
        offset = self._offset(field)
        if not offset:
            return []
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        return [
            _Part(Table(self._table.Bytes, self._table.Indirect(start + 4 * i)))
            for i in range(count)
        ]
