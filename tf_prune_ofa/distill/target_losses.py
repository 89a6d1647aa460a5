"""What an output is trained with: a loss on labels, and one on the teacher's output."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill import losses
from tf_prune_ofa.keras_compat import tf


class TargetLoss(ABC):
    """The two losses of one output; a kind of task may have its own."""

    @abstractmethod
    def hard(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the loss on labels.

        Args:
            logits: [..., C].
            labels: as the task has them.
            weights: [...], 1 counts, 0 padding; None counts all.
        """

    @abstractmethod
    def soft(
        self,
        logits: tf.Tensor,
        teacher_logits: tf.Tensor,
        settings: LossSettings,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Return the distillation loss.

        Args:
            logits: [..., C].
            teacher_logits: [..., C].
            settings: of the stage; the temperature, say.
            weights: [...], 1 counts, 0 padding; None counts all.
        """

    def learns_labels(self, settings: LossSettings) -> bool:
        """Return whether the soft term compares with the labels in place of the teacher."""
        return False


class CrossEntropy(TargetLoss):
    """One class of several: a softmax over the outputs."""

    def hard(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the cross-entropy with integer labels [...]."""
        return losses.hard_loss(logits, labels, weights)

    def soft(
        self,
        logits: tf.Tensor,
        teacher_logits: tf.Tensor,
        settings: LossSettings,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Return the divergence of both softmaxes at the stage's temperature."""
        return losses.soft_loss(logits, teacher_logits, settings.temperature, weights)


class SquaredError(TargetLoss):
    """A number, [..., 1]."""

    def hard(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the mean squared error from float labels [...]."""
        return losses.regression_loss(logits, labels, weights)

    def soft(
        self,
        logits: tf.Tensor,
        teacher_logits: tf.Tensor,
        settings: LossSettings,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Return the mean squared error from the teacher's number."""
        return losses.soft_regression_loss(logits, teacher_logits, weights)

    def learns_labels(self, settings: LossSettings) -> bool:
        """Return whether the recipe says so."""
        return settings.regression == "labels"


CLASSES, VALUE = CrossEntropy(), SquaredError()
