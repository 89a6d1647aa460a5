"""Losses as plain functions of logits; all are means over what counts, padding left out.

Of several replicas, or parts of a batch, each gives its share: its own sum, over what counts in the
whole batch.

Legend: ... any leading shape (examples, or examples x positions) · C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_prune_ofa import replicas
from tf_prune_ofa.keras_compat import tf

# A channel's variance counts as at least so much of the middle one's, as in `torch_run`.
_LEAST_VARIANCE = 0.05


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mean of `values` where `weights` is 1, both [...]; 0 if nothing counts."""
    if weights is None:
        if replicas.is_whole():
            return tf.reduce_mean(values)
        weights = tf.ones_like(values)
    weights = tf.cast(weights, values.dtype)
    whole = replicas.total(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), whole)


def only_at(logits: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return logits [B, S] over positions with those where `mask` [B, S] is 0 out of the softmax.

    None keeps them all. (The published code of Prune OFA lets the padding take part.)
    """
    if mask is None:
        return logits
    return tf.where(mask > 0, tf.cast(logits, tf.float32), -1e9)


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
            _token_error(student, teacher, mask)
            for student, teacher in zip(student_states, teacher_states, strict=True)
        ]
    )


def squarehead_loss(
    student_states: list[tf.Tensor], teacher_states: list[tf.Tensor], mask: tf.Tensor
) -> tf.Tensor:
    """Error of hidden states over the teacher's mean square, summed over layers.

    SquareHead (Kurtic et al. 2023, arXiv 2310.06927, section 3): a layer whose states are ten times
    as large counts no more than another. A student that gives zeros everywhere has 1 a layer.

    Args:
        student_states: [B, S, H] of the embeddings and of each layer.
        teacher_states: the same of the teacher.
        mask: [B, S], 1 token, 0 padding.
    """
    return tf.add_n(
        [
            # Both are sums over the same tokens, so their number need not be known.
            tf.math.divide_no_nan(
                _summed_error(student, teacher, mask),
                replicas.total(_summed_error(tf.zeros_like(teacher), teacher, mask)),
            )
            for student, teacher in zip(student_states, teacher_states, strict=True)
        ]
    )


def channels_loss(
    student_states: list[tf.Tensor], teacher_states: list[tf.Tensor], mask: tf.Tensor
) -> tf.Tensor:
    """Error of hidden states over the teacher's variance, channel by channel, summed over layers.

    In BERT a few channels are a hundred times as large as the others and rule both the mean square
    of a layer and its error, so with `hidden_loss` and `squarehead_loss` alike the others hardly
    count. A student that gives every channel's mean has 1 a layer.

    Args:
        student_states: [B, S, H] of the embeddings and of each layer.
        teacher_states: the same of the teacher. Variances are those of the batch's tokens.
        mask: [B, S], 1 token, 0 padding.
    """
    counts = tf.cast(mask, tf.float32)[..., None]  # [B, S, 1]
    tokens = replicas.total(tf.reduce_sum(counts))
    errors = []
    for student, teacher in zip(student_states, teacher_states, strict=True):
        teacher = tf.cast(teacher, tf.float32)
        sums, squares = (
            tf.math.divide_no_nan(replicas.total(tf.reduce_sum(one * counts, [0, 1])), tokens)
            for one in (teacher, tf.square(teacher))
        )
        variance = squares - tf.square(sums)  # [H]
        # A channel that hardly moves would count for more than it carries.
        floor = _LEAST_VARIANCE * tf.sort(variance)[variance.shape[0] // 2]
        squared = tf.math.squared_difference(tf.cast(student, tf.float32), teacher) * counts
        errors.append(
            tf.reduce_mean(
                tf.math.divide_no_nan(
                    tf.reduce_sum(squared, [0, 1]), tf.maximum(variance, floor) * tokens
                )
            )
        )
    return tf.add_n(errors)


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


def layerwise_loss(
    student_states: list[tf.Tensor],
    teacher_states: list[tf.Tensor],
    mask: tf.Tensor,
    teacher_layers: Sequence[int] = (),
) -> tf.Tensor:
    """Error of chosen teacher layers against the student layers that are nearest to them.

    CoFi (Xia et al. 2022, section 2; L_layer): which student layer learns from which teacher layer
    is decided anew in every step, see `match_layers`. The linear map that CoFi puts between the
    two is left out: it begins as the identity, and both are of one width here.

    Args:
        student_states: [B, S, H] of the embeddings and of each layer.
        teacher_states: the same of the teacher, which may have another number of layers.
        mask: [B, S], 1 token, 0 padding. (The published code counts padding in.)
        teacher_layers: which teacher layers, 1 is the first; empty as `default_teacher_layers`.
    """
    chosen = teacher_layers or default_teacher_layers(len(teacher_states) - 1)
    errors = tf.stack(
        [
            tf.stack([_summed_error(one, teacher_states[i], mask) for one in student_states[1:]])
            for i in chosen
        ]
    )
    matched = match_layers(replicas.total(errors))
    tokens = replicas.total(tf.reduce_sum(tf.cast(mask, tf.float32)))
    return tf.math.divide_no_nan(tf.reduce_sum(tf.gather(errors, matched, batch_dims=1)), tokens)


def match_layers(errors: tf.Tensor) -> tf.Tensor:
    """Return for each teacher layer the student layer, from 0, that learns from it, int32 [K].

    From the last teacher layer down, each takes the student layer of least error among those below
    the one taken before, so that the order of layers is kept. As many student layers are left as
    there are teacher layers still to come; CoFi's code takes a layer twice where they run out.

    Args:
        errors: [K, L], of K chosen teacher layers and L >= K student layers.
    """
    count, layers = errors.shape
    index = tf.range(layers)
    taken = tf.constant(layers)
    matched = []
    for teacher in reversed(range(count)):
        is_allowed = (index < taken) & (index >= teacher)
        taken = tf.argmin(tf.where(is_allowed, errors[teacher], np.inf), output_type=tf.int32)
        matched.append(taken)
    return tf.stack(matched[::-1])


def default_teacher_layers(count: int) -> tuple[int, ...]:
    """Return about every third of `count` layers, 1 is the first, and the last among them.

    >>> default_teacher_layers(12), default_teacher_layers(6), default_teacher_layers(2)
    ((3, 6, 9, 12), (3, 6), (2,))
    """
    return tuple(range(count, 0, -3))[::-1]


def _token_error(student: tf.Tensor, teacher: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the mean squared error of states [B, S, H] over tokens that are not padding."""
    return weighted_mean(tf.reduce_mean(tf.math.squared_difference(student, teacher), -1), mask)


def _summed_error(student: tf.Tensor, teacher: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the sum of the squared errors, each the mean of a token's, without padding."""
    errors = tf.reduce_mean(tf.math.squared_difference(student, teacher), -1)
    return tf.reduce_sum(errors * tf.cast(mask, errors.dtype))
