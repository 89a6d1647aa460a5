"""Questions whose answers are spans of a text: SQuAD v1.1 and v2, and files of the same form."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.data.tables import read_text
from tf_prune_ofa.data.task_data import TaskData, clipped
from tf_prune_ofa.data.tfds_task import load_splits
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.questions import Answer, Question

METRICS = ("f1", "exact_match")
# The benchmark's files are one line of up to 40 MB, and parsing takes a few times as much memory.
_MAX_FILE_BYTES = 2_000_000_000


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


def squad_task(train: str | os.PathLike[str], dev: str | os.PathLike[str]) -> TaskData:
    """Reads a task from two files in SQuAD's JSON form.

    Raises:
        UserError: a file that is missing, empty or of another form, or an answer that is not where
            the file says.
    """
    splits = [SpanSplit(read_squad(path)) for path in (train, dev)]
    return TaskData(Path(train).stem, (), *splits, metrics=METRICS, kind="spans")


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
    return TaskData(dataset, (), *splits, metrics=METRICS, kind="spans")


def read_squad(path: str | os.PathLike[str]) -> list[Question]:
    """The questions of a file in SQuAD's JSON form, v1.1 or v2.

    Raises:
        UserError: see `squad_task`.
    """
    path = Path(path)
    try:
        data = json.loads(read_text(path, max_line_bytes=_MAX_FILE_BYTES))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}). Get the file again.") from None
    try:
        questions = list(_questions(data))
    except (KeyError, TypeError, IndexError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path} is not of SQuAD's form ({missing}): data > paragraphs > context, qas > id, "
            "question, answers > text, answer_start."
        ) from None
    if not questions:
        raise UserError(f"{path} has no questions. Give a file with at least one.")
    for question in questions:
        _check(question, path)
    return questions


def _questions(data: dict[str, Any]) -> Iterator[Question]:
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                # Plausible answers of questions without one do not count.
                answers = [] if entry.get("is_impossible") else entry["answers"]
                yield Question(
                    str(entry["id"]),
                    entry["question"],
                    paragraph["context"],
                    tuple(Answer(one["text"], one["answer_start"]) for one in answers),
                )


def _tfds_question(row: dict[str, Any]) -> Question:
    answers = row["answers"]
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    return Question(
        row["id"].decode(),
        row["question"].decode(),
        row["context"].decode(),
        tuple(Answer(text.decode(), int(start)) for text, start in pairs),
    )


def _check(question: Question, path: Path) -> None:
    for answer in question.answers:
        found = question.context[answer.start : answer.end]
        if found != answer.text or not answer.text or answer.start < 0:
            raise UserError(
                f"{path}, question {question.id}: the answer {clipped(answer.text)} does not begin "
                f"at character {answer.start} of its context, where there is {clipped(found)}. "
                "Correct answer_start (in characters, from 0)."
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
    return TaskData("made_up_questions", (), *splits, metrics=METRICS, kind="spans")
