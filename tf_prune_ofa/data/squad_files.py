"""Questions on texts in JSON: SQuAD's form, and those that annotation tools and `datasets` write.

What has one meaning is read: a position 13.0 or "13", a number for a text, the answers as a list or
as columns. All else is refused with file, question and field.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.table_rows import parse_json, text_of
from tf_prune_ofa.data.task_data import clipped
from tf_prune_ofa.data.text_files import read_text
from tf_prune_ofa.errors import UserError

# The benchmark's files are one line of up to 40 MB, and parsing takes a few times as much memory.
_MAX_FILE_BYTES = 2_000_000_000
_FORMS = (
    "SQuAD's form is data > paragraphs > context, qas > id, question, answers > text, "
    "answer_start; a list of such paragraphs, or of objects with id, context, question and "
    "answers, one on each line too, is read as well"
)

# Id, question, context, and of each answer its text and where it begins.
Entry = tuple[str, str, str, tuple[tuple[str, int], ...]]


def read_entries(path: str | os.PathLike[str]) -> list[Entry]:
    """The questions of a file.

    Raises:
        UserError: a file that is missing or of another form, a field that is missing or has no
            meaning, an answer that is not where the file says.
    """
    path = Path(path)
    entries = [_entry(*found) for found in _questions(_content(path), str(path))]
    if not entries:
        raise UserError(f"{path} has no questions. Give a file with at least one.")
    return entries


def _content(path: Path) -> Any:
    text = read_text(path, max_line_bytes=_MAX_FILE_BYTES)
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        if path.suffix == ".jsonl" or _has_one_object_a_line(lines):
            return [_parse_line(line, f"{path}, line {number}") for number, line in lines]
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}). Get the file again.") from None


def _has_one_object_a_line(lines: list[tuple[int, str]]) -> bool:
    """Whether the first line is a whole object with more behind it, whatever the file is called."""
    if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
        return False
    try:
        return isinstance(parse_json(lines[0][1]), dict)
    except ValueError:
        return False


def _parse_line(line: str, place: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise UserError(
            f"{place}: not JSON ({error}). Write one object on each line, or one for the file."
        ) from None


def _questions(content: Any, path: str) -> Iterator[tuple[dict[str, Any], Any, str]]:
    """Each question's own fields, its context, and its place for messages."""
    if isinstance(content, dict):
        content = _field(content, "data", list, path)
    if not isinstance(content, list):
        raise UserError(f"{path} holds {type(content).__name__}. {_FORMS}.")
    for number, item in enumerate(content, 1):
        place = f"{path}, entry {number}"
        if not isinstance(item, dict):
            raise UserError(f"{place} is {type(item).__name__}, not an object. {_FORMS}.")
        if "question" in item:
            yield item, item.get("context"), place
            continue
        is_article = "paragraphs" in item
        paragraphs = _field(item, "paragraphs", list, place) if is_article else [item]
        for index, paragraph in enumerate(paragraphs, 1):
            where = f"{place}, paragraph {index}" if is_article else place
            for asked, entry in enumerate(_field(paragraph, "qas", list, where), 1):
                yield entry, _field(paragraph, "context", object, where), f"{where}, qas {asked}"


def _entry(entry: Any, context: Any, place: str) -> Entry:
    name = text_of(_field(entry, "id", object, place))
    if name is None:
        raise UserError(f"{place}: 'id' is {_shown(entry['id'])}, not a text or a number.")
    place = f"{place.split(', entry')[0]}, question {name}"
    question = _text(_field(entry, "question", object, place), place, "question")
    text = _text(context, place, "context")
    impossible = entry.get("is_impossible", False)
    if impossible not in (True, False):
        raise UserError(f"{place}: 'is_impossible' is {_shown(impossible)}; write true or false.")
    # Plausible answers of questions without one do not count.
    listed = [] if impossible else _answers(_field(entry, "answers", object, place), place)
    answers = tuple(
        (_text(answer, place, "text"), _position(start, place)) for answer, start in listed
    )
    for answer, start in answers:
        _check(answer, start, text, place)
    return name, question, text, answers


def _answers(answers: Any, place: str) -> list[tuple[Any, Any]]:
    """Pairs of text and position: of a list of objects, or of an object of two lists."""
    if isinstance(answers, dict):
        columns = [_field(answers, key, list, place) for key in ("text", "answer_start")]
        if len(columns[0]) != len(columns[1]):
            raise UserError(
                f"{place}: answers have {len(columns[0])} of 'text' and {len(columns[1])} of "
                "'answer_start'. Give as many of both."
            )
        return list(zip(*columns, strict=True))
    if not isinstance(answers, list):
        raise UserError(
            f"{place}: 'answers' is {_shown(answers)}. Give a list of objects with text and "
            "answer_start; an empty one where there is no answer."
        )
    keys = ("text", "answer_start")
    return [tuple(_field(one, key, object, place) for key in keys) for one in answers]  # type: ignore[misc]


def _position(value: Any, place: str) -> int:
    """A position, of 13, 13.0 or "13"."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value) if len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(
            f"{place}: 'answer_start' is {_shown(value)}, not a number of characters. Write where "
            "the answer begins in the context, from 0; an empty list of answers where there is none"
        )
    return value


def _text(value: Any, place: str, field: str) -> str:
    text = text_of(value)
    if text is None:
        raise UserError(
            f"{place}: {field!r} is {_shown(value)}, not a text or a number. Correct it."
        )
    return text


def _field(value: Any, name: str, kind: type, place: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        got = f"only {', '.join(map(clipped, value))}" if isinstance(value, dict) else _shown(value)
        raise UserError(f"{place}: no {name!r}, got {got[:200]}. {_FORMS}.")
    if not isinstance(value[name], kind):
        raise UserError(f"{place}: {name!r} is {_shown(value[name])}. {_FORMS}.")
    return value[name]


def _shown(value: Any) -> str:
    """A value for a message, cut; "null" as JSON has it."""
    return (
        "null" if value is None else clipped(value) if isinstance(value, str) else str(value)[:60]
    )


def _check(answer: str, start: int, context: str, place: str) -> None:
    found = context[start : start + len(answer)] if start >= 0 else ""
    if answer and found == answer:
        return
    units = _other_units(answer, start, context)
    raise UserError(
        f"{place}: the answer {clipped(answer)} does not begin at character {start} of its "
        f"context, where there is {clipped(found)}. Correct answer_start (in characters, from "
        f"0{units})."
    )


def _other_units(answer: str, start: int, context: str) -> str:
    """What positions seem to be counted in where it is not characters."""
    for encoding, size, units in (("utf-8", 1, "bytes"), ("utf-16-le", 2, "UTF-16 code units")):
        written = context.encode(encoding)[max(start, 0) * size :]
        if answer and start >= 0 and written.startswith(answer.encode(encoding)):
            return f"; it seems to count {units}"
    return ""
