"""Questions on a text whose answers are spans of it (SQuAD).

Legend: N windows · B batch · S sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.squad import SpanSplit
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Target
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.tasks import scores
from tf_prune_ofa.tasks.kind import Batch, Kind
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.windows import Found, Windows, encode_windows, find_answers, has_room
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.train.evaluate import NOWHERE, predict_ends
from tf_prune_ofa.train.squad_metrics import squad_scores, squad_v2_scores

ENDS = ("start", "end")
OUTPUTS = tuple(f"{end}_logits" for end in ENDS)


class Spans(Kind[Windows]):
    """Where an answer starts and ends in the windows of its text; logits [N, 2, S]."""

    layer = "span"
    why_not_augmented = "answers are places in a text, which replaced words would move"
    agreements = ("answer_agreement",)
    by_token = True

    @property
    def head(self) -> bert.Head:
        """Two outputs for each token."""
        return bert.SpanQA()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each end is half of the loss."""
        return tuple(
            Target(f"{end}_logits", f"{end}_labels", positions="input_mask", share=0.5,
                   suffix=f"_{end}")
            for end in ENDS
        )  # fmt: skip

    def encode(self, split: SpanSplit, wordpiece: TextTokenizer, *, length: int) -> Windows:
        """Return questions, each with all parts of its text."""
        return encode_windows(
            split.questions,
            wordpiece,
            max_length=length,
            stride=self.settings.stride,
            question_length=self.settings.question_length,
        )

    def check_length(self, length: int, where: str) -> None:
        """Check that a question leaves room for a part of its text."""
        question = self.settings.question_length
        if not has_room(length, question):
            raise UserError(
                f"{where} {length} leaves no room for a context behind a question of up to "
                f"{question} tokens; raise it or lower task.question_length"
            )

    def batch_targets(self, labels: np.ndarray, logits: np.ndarray | None, width: int) -> Batch:
        """Return both ends of labels [B, 2] and, where cached, of the teacher's [B, 2, S]."""
        targets = {f"{end}_labels": labels[:, index] for index, end in enumerate(ENDS)}
        if logits is not None:
            for index, name in enumerate(OUTPUTS):
                targets[TEACHER_PREFIX + name] = logits[:, index, :width]
        return targets

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or F1 and exact match."""
        asked = scores.checked(self.data.metrics, scores.OF_ANSWERS, "answers are")
        return asked or scores.OF_ANSWERS

    def predict(self, model: keras.Model, batches: Iterable[Batch], *, length: int) -> np.ndarray:
        """Return logits [N, 2, length]."""
        return predict_ends(model, batches, length=length)

    def score(self, logits: np.ndarray, split: Windows) -> dict[str, float]:
        """Return F1 and exact match, of SQuAD v2 where some questions have no answer."""
        found = self.answers(logits, split)
        right = [[answer.text for answer in question.answers] for question in split.questions]
        texts = [one.text for one in found]
        if not all(right):
            return squad_v2_scores(texts, right, [one.null_difference for one in found])
        return squad_scores(texts, right)

    def answers(self, logits: np.ndarray, split: Windows) -> list[Found]:
        """Return what the logits say to each question."""
        settings = self.settings
        return find_answers(
            split, logits, n_best=settings.n_best, answer_length=settings.answer_length
        )

    def count(self, split: Windows) -> int:
        """Return how many questions there are."""
        return len(split.questions)

    def file_logits(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Return both outputs, [2, S]."""
        ends = np.stack([outputs[name][0] for name in OUTPUTS])
        return np.where(mask > 0, ends, NOWHERE)

    def without_padding(self, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return logits with `NOWHERE` at padding."""
        return np.where(mask[:, None] > 0, logits, NOWHERE)

    def read(self, logits: np.ndarray, split: Windows) -> list[Any]:
        """Return the text of the best answer to each question."""
        return [one.text for one in self.answers(logits, split)]

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: Windows
    ) -> dict[str, float]:
        """Return the share of questions that get the same answer."""
        pairs = zip(self.read(logits, split), self.read(reference, split), strict=True)
        return {"answer_agreement": float(np.mean([ours == theirs for ours, theirs in pairs]))}

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the share of texts in which an answer would start and end at the same tokens."""
        found, wanted = (
            [np.argmax(np.where(mask > 0, one[name], NOWHERE), axis=-1) for name in OUTPUTS]
            for one in (outputs, reference)
        )
        is_same = np.all(np.equal(found, wanted), axis=0)
        return {"answer_agreement": float(np.mean(is_same))}

    def text_settings(self, **tokenizer: Any) -> TextSettings:
        """Return settings of the tokenizer, of the windows, and of what counts as an answer."""
        settings, train = self.settings, self.data.train
        has_unanswerable = isinstance(train, SpanSplit) and train.has_unanswerable
        return TextSettings(
            **tokenizer,
            question_length=settings.question_length,
            stride=settings.stride,
            answer_length=settings.answer_length,
            n_best=settings.n_best,
            no_answer_above=0.0 if has_unanswerable else None,
        )

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> bert.Head | None:
        """Return the head where there is a layer "span"."""
        return bert.SpanQA() if "span/bias" in weights else None

    @classmethod
    def tiny(cls, settings: TaskSettings, small: Mapping[str, Any]) -> TaskSettings:
        """Return questions of a few words on a text of a few words, in windows all the same."""
        small = {**small, "question_length": 8, "stride": 12}
        if settings.source == "squad":
            return replace(settings, **small)
        return TaskSettings(source="made_up_questions", **small)
