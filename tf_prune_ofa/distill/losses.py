"""Losses as plain functions of logits; all are means over what counts, padding left out.

Legend: ... any leading shape (examples, or examples x positions) · C classes.
"""

from __future__ import annotations

from tf_prune_ofa.keras_compat import tf


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mean of `values` where `weights` is 1, both [...]; 0 if nothing counts."""
    if weights is None:
        return tf.reduce_mean(values)
    weights = tf.cast(weights, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def hard_loss(logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Cross-entropy with integer labels.

    Args:
        logits: [..., C].
        labels: int [...].
        weights: [...], 1 counts, 0 padding; None counts all.

    Returns:
        Scalar, in nats.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
    return weighted_mean(losses, weights)


def regression_loss(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean squared error of logits [..., 1] and float labels [...]."""
    errors = tf.cast(logits, tf.float32)[..., 0] - tf.cast(labels, tf.float32)
    return weighted_mean(tf.square(errors), weights)


def soft_loss(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    temperature: float,
    weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Distillation loss T² · KL(softmax(teacher/T) ‖ softmax(student/T)) (Prune OFA, section 3).

    The factor T² keeps the gradient's size independent of the temperature (Hinton et al. 2015).

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C].
        temperature: T > 0.
        weights: [...], 1 counts, 0 padding; None counts all.

    Returns:
        Scalar, in nats. Teacher [2, 0], student [0, 0], T = 2 give 0.4438.
    """
    teacher_log = tf.nn.log_softmax(tf.cast(teacher_logits, tf.float32) / temperature)
    student_log = tf.nn.log_softmax(tf.cast(student_logits, tf.float32) / temperature)
    divergence = tf.reduce_sum(tf.exp(teacher_log) * (teacher_log - student_log), axis=-1)
    return temperature**2 * weighted_mean(divergence, weights)


def soft_regression_loss(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Distillation of a regression head: mean squared error of the two outputs [..., 1].

    A softmax over one value is constant, so the divergence above would teach nothing.
    """
    return regression_loss(student_logits, tf.cast(teacher_logits, tf.float32)[..., 0], weights)


def hidden_loss(
    student_states: list[tf.Tensor], teacher_states: list[tf.Tensor], mask: tf.Tensor
) -> tf.Tensor:
    """Mean squared error of hidden states, summed over layers (SparseBERT, section 3; L_hid).

    Args:
        student_states: [B, S, H] of the embeddings and of each layer.
        teacher_states: the same of the teacher.
        mask: [B, S], 1 token, 0 padding. (The published code counts padding in.)
    """
    return tf.add_n(
        [
            weighted_mean(tf.reduce_mean(tf.math.squared_difference(student, teacher), -1), mask)
            for student, teacher in zip(student_states, teacher_states, strict=True)
        ]
    )


def attention_loss(
    student_scores: list[tf.Tensor], teacher_scores: list[tf.Tensor], mask: tf.Tensor
) -> tf.Tensor:
    """Mean squared error of attention scores, summed over layers (SparseBERT, section 3; L_att).

    Args:
        student_scores: [B, A, S, S] of each layer, before mask and softmax.
        teacher_scores: the same of the teacher.
        mask: [B, S], 1 token, 0 padding; pairs with padding do not count.
    """
    mask = tf.cast(mask, tf.float32)
    pairs = mask[:, :, None] * mask[:, None, :]  # [B, S, S]
    return tf.add_n(
        [
            weighted_mean(tf.reduce_mean(tf.math.squared_difference(student, teacher), 1), pairs)
            for student, teacher in zip(student_scores, teacher_scores, strict=True)
        ]
    )
