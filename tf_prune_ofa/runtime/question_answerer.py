"""A question and a text in, the answer out: a part of that text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.text_model import TextModel
from tf_prune_ofa.text.questions import Question
from tf_prune_ofa.text.windows import Candidate, Windows, encode_windows, find_answers

ENDS = ("start_logits", "end_logits")


@dataclass(frozen=True)
class Answered:
    """What a model says to a question.

    Attributes:
        text: the answer, as it stands in the text; "" if there is none.
        start: its first character in the text; -1 if there is none.
        end: behind its last one; -1 if there is none.
        score: start logit plus end logit.
        null_difference: how much better "no answer" scores than the best answer.
        candidates: the best answers, the best first.
    """

    text: str
    start: int
    end: int
    score: float
    null_difference: float
    candidates: tuple[Candidate, ...]


class QuestionAnswerer(TextModel):
    """Finds answers in texts of any length.

        with QuestionAnswerer("dense_int8_s384.tflite") as ask:
            print(ask("Who wrote it?", "It was written by Ann in May.").text)

    `TextModel` says what it is opened with.
    """

    what = "model for answers"
    outputs = ENDS

    def __call__(
        self, question: str | Sequence[str], text: str | Sequence[str]
    ) -> Answered | list[Answered]:
        """Answer a question from a text, or several questions.

        Args:
            question: raw text; a list is answered with a list.
            text: where the answer is; one text for all questions, or one for each.

        Raises:
            UserError: another number of texts than of questions.
        """
        questions = [question] if isinstance(question, str) else list(question)
        texts = [text] * len(questions) if isinstance(text, str) else list(text)
        if len(texts) != len(questions):
            raise UserError(
                f"{len(questions)} questions but {len(texts)} texts; give one text, or one for "
                "each question."
            )
        asked = [
            Question(str(index), *pair, answers=())
            for index, pair in enumerate(zip(questions, texts, strict=True))
        ]
        # One at a time: a thousand long texts need no memory for a thousand.
        found = [self._answered(self.windows([one])) for one in asked]
        return found[0] if isinstance(question, str) else found

    def windows(self, questions: Sequence[Question]) -> Windows:
        """Cut questions and their texts into windows of the file's length."""
        return encode_windows(
            questions,
            self.wordpiece,
            max_length=self.sequence_length,
            stride=self.settings.stride,
            question_length=self.settings.question_length,
        )

    def logits(self, windows: Windows) -> np.ndarray:
        """Return the logits of windows, float [N, 2, S]."""
        rows = []
        for ids, types in zip(windows.tokens.ids, windows.tokens.type_ids, strict=True):
            outputs = self.run(ids, types)
            rows.append(np.stack([outputs[name][0] for name in ENDS]))
        return np.stack(rows)

    def _answered(self, windows: Windows) -> Answered:
        settings = self.settings
        [found] = find_answers(
            windows,
            self.logits(windows),
            n_best=settings.n_best,
            answer_length=settings.answer_length,
        )
        above, difference = settings.no_answer_above, found.null_difference
        if not found.candidates or (above is not None and difference > above):
            return Answered("", -1, -1, found.null_score, difference, found.candidates)
        best = found.candidates[0]
        return Answered(best.text, best.start, best.end, best.score, difference, found.candidates)
