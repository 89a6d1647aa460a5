"""Texts, or pairs of texts, that belong to a class or have a score.

Legend: N examples · B batch · C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.task_data import Split
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Target
from tf_prune_ofa.distill.target_losses import CLASSES, VALUE, TargetLoss
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.tasks import scores
from tf_prune_ofa.tasks.kind import Batch, EncodedSplit, Kind
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.train.evaluate import predict

OUTPUT = "logits"


class Classification(Kind[EncodedSplit]):
    """Each text has one of the task's labels; logits [N, C]."""

    layer = "classifier"
    agreements = ("label_agreement",)
    loss: ClassVar[TargetLoss] = CLASSES

    @property
    def head(self) -> bert.Head:
        """One output for each label."""
        return bert.Classification(len(self.data.labels))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The one output of the head learns the labels."""
        return (Target(OUTPUT, "labels", loss=self.loss),)

    def encode(self, split: Split, wordpiece: TextTokenizer, *, length: int) -> EncodedSplit:
        """Return texts as ids; longer ones are cut."""
        tokens = wordpiece.encode(split.text_a, split.text_b, max_length=length)
        return EncodedSplit(tokens, split.label)

    def batch_targets(self, labels: np.ndarray, logits: np.ndarray | None, width: int) -> Batch:
        """Return labels [B] and, where they are cached, the teacher's logits [B, C]."""
        taught = {} if logits is None else {TEACHER_PREFIX + OUTPUT: logits}
        return {"labels": labels, **taught}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or accuracy."""
        labels = len(self.data.labels)
        allowed = scores.OF_TWO_CLASSES if labels == 2 else scores.OF_CLASSES
        asked = scores.checked(self.data.metrics, allowed, f"a task with {labels} labels is")
        return asked or ("accuracy",)

    def predict(self, model: keras.Model, batches: Iterable[Batch], *, length: int) -> np.ndarray:
        """Return logits [N, C]."""
        return predict(model, batches, OUTPUT)

    def score(self, logits: np.ndarray, split: EncodedSplit) -> dict[str, float]:
        """Return the task's scores by name."""
        return {name: scores.SCORES[name].of(logits, split.labels) for name in self.metrics}

    def file_logits(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Return the file's one output, [C]."""
        return outputs[OUTPUT][0]

    def read(self, logits: np.ndarray, split: EncodedSplit) -> list[Any]:
        """Return the label of the greatest logit of each text."""
        return [self.data.labels[index] for index in np.argmax(logits, axis=-1)]

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: EncodedSplit
    ) -> dict[str, float]:
        """Return the share of texts that get the same label."""
        same = np.argmax(logits, axis=-1) == np.argmax(reference, axis=-1)
        return {"label_agreement": float(np.mean(same))}

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the share of texts that get the same label."""
        found, wanted = (np.argmax(one[OUTPUT], axis=-1) for one in (outputs, reference))
        return {"label_agreement": float(np.mean(found == wanted))}

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> bert.Head | None:
        """Return the head where there is a layer "classifier" of several outputs."""
        count = len(weights.get("classifier/bias", ()))
        return bert.Classification(count) if count > 1 else None

    @classmethod
    def tiny(cls, settings: TaskSettings, small: Mapping[str, Any]) -> TaskSettings:
        """Return a few examples of the task; of the reviews where it would need a download."""
        if settings.source.startswith(("tfds:", "glue/")) and not settings.folder:
            return TaskSettings(source="reviews", **small)
        return replace(settings, **small)


class Regression(Classification):
    """Each text has a number; logits [N, 1], which are the number."""

    agreements = ("value_correlation",)
    loss = VALUE

    @property
    def head(self) -> bert.Head:
        """One output."""
        return bert.Classification(1)

    def start_head(self, parameters: Mapping[str, Any], labels: np.ndarray) -> None:
        """Begin at the labels' mean: from zero, hundreds of small steps would go into it."""
        parameters["classifier/bias"].assign([np.mean(labels, dtype=np.float64)])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or both correlations."""
        asked = scores.checked(self.data.metrics, scores.OF_REGRESSION, "a task with a score is")
        return asked or scores.OF_REGRESSION

    def read(self, logits: np.ndarray, split: EncodedSplit) -> list[Any]:
        """Return the number of each text."""
        return [float(value) for value in logits[:, 0]]

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: EncodedSplit
    ) -> dict[str, float]:
        """Return the correlation of the numbers; 1 where both are constant and equal, else 0."""
        return _correlation(logits[:, 0], reference[:, 0])

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the correlation of the numbers."""
        return _correlation(outputs[OUTPUT][:, 0], reference[OUTPUT][:, 0])

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> bert.Head | None:
        """Return the head where there is a layer "classifier" of one output."""
        count = len(weights.get("classifier/bias", ()))
        return bert.Classification(count) if count == 1 else None


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return {"value_correlation": float(np.array_equal(ours, theirs))}
    return {"value_correlation": float(stats.pearsonr(ours, theirs).statistic)}
