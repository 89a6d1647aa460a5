"""Sentences with a tag for each word, from CoNLL files with BIO tags."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.data.task_data import TaskData, check_labels, clipped, nearest
from tf_prune_ofa.data.text_files import read_text
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.entities import OUTSIDE

METRICS = ("entity_f1", "entity_precision", "entity_recall")
_TAG = re.compile(r"[BI]-\S+")
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class TaggedSplit:
    """Sentences of one side of a task.

    Attributes:
        words: of each sentence.
        tags: of each sentence int32 [words], index into the task's labels.
    """

    words: list[list[str]]
    tags: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def texts(self) -> list[str]:
        """The sentences with a space between words."""
        return [" ".join(words) for words in self.words]

    @property
    def spans(self) -> list[list[tuple[int, int]]]:
        """Where each word stands in `texts`, in characters."""
        found = []
        for words in self.words:
            ends = np.cumsum([len(word) + 1 for word in words]) - 1
            found.append([(int(e) - len(w), int(e)) for w, e in zip(words, ends, strict=True)])
        return found

    def documents(self) -> list[list[str]]:
        """The sentences as documents for masked language modelling."""
        return [[text] for text in self.texts]

    def take(self, count: int, seed: int = 0) -> TaggedSplit:
        """A fixed random selection of at most `count` sentences, in their order here."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return TaggedSplit([self.words[i] for i in chosen], [self.tags[i] for i in chosen])


def conll_task(
    train: str | os.PathLike[str], dev: str | os.PathLike[str], labels: Sequence[str] = ()
) -> TaskData:
    """Reads a task from two CoNLL files: a word a line, its tag last, an empty line in between.

    Args:
        train: file to learn from.
        dev: file to be judged by.
        labels: the tags in the order of the logits; empty means those of the training file, "O"
            first, then by name.

    Raises:
        UserError: a file that cannot be read or has no sentence, a line without a tag, a tag that
            is not of the form O, B-type or I-type, or one that is not among the labels.
    """
    sides = [_read(Path(file)) for file in (train, dev)]
    names = check_labels(labels) if labels else _labels_of(tag for _, tags, _ in sides[0]
                                                            for tag in tags)  # fmt: skip
    index = {name: number for number, name in enumerate(names)}
    splits = []
    for file, sentences in zip((train, dev), sides, strict=True):
        for _, tags, first_line in sentences:
            for number, tag in enumerate(tags):
                if tag not in index:
                    raise UserError(
                        f"{file}, line {first_line + number}: the tag {clipped(tag)} is not one of "
                        f"the task's{nearest(tag, names)}; the training file has "
                        f"{', '.join(names[:20])}. Correct it, or list all tags in task.labels"
                    )
        words = [words for words, _, _ in sentences]
        numbers = [np.array([index[tag] for tag in tags], np.int32) for _, tags, _ in sentences]
        splits.append(TaggedSplit(words, numbers))
    return TaskData(Path(train).stem, names, splits[0], splits[1], metrics=METRICS, kind="tokens")


def _labels_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Return O, then B- and I- of every type that there is: a B- without an I- may get one."""
    types = sorted({tag.partition("-")[2] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


def _read(path: Path) -> list[tuple[list[str], list[str], int]]:
    """Return words, tags and the first line's number of each sentence."""
    sentences: list[tuple[list[str], list[str], int]] = []
    words: list[str] = []
    tags: list[str] = []
    text = read_text(path)
    for number, line in enumerate([*text.split("\n"), ""], 1):
        fields = line.split()
        if not fields or fields[0] == _DOCUMENT:
            if words:
                sentences.append((words, tags, number - len(words)))
                words, tags = [], []
            continue
        if len(fields) < 2:
            raise UserError(
                f"{path}, line {number}: {clipped(line)} has no tag. Write a word and its tag on "
                "each line, with a tab between, and an empty line after each sentence."
            )
        if fields[-1] != OUTSIDE and not _TAG.fullmatch(fields[-1]):
            raise UserError(
                f"{path}, line {number}: the tag {clipped(fields[-1])} is not O, B-type or I-type. "
                "Other schemes (BIOES, IO) have to be converted to BIO."
            )
        words.append(fields[0])
        tags.append(fields[-1])
    if not sentences:
        raise UserError(f"{path} has no sentences. Give a file with words and their tags.")
    return sentences
