"""AdamW as BERT uses it: no decay of biases and norms, a tabulated learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.schedules import LearningRateSchedule


class TabulatedRate(keras.optimizers.schedules.LearningRateSchedule):
    """`schedules.LearningRateSchedule` looked up by step, so that there is one definition of it."""

    def __init__(self, schedule: LearningRateSchedule) -> None:
        self.schedule = schedule
        # The rate at `total` is 0; a step there or later would change nothing.
        rates = [schedule.rate(step) for step in range(schedule.total + 1)]
        self._rates = np.asarray(rates, np.float32)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate of optimizer step `step`, counted from 0."""
        index = tf.minimum(tf.cast(step, tf.int32), len(self._rates) - 1)
        return tf.gather(tf.constant(self._rates), index)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"schedule": self.schedule}


class FusedAdamW(keras.optimizers.AdamW):
    """Keras' AdamW with one pass over a variable's memory where Keras makes a dozen.

    Nearly half of what applying the gradients takes, and more of a step the smaller its batch.
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Update one variable and its moments."""
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        index = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(b, variable.dtype) for b in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = tf.cast(self.learning_rate * self.weight_decay, variable.dtype)
                variable.assign(variable * (1 - rate))


def adamw(
    schedule: LearningRateSchedule, variables: list[tf.Variable], *, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) with its moments created for `variables`.

    Biases and the norms' gamma and beta are not decayed, as in BERT.
    """
    optimizer = FusedAdamW(
        TabulatedRate(schedule), weight_decay=weight_decay, epsilon=1e-8, jit_compile=False
    )
    exempt = [
        v for v in variables if v.name.split("/")[-1].split(":")[0] in ("bias", "gamma", "beta")
    ]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    # Created now, so that a checkpoint can be restored before the first step.
    optimizer.build(variables)
    return optimizer
