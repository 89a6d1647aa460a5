"""Gradual magnitude pruning through TFMOT's wrapper, with exact counts.

What happens to a pruned weight: it is set to zero at the mask update and again after every
optimizer step (`pruning.lock`), and its gradient is zero, so it takes part in nothing. At the next
update it ranks below every weight that is not zero. So masks only shrink: a pruned weight never
returns, neither during the ramp nor after the last update. (TFMOT alone lets it move by one
optimizer step between updates; the reference keeps its old value hidden and lets it return. See
docs/decisions/0003-pruned-weights.md.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import (
    PolynomialDecay,
    PruneLowMagnitude,
    Pruning,
    keras,
    tf,
)
from tf_prune_ofa.schedules import SparsitySchedule, zeros_of


@keras.utils.register_keras_serializable("tf_prune_ofa")
class RampThenHold(PolynomialDecay):
    """TFMOT's polynomial schedule with separate ends of the ramp and of the mask updates.

    Prune OFA reaches the final sparsity at step 50k of 100k and updates masks until 80k, which
    `PolynomialDecay` with its one `end_step` cannot express; nor can it prune in one shot.
    """

    def __init__(self, schedule: SparsitySchedule) -> None:
        super().__init__(
            initial_sparsity=schedule.initial,
            final_sparsity=schedule.final,
            begin_step=schedule.begin,
            end_step=max(schedule.ramp_end, schedule.begin + 1),
            power=schedule.power,
            frequency=schedule.frequency,
        )
        self.schedule = schedule

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (is there a mask update at `step`, sparsity asked there)."""
        is_update = self._should_prune_in_step(
            step, self.schedule.begin, self.schedule.mask_end, self.frequency
        )
        ramp = super().__call__(step)[1]
        return is_update, tf.where(step >= self.schedule.ramp_end, self.final_sparsity, ramp)

    def get_config(self) -> dict[str, Any]:
        """Return the schedule's fields."""
        fields = {name: getattr(self.schedule, name) for name in SparsitySchedule.__annotations__}
        return {"class_name": type(self).__name__, "config": fields}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RampThenHold:
        """Build from what `get_config` returned."""
        return cls(SparsitySchedule(**config))


def magnitude_mask(weights: np.ndarray, zeros: int, before: np.ndarray | None = None) -> np.ndarray:
    """Return the mask (float32, 1 kept) that prunes the `zeros` smallest magnitudes.

    The count is exact for any weights: among equal magnitudes the lower flat index is kept. A
    threshold (as in TFMOT) prunes none or all of a tie, and on already sparse weights, where the
    tie is at zero, that can turn a 85 % sparse kernel dense.

    Args:
        weights: any shape.
        zeros: how many to prune.
        before: the mask up to now; what it prunes ranks below all else, even below a kept weight
            that happens to be zero. None where nothing is pruned yet.
    """
    size = weights.size
    magnitude = np.abs(weights).ravel()
    if before is not None:
        magnitude = np.where(before.ravel() > 0, magnitude, -1)
    kept = size - zeros
    if zeros == 0:
        return np.ones(weights.shape, np.float32)
    # The kept-th largest magnitude; all above it stay, of those equal to it the first ones.
    threshold = np.partition(magnitude, size - kept)[size - kept] if kept else np.inf
    mask = magnitude > threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: kept - int(mask.sum())]] = True
    return mask.reshape(weights.shape).astype(np.float32)


class _ExactPruning(Pruning):
    """TFMOT's mask bookkeeping with `magnitude_mask` in place of its threshold."""

    def _update_mask(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        schedule = self._pruning_schedule.schedule
        [(_, before, _)] = self._pruning_vars  # a Dense layer has one kernel

        def update(values: np.ndarray, before: np.ndarray, step: np.ndarray) -> np.ndarray:
            # Not the schedule's tensor: a float32 0.9 is so much below 0.9 that counts can be one
            # off.
            zeros = zeros_of(values.size, schedule.sparsity(int(step)))
            return magnitude_mask(values, zeros, before)

        # NumPy selects the threshold in linear time; TensorFlow has only full sorts (8x slower
        # here).
        inputs = [weights, before, self._step_fn()]
        mask = tf.numpy_function(update, inputs, tf.float32, stateful=False)
        mask = tf.cast(tf.ensure_shape(mask, weights.shape), weights.dtype)
        kept = tf.where(mask > 0, tf.abs(weights), weights.dtype.max)
        return tf.reduce_min(kept), mask


@keras.utils.register_keras_serializable("tf_prune_ofa")
class GradualPruning(PruneLowMagnitude):
    """What TFMOT's `prune_low_magnitude(layer, ...)` returns, with exact counts.

    That function only constructs `PruneLowMagnitude`; a subclass is its one way to change how masks
    are computed. The wrapped layer keeps its own name.
    """

    def build(self, input_shape: Any) -> None:
        """Create masks as TFMOT does, and take over how they are computed."""
        super().build(input_shape)
        self.pruning_obj = _ExactPruning(
            # TFMOT has counted the step that is under way; the schedule counts the finished ones.
            training_step_fn=lambda: self.pruning_step - 1,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
            sparsity_m_by_n=self.sparsity_m_by_n,
        )


def pruning_wrap(
    sparsities: Mapping[str, float], schedule: SparsitySchedule
) -> Callable[[keras.layers.Layer], keras.layers.Layer]:
    """Return the `wrap` for `models.bert.build_model` that prunes the layers of `sparsities`.

    Args:
        sparsities: final sparsity by layer name; see `rules.layer_sparsities`.
        schedule: its `final` is replaced by the layer's own.
    """

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in sparsities:
            return layer
        final = sparsities[layer.name]
        initial = min(schedule.initial, final)
        layer_schedule = replace(schedule, final=final, initial=initial)
        return GradualPruning(layer, pruning_schedule=RampThenHold(layer_schedule))

    return wrap


def wrapper_masks(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the mask variables [in, out] of a pruned model by layer name."""
    return {
        layer.layer.name: mask
        for layer in model.layers
        if isinstance(layer, PruneLowMagnitude)
        for _, mask, _ in layer.pruning_vars
    }


def asked_sparsity(model: keras.Model, steps: int) -> float:
    """Return the share of zeros that all pruned kernels should have after `steps` steps."""
    zeros = size = 0
    for layer in model.layers:
        if isinstance(layer, GradualPruning):
            weights = layer.layer.kernel.shape.num_elements()
            size += weights
            zeros += zeros_of(weights, layer.pruning_schedule.schedule.asked(steps - 1))
    return zeros / size
