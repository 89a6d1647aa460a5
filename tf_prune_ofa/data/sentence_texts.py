"""Texts for sentence embeddings: some to learn from, pairs to be judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.table_rows import read_rows, text_of
from tf_prune_ofa.data.task_data import TaskData, parse_labels
from tf_prune_ofa.data.text_files import read_text
from tf_prune_ofa.errors import UserError


@dataclass(frozen=True)
class TextSplit:
    """Texts of one side of a task.

    Attributes:
        texts: to embed.
        pairs: int [P, 2], which of them belong together; none of the side to learn from.
        scores: float32 [P], how alike the texts of a pair are; None where the second of each pair
            is the document that the first, a query, asks for.
    """

    texts: list[str]
    pairs: np.ndarray
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pairs) or len(self.texts)

    def documents(self) -> list[list[str]]:
        """The texts as documents for masked language modelling."""
        return [[text] for text in self.texts]

    def take(self, count: int, seed: int = 0) -> TextSplit:
        """A fixed random selection of at most `count` pairs (or texts), in their order here."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        if not len(self.pairs):
            return TextSplit([self.texts[i] for i in chosen], self.pairs)
        kept, pairs = np.unique(self.pairs[chosen], return_inverse=True)
        scores = None if self.scores is None else self.scores[chosen]
        return TextSplit([self.texts[i] for i in kept], pairs.reshape(-1, 2), scores)


def embedding_task(settings: TaskSettings) -> TaskData:
    """Reads a task from two files: texts to learn from, pairs of texts to be judged by.

    A file to learn from may be a .txt with a text on each line, or a table of texts, or of pairs,
    whose scores are not looked at. Of the other file the columns are `text_a`, `text_b` and
    `label`; no `label` (label: "") means queries, each with its document.

    Raises:
        UserError: a file that cannot be read, is empty or lacks a column, or a score that is none.
    """
    if not settings.text_b:
        raise UserError(
            "embeddings are judged by pairs of texts: name the column of the second in task.text_b"
        )
    train = _texts(Path(settings.train), settings)
    columns = [settings.text_a, settings.text_b, *([settings.label] if settings.label else [])]
    path = Path(settings.dev)
    rows = _rows(path, columns, settings.header)
    scores = None
    if settings.label:
        places = [f"{path}, line {number}" for number, _ in rows]
        scores = parse_labels([values[2] for _, values in rows], (), places)
    texts = [text for _, values in rows for text in values[:2]]
    # A document that answers several queries is one document.
    unique = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    pairs = np.array([unique[text] for text in texts]).reshape(-1, 2)
    return TaskData(
        Path(settings.train).stem,
        (),
        TextSplit(train, np.zeros([0, 2], int)),
        TextSplit(list(unique), pairs, scores),
        kind="embeddings",
    )


def _texts(path: Path, settings: TaskSettings) -> list[str]:
    """Return the texts to learn from, each once."""
    if path.suffix == ".txt":
        texts = [line for line in read_text(path).split("\n") if line.strip()]
    else:
        columns = [settings.text_a]
        rows = read_rows(path, columns, header=settings.header, skip_short_rows=False)
        _, first = next(rows, (0, {settings.text_b: ""}))
        if settings.text_b in first:
            columns.append(settings.text_b)
        else:
            print(f"  {path} has no column {settings.text_b!r}: single texts", flush=True)
        texts = [text for _, values in _rows(path, columns, settings.header) for text in values]
    if not texts:
        raise UserError(f"{path} has no texts. Give a file with at least one.")
    return list(dict.fromkeys(texts))


def _rows(path: Path, columns: Sequence[str], header: bool) -> list[tuple[int, list[str]]]:
    """Return line number and the columns' texts of each row."""
    found = []
    for number, row in read_rows(path, columns, header=header, skip_short_rows=False):
        values = [text_of(row[column]) for column in columns]
        if None in values:
            column = columns[values.index(None)]
            raise UserError(f"{path}, line {number}: {column!r} is not a text. Correct it.")
        found.append((number, [value for value in values if value is not None]))
    if not found:
        raise UserError(f"{path} has no examples. Give a file with at least one row of data.")
    return found
