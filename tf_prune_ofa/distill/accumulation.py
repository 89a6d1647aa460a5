"""Gradient accumulation: a batch that does not fit in memory, computed in parts, one by one.

The gradient is that of the whole batch. A mean over what counts, words of a masked language model,
say, is not the mean of the parts' means; so what losses divide by is added up over all parts first
(`replicas.total`), and then each part gives its share, as each of several replicas does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_prune_ofa import replicas
from tf_prune_ofa.keras_compat import tf

# Gradients by variable (a tensor, tf.IndexedSlices or None), and what is logged.
Shares = tuple[list[Any], dict[str, tf.Tensor]]


def accumulated(
    batch: Any, parts: int, shares: Callable[[Any], Shares], losses: Callable[[Any], Any]
) -> tuple[list[tf.Tensor | None], dict[str, tf.Tensor], list[tf.Tensor | None]]:
    """Return gradients and logged values of a batch, computed in parts.

    Args:
        batch: nested arrays [B, ...]; B is a multiple of `parts`.
        parts: how many, each of every `parts`-th example.
        shares: returns gradients and logged values of a part.
        losses: computes a part's losses, for the sake of what they divide by; without dropout.

    Returns:
        Gradients by variable, dense, None where no loss depends on it; the sums of the logged
        values; the gradients' `replicas.rows_square`.
    """

    def part(number: int | tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda array: array[number::parts], batch)

    def divisors(number: int | tf.Tensor) -> tf.Tensor:
        seen = [tf.zeros([0])]

        def note(value: tf.Tensor) -> tf.Tensor:
            seen.append(tf.reshape(value, [-1]))
            return value

        with replicas.totals_by(note):
            losses(part(number))
        return tf.concat(seen, 0)

    whole = replicas.total(_summed(divisors, parts))

    def share(number: int | tf.Tensor) -> tuple[Any, ...]:
        left = [whole]

        def take(value: tf.Tensor) -> tf.Tensor:
            found, left[0] = tf.split(left[0], [value.shape.num_elements(), -1])
            return tf.reshape(found, value.shape)

        with replicas.totals_by(take):
            gradients, logs = shares(part(number))
        squares = [replicas.rows_square(one) for one in gradients]
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients], logs, squares

    return _summed(share, parts)


def _summed(of_part: Callable[[int | tf.Tensor], Any], parts: int) -> Any:
    """Return the sum of nested tensors over parts, of which one is computed after the other."""
    first = of_part(0)
    flat = [one for one in tf.nest.flatten(first) if one is not None]

    def add(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = [one for one in tf.nest.flatten(of_part(number)) if one is not None]
        return number + 1, *(total + one for total, one in zip(sums, found, strict=True))

    _, *sums = tf.while_loop(
        lambda number, *_: number < parts,
        add,
        (tf.constant(1), *flat),
        parallel_iterations=1,
    )
    known = iter(sums)
    whole = [None if one is None else next(known) for one in tf.nest.flatten(first)]
    return tf.nest.pack_sequence_as(first, whole)
