"""Batches as a pure function of (seed, step), so that a killed run resumes with the same ones."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf

Remainder = Literal["wrap", "drop", "short"]

# Sequences of about the same length share a batch, for less padding. Sorting inside a chunk of so
# many batches, not over the whole set, keeps an epoch random.
_BATCHES_PER_CHUNK = 50


class BatchPlan:
    """Which examples make up the batch of each step.

    An epoch is a fresh permutation of all examples. With `bucket`, it is cut into chunks of 50
    batches, each chunk is sorted by length and cut into batches, and the batches are shuffled.

    Args:
        lengths: tokens of each example.
        batch_size: examples in a batch.
        seed: same seed, same batches.
        bucket: put examples of about the same length together.
        remainder: what to do with the examples that do not fill a batch at the end of an epoch.
            "wrap" (for training) fills their batch with other examples of the epoch, so each
            example is seen once and fewer than `batch_size` of them twice; "drop" leaves them
            out, others each epoch; "short" (for evaluation) makes a smaller last batch.
        shuffle: False keeps the order of the examples, or, with `bucket`, sorts all by length:
            the same batches in every epoch, for evaluation.

    Raises:
        UserError: no examples, or with "drop" fewer than one batch.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int = 0,
        *,
        bucket: bool = True,
        remainder: Remainder = "wrap",
        shuffle: bool = True,
    ) -> None:
        self._lengths = np.asarray(lengths)
        count = len(self._lengths)
        if batch_size < 1:
            raise UserError(f"The batch size is {batch_size}: use at least 1.")
        if count < (batch_size if remainder == "drop" else 1):
            raise UserError(
                f"{count} examples do not make a batch of {batch_size}: "
                "give more data or a smaller batch size."
            )
        if remainder not in ("wrap", "drop", "short"):
            raise ValueError(f"remainder is {remainder!r}; it is 'wrap', 'drop' or 'short'.")
        self.batch_size = batch_size
        self.seed = seed
        self._bucket, self._remainder, self._shuffle = bucket, remainder, shuffle
        self._steps = count // batch_size if remainder == "drop" else -(-count // batch_size)
        self._latest: tuple[int, list[np.ndarray]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        return self._steps

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that global step `step` belongs to."""
        return step // self._steps

    def indices(self, step: int) -> np.ndarray:
        """Indices of the examples in the batch of global step `step`, counted from 0."""
        epoch, position = divmod(step, self._steps)
        # By a local name: tf.data's thread and the main thread may ask for different epochs.
        latest = self._latest
        if latest is None or latest[0] != epoch:
            latest = self._latest = (epoch, self._make_epoch(epoch))
        return latest[1][position]

    def _make_epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        count, full = len(self._lengths), self._steps * self.batch_size
        order = rng.permutation(count) if self._shuffle else np.arange(count)
        if self._remainder == "wrap":
            order = np.resize(order, full)  # repeats from the start
        elif self._remainder == "drop":
            order = order[:full]
        if self._bucket:
            chunk = _BATCHES_PER_CHUNK * self.batch_size if self._shuffle else len(order)
            order = np.concatenate(
                [self._by_length(order[i : i + chunk]) for i in range(0, len(order), chunk)]
            )
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if self._shuffle and self._bucket:
            # A short batch stays last.
            complete = len(order) // self.batch_size
            batches = [batches[i] for i in rng.permutation(complete)] + batches[complete:]
        return batches

    def _by_length(self, indices: np.ndarray) -> np.ndarray:
        return indices[np.argsort(self._lengths[indices], kind="stable")]


def pad(
    arrays: Sequence[np.ndarray], *, max_length: int, multiple: int = 8, value: int = 0
) -> np.ndarray:
    """Stacks arrays of different lengths as int32 [B, S], filled up with `value`.

    Args:
        arrays: 1-D arrays.
        max_length: largest S. `multiple=max_length` gives this S for every batch.
        multiple: S is the longest array's length, rounded up to this; few values of S mean few
            traced graphs.
        value: what to fill up with.

    Raises:
        ValueError: an array is longer than `max_length`.
    """
    longest = max(len(array) for array in arrays)
    if longest > max_length:
        raise ValueError(f"A sequence has {longest} tokens, the longest allowed has {max_length}.")
    width = min(-(-longest // multiple) * multiple, max_length)
    out = np.full((len(arrays), width), value, np.int32)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def model_inputs(
    ids: Sequence[np.ndarray],
    type_ids: Sequence[np.ndarray] | None,
    *,
    max_length: int,
    multiple: int = 8,
    pad_id: int = 0,
) -> dict[str, np.ndarray]:
    """The encoder's inputs, int32 [B, S], for sequences of ids.

    Args:
        ids: sequences with [CLS] and [SEP].
        type_ids: segment of each token; None leaves `input_type_ids` out, as for DistilBERT.
        max_length: see `pad`.
        multiple: see `pad`.
        pad_id: id of [PAD].

    Returns:
        `input_word_ids`, `input_mask` (1 token, 0 padding) and, if asked for, `input_type_ids`.
    """
    words = pad(ids, max_length=max_length, multiple=multiple, value=pad_id)
    lengths = np.array([len(one) for one in ids])
    inputs = {
        "input_word_ids": words,
        "input_mask": (np.arange(words.shape[1]) < lengths[:, None]).astype(np.int32),
    }
    if type_ids is not None:
        inputs["input_type_ids"] = pad(type_ids, max_length=max_length, multiple=multiple)
    return inputs


def to_dataset(
    make_batch: Callable[[int], Any],
    start_step: int,
    total_steps: int,
    *,
    signature: Any = None,
    prefetch: int = 16,
) -> tf.data.Dataset:
    """A dataset of the batches of steps `start_step` to `total_steps` - 1, made ahead of their use.

    Args:
        make_batch: gives the batch of a step: a dict or tuple of arrays, nested as `fit` wants.
            It must depend on the step alone.
        start_step: first step; the one after the last that a resumed run has done.
        total_steps: where the run ends.
        signature: tf.TensorSpec of each array; by default that of the first batch with all sizes
            left open.
        prefetch: batches to keep ready.
    """
    if signature is None:
        signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec([None] * np.ndim(array), np.asarray(array).dtype),
            make_batch(start_step),
        )

    def batches() -> Iterator[Any]:
        for step in range(start_step, total_steps):
            yield make_batch(step)

    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    steps = max(total_steps - start_step, 0)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(prefetch)
    # There is nothing to tune, and the tuning thread sleeps up to a minute before it sees that the
    # run has ended, which the end of the run waits for.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
