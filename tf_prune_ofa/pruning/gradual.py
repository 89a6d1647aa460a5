"""Gradual pruning through TFMOT's wrapper, with exact counts.

What happens to a pruned weight: it is set to zero at the mask update and again after every
optimizer step (`pruning.lock`), and its gradient is zero, so it takes part in nothing. At the next
update it ranks below every weight that is not zero. So masks only shrink: a pruned weight never
returns, neither during the ramp nor after the last update. (TFMOT alone lets it move by one
optimizer step between updates; the reference keeps its old value hidden and lets it return. See
docs/decisions/0003-pruned-weights.md.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import (
    PolynomialDecay,
    PruneLowMagnitude,
    Pruning,
    UpdatePruningStep,
    keras,
    tf,
)
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.plan import Pool
from tf_prune_ofa.pruning.scores import Score
from tf_prune_ofa.schedules import SparsitySchedule


@keras.utils.register_keras_serializable("tf_prune_ofa")
class RampThenHold(PolynomialDecay):
    """Our schedule in TFMOT's form, for whoever looks at a wrapper.

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
        sparsity = np.vectorize(self.schedule.sparsity, otypes=[np.float32])
        return is_update, tf.numpy_function(sparsity, [step], tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return the schedule's fields."""
        fields = {name: getattr(self.schedule, name) for name in SparsitySchedule.__annotations__}
        return {"class_name": type(self).__name__, "config": fields}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RampThenHold:
        """Build from what `get_config` returned."""
        return cls(SparsitySchedule(**config))


class _MasksFromOutside(Pruning):
    """TFMOT's masking of weights, without its computation of masks: that is `UpdateMasks`'s."""

    def conditional_mask_update(self) -> tf.Operation:
        """Do nothing, in every training step."""
        return tf.no_op()

    def weight_mask_op(self) -> tf.Operation:
        """Mask the weights of this replica, which are those of all.

        TFMOT averages the masked weights over replicas, in every step.
        """
        return tf.group(
            [
                weight.assign(tf.cast(weight * tf.cast(mask, weight.dtype), weight.dtype))
                for weight, mask, _ in self._pruning_vars
            ]
        )


@keras.utils.register_keras_serializable("tf_prune_ofa")
class GradualPruning(PruneLowMagnitude):
    """What TFMOT's `prune_low_magnitude(layer, ...)` returns, with masks from outside.

    That function only constructs `PruneLowMagnitude`; a subclass is its one way to change how masks
    are computed. Here they may depend on other layers, so no layer computes its own. The wrapped
    layer keeps its own name.

    Attributes:
        statistics: what the score keeps of the kernel's gradients, by name; after `build`.
    """

    def __init__(self, layer: keras.layers.Layer, score: Score, **options: Any) -> None:
        super().__init__(layer, **options)
        self._score = score

    def build(self, input_shape: Any) -> None:
        """Create masks as TFMOT does, and take over how they are computed."""
        super().build(input_shape)
        self.pruning_obj = _MasksFromOutside(
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
            sparsity_m_by_n=self.sparsity_m_by_n,
        )
        shapes = self._score.statistics(tuple(self.layer.kernel.shape))
        self.statistics = {
            name: self.add_weight(
                f"statistic_{name}", shape=shape, initializer="zeros", trainable=False
            )
            for name, shape in shapes.items()
        }


def pruning_wrap(
    pools: Sequence[Pool], score: Score
) -> Callable[[keras.layers.Layer], keras.layers.Layer]:
    """Return the `wrap` for `models.bert.build_model` that prunes the layers of `pools`."""
    schedules = {name: pool.schedule for pool in pools for name in pool.layers}

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in schedules:
            return layer
        schedule = RampThenHold(schedules[layer.name])
        return GradualPruning(layer, score, pruning_schedule=schedule)

    return wrap


def wrapper_masks(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the mask variables [in, out] of a pruned model by layer name."""
    return {
        name: mask for name, wrapper in _wrappers(model).items()
        for _, mask, _ in wrapper.pruning_vars
    }  # fmt: skip


def gradient_observer(
    student: keras.Model, score: Score
) -> Callable[[tf.Variable, tf.Tensor], None]:
    """Return the `observe` for `lock.PatternLock` that updates the score's statistics."""
    statistics = {
        wrapper.layer.kernel.ref(): wrapper.statistics for wrapper in _wrappers(student).values()
    }

    def observe(kernel: tf.Variable, gradient: tf.Tensor) -> None:
        # A layer that was pruned before is locked, and no longer ranked.
        if kernel.ref() in statistics:
            score.observe(kernel, gradient, statistics[kernel.ref()])

    return observe


def _wrappers(model: keras.Model) -> dict[str, GradualPruning]:
    return {layer.layer.name: layer for layer in model.layers if isinstance(layer, GradualPruning)}


class UpdateMasks(UpdatePruningStep):
    """Computes the masks of all layers before each training step that the schedule names.

    In NumPy, outside of the training graph: a step without an update costs nothing, NumPy selects
    a threshold in linear time where TensorFlow has only full sorts (8x slower here), and layers can
    be ranked together.
    """

    def __init__(self, pools: Sequence[Pool], student: keras.Model, score: Score) -> None:
        super().__init__()
        self.pools = pools
        self.score = score
        self.kernels = dense_kernels(student)
        self.masks = wrapper_masks(student)
        self.statistics = {name: w.statistics for name, w in _wrappers(student).items()}

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the optimizer's step, after a resume too."""
        super().on_train_begin(logs)
        self.step = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Update masks when it is time."""
        for pool in self.pools:
            if pool.schedule.is_update(self.step) and pool.zeros(self.step):
                self._update(pool)
        self.step += 1

    def _update(self, pool: Pool) -> None:
        kernels = {name: self.kernels[name].numpy() for name in pool.layers}
        before = {name: self.masks[name].numpy() for name in pool.layers}
        scores = {
            name: self.score.values(name, kernel, self._arrays(name))
            for name, kernel in kernels.items()
        }
        for name, mask in pool.masks(self.step, scores, before).items():
            self.masks[name].assign(mask)
            # What is pruned is zeroed by the step's forward pass.
            moved = self.score.compensated(kernels[name], mask > 0, self._arrays(name))
            if moved is not None:
                self.kernels[name].assign(moved)
            if self.score.restarts:
                for statistic in self.statistics[name].values():
                    statistic.assign(tf.zeros_like(statistic))

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return {key: variable.numpy() for key, variable in self.statistics[name].items()}
