"""AdamW as BERT uses it: no decay of biases and norms, a tabulated learning rate."""

from __future__ import annotations

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


def adamw(
    schedule: LearningRateSchedule, variables: list[tf.Variable], *, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) with its moments created for `variables`.

    Biases and the norms' gamma and beta are not decayed, as in BERT.
    """
    optimizer = keras.optimizers.AdamW(
        TabulatedRate(schedule), weight_decay=weight_decay, epsilon=1e-8, jit_compile=False
    )
    exempt = [
        v for v in variables if v.name.split("/")[-1].split(":")[0] in ("bias", "gamma", "beta")
    ]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    # Created now, so that a checkpoint can be restored before the first step.
    optimizer.build(variables)
    return optimizer
