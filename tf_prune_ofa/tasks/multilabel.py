"""Texts, or pairs of texts, that may have several labels, or none (multi-label classification).

Legend: N examples · B batch · C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill import losses
from tf_prune_ofa.distill.target_losses import TargetLoss
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models.head_kinds import Classification as ClassificationHead
from tf_prune_ofa.models.head_kinds import Head
from tf_prune_ofa.tasks import scores
from tf_prune_ofa.tasks.classification import OUTPUT, Classification
from tf_prune_ofa.tasks.kind import EncodedSplit
from tf_prune_ofa.tflite.text_settings import TextSettings

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class MultiLabelHead(ClassificationHead):
    """A classifier's layers; each output by itself says whether its label is right."""

    @property
    def problem_type(self) -> str:
        """Return what transformers calls it."""
        return "multi_label_classification"


class BinaryCrossEntropy(TargetLoss):
    """Labels that are right or wrong each by itself: a sigmoid for every output."""

    def hard(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the mean over labels of the cross-entropy with labels [..., C] of 0 and 1."""
        logits = tf.cast(logits, tf.float32)
        of_each = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
        return losses.weighted_mean(tf.reduce_mean(of_each, axis=-1), weights)

    def soft(
        self,
        logits: tf.Tensor,
        teacher_logits: tf.Tensor,
        settings: LossSettings,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Return T² times the mean over labels of the divergence of two Bernoulli distributions."""
        temperature = settings.temperature
        ours, theirs = (tf.cast(x, tf.float32) / temperature for x in (logits, teacher_logits))
        divergence = sum(
            tf.sigmoid(sign * theirs)
            * (tf.math.log_sigmoid(sign * theirs) - tf.math.log_sigmoid(sign * ours))
            for sign in (1.0, -1.0)
        )
        return temperature**2 * losses.weighted_mean(tf.reduce_mean(divergence, axis=-1), weights)


class MultiLabel(Classification):
    """Each text has any of the task's labels; logits [N, C], one a label."""

    loss = BinaryCrossEntropy()

    @property
    def head(self) -> Head:
        """One output for each label."""
        return MultiLabelHead(len(self.data.labels))

    @property
    def thresholds(self) -> np.ndarray:
        """Probability from which a label counts as there, [C].

        Raises:
            UserError: the recipe has neither none of them, nor one, nor one a label.
        """
        given, count = self.settings.thresholds or (DEFAULT_THRESHOLD,), len(self.data.labels)
        if len(given) not in (1, count):
            raise UserError(
                f"task.thresholds has {len(given)} numbers for {count} labels; give one for all, "
                "or one for each"
            )
        return np.broadcast_to(np.array(given), [count])

    def start_head(self, parameters: Mapping[str, Any], labels: np.ndarray) -> None:
        """Begin at how often each label is there: most are rare, which else is learned first."""
        share = (labels.sum(axis=0) + 1) / (len(labels) + 2)
        parameters["classifier/bias"].assign(np.log(share / (1 - share)))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or F1 over all labels and by label."""
        _ = self.thresholds
        asked = scores.checked(self.data.metrics, scores.OF_LABEL_SETS, "sets of labels are")
        return asked or ("f1_micro", "f1_macro")

    def score(self, logits: np.ndarray, split: EncodedSplit) -> dict[str, float]:
        """Return the task's scores by name."""
        found = label_set_scores(self._is_there(logits), split.labels > 0)
        return {name: found[name] for name in self.metrics}

    def read(self, logits: np.ndarray, split: EncodedSplit) -> list[Any]:
        """Return the labels of each text."""
        return [
            [label for label, there in zip(self.data.labels, row, strict=True) if there]
            for row in self._is_there(logits)
        ]

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: EncodedSplit
    ) -> dict[str, float]:
        """Return the share of texts that get the same labels, all of them."""
        same = np.all(self._is_there(logits) == self._is_there(reference), axis=-1)
        return {"label_agreement": float(np.mean(same))}

    def _is_there(self, logits: np.ndarray) -> np.ndarray:
        return logits >= np.log(self.thresholds / (1 - self.thresholds))

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the share of texts that get the same labels, all of them."""
        same = np.all((outputs[OUTPUT] >= 0) == (reference[OUTPUT] >= 0), axis=-1)
        return {"label_agreement": float(np.mean(same))}

    def text_settings(self, **tokenizer: Any) -> TextSettings:
        """Return settings of the tokenizer, and from where on a label is there."""
        return TextSettings(**tokenizer, thresholds=tuple(float(t) for t in self.thresholds))

    @classmethod
    def settings_in(cls, **tokenizer: Any) -> TextSettings:
        """Return settings of the tokenizer, and the usual threshold."""
        return TextSettings(**tokenizer, thresholds=(DEFAULT_THRESHOLD,))

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> Head | None:
        """Return the head where there is a layer "classifier" of several outputs."""
        head = super().head_in(weights)
        return None if head is None else MultiLabelHead(head.named_outputs)


def label_set_scores(found: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Return the scores of sets of labels, as scikit-learn defines them; 0 of 0 is 0.

    Args:
        found: bool [N, C].
        right: bool [N, C].

    Returns:
        `f1_micro`, over all labels of all texts; `f1_macro`, the mean of the labels' F1;
        `subset_accuracy`, the share of texts with all labels right.
    """
    hits, both = np.sum(found & right, axis=0), np.sum(found, axis=0) + np.sum(right, axis=0)
    by_label = np.divide(2 * hits, both, out=np.zeros(len(both)), where=both > 0)
    total = int(both.sum())
    return {
        "f1_micro": 2 * int(hits.sum()) / total if total else 0.0,
        "f1_macro": float(np.mean(by_label)),
        "subset_accuracy": float(np.mean(np.all(found == right, axis=-1))),
    }
