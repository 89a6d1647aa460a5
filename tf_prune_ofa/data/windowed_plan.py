"""Batches of examples that are too many to shuffle at once, as a function of (seed, step)."""

from __future__ import annotations

import numpy as np

from tf_prune_ofa.data.batches import BatchPlan

WINDOW = 65_536  # examples: half a gigabyte of records at most


class WindowedPlan:
    """Which examples make up the batch of each step; as `BatchPlan`, a window at a time.

    The examples are cut into windows of consecutive ones. An epoch goes through the windows in a
    random order, and through each of them as `BatchPlan` does: shuffled, similar lengths together.
    Only one window's lengths are looked at, and any step can be the first.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int = 0, *, window: int = WINDOW
    ) -> None:
        """Cut the examples into windows.

        Args:
            lengths: tokens of each example; may be an array on disk.
            batch_size: examples in a batch.
            seed: same seed, same batches.
            window: examples in one, at least a batch.

        Raises:
            UserError: no examples, or a batch of none.
        """
        self.batch_size, self.seed = batch_size, seed
        self._lengths, self._window = lengths, max(window, batch_size)
        self._plans: dict[int, BatchPlan] = {}  # of the last window that was asked for
        self._plan(0)  # refuses what makes no batch
        full, rest = divmod(len(lengths), self._window)
        sizes = np.array([self._window] * full + [rest] * (rest > 0))
        self._steps = -(-sizes // batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        return int(self._steps.sum())

    def epoch(self, step: int) -> int:
        """Return the epoch, from 0, that global step `step` belongs to."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> np.ndarray:
        """Return indices of the examples in the batch of global step `step`, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self._steps))
        ends = np.cumsum(self._steps[order])
        turn = int(np.searchsorted(ends, place, side="right"))
        window = int(order[turn])
        place -= int(ends[turn - 1]) if turn else 0
        plan = self._plan(window)
        return plan.indices(epoch * plan.steps_per_epoch + place) + window * self._window

    def _plan(self, window: int) -> BatchPlan:
        # By a local name: tf.data's thread and the main thread may ask for different windows.
        plans = self._plans
        if window not in plans:
            start = window * self._window
            lengths = np.array(self._lengths[start : start + self._window])
            seed = int(np.random.SeedSequence((self.seed, window)).generate_state(1)[0])
            plans = self._plans = {window: BatchPlan(lengths, self.batch_size, seed)}
        return plans[window]
