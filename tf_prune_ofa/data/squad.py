"""Questions whose answers are spans of a text: SQuAD v1.1 and v2, and files of the same form."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.data.squad_files import read_entries
from tf_prune_ofa.data.task_data import TaskData
from tf_prune_ofa.data.tfds_task import load_splits
from tf_prune_ofa.text.questions import Answer, Question

METRICS = ("f1", "exact_match")


@dataclasses.dataclass(frozen=True)
class SpanSplit:
    """The questions of one side of a task."""

    questions: list[Question]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def has_unanswerable(self) -> bool:
        """Whether some questions have no answer, as in SQuAD v2."""
        return any(not question.answers for question in self.questions)

    def documents(self) -> list[list[str]]:
        """The contexts as documents for masked language modelling, each once."""
        return [[context] for context in dict.fromkeys(q.context for q in self.questions)]

    def take(self, count: int, seed: int = 0) -> SpanSplit:
        """A fixed random selection of at most `count` questions, in their order here."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return SpanSplit([self.questions[i] for i in chosen])


def _task(name: str, train: SpanSplit, dev: SpanSplit) -> TaskData:
    return TaskData(name, (), train, dev, METRICS, kind="spans")


def squad_task(train: str | os.PathLike[str], dev: str | os.PathLike[str]) -> TaskData:
    """Reads a task from two files in SQuAD's JSON form.

    Raises:
        UserError: a file that is missing, empty or of another form, or an answer that is not where
            the file says.
    """
    sides = (SpanSplit(read_squad(path)) for path in (train, dev))
    return _task(Path(train).stem, *sides)


def tfds_squad_task(
    dataset: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> TaskData:
    """Reads SQuAD from TensorFlow Datasets.

    Args:
        dataset: "squad" (v1.1) or "squad/v2.0".
        data_dir: where prepared datasets are; by default TFDS's own folder.
        download: False uses only what is prepared already.

    Raises:
        UserError: a download that fails.
    """
    loaded, _ = load_splits(dataset, ["train", "validation"], data_dir, download)
    splits = [SpanSplit([_tfds_question(row) for row in rows]) for rows in loaded]
    return _task(dataset, *splits)


def read_squad(path: str | os.PathLike[str]) -> list[Question]:
    """The questions of a file in SQuAD's JSON form, v1.1 or v2, or one of its relatives.

    Raises:
        UserError: see `squad_task`.
    """
    return [
        Question(name, text, context, tuple(Answer(*answer) for answer in answers))
        for name, text, context, answers in read_entries(path)
    ]


def _tfds_question(row: dict[str, Any]) -> Question:
    answers = row["answers"]
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    return Question(
        row["id"].decode(),
        row["question"].decode(),
        row["context"].decode(),
        tuple(Answer(text.decode(), int(start)) for text, start in pairs),
    )


def made_up_task(texts: Sequence[str], dev_texts: Sequence[str]) -> TaskData:
    """Questions for a try without data: what follows these three words of a text.

    Args:
        texts: to ask about in training; those of fewer than seven words are left out.
        dev_texts: to ask about in judging.
    """

    def ask(index: int, text: str) -> Question:
        words = text.split()
        at = 3 + index % (len(words) - 4)
        answer = " ".join(words[at : at + 2])
        context = " ".join(words)
        start = len(" ".join(words[:at])) + 1
        return Question(
            f"{index}", " ".join(words[at - 3 : at]) + " ?", context, (Answer(answer, start),)
        )

    splits = [
        SpanSplit([ask(i, t) for i, t in enumerate(side) if len(t.split()) >= 7])
        for side in (texts, dev_texts)
    ]
    return _task("made_up_questions", *splits)
