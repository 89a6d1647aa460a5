"""Predictions of a model on a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import keras, tf

NOWHERE = np.float32(-1e9)  # logit of a position that is padding


def traced(
    model: keras.Model, call: Callable[[dict[str, tf.Tensor]], Any]
) -> Callable[[dict[str, Any]], Any]:
    """Return a function of the model's inputs by name as one graph for batches of all sizes."""
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in model.input.items()
    }
    return tf.function(call, input_signature=[signature])


def predict(
    model: keras.Model, batches: Iterable[dict[str, np.ndarray]], output: str = "logits"
) -> np.ndarray:
    """Return one output of the model for all batches, [N, ...], in order."""
    step = traced(model, lambda inputs: model(inputs, training=False)[output])
    return np.concatenate([step(batch).numpy() for batch in batches])


def predict_ends(
    model: keras.Model, batches: Iterable[dict[str, np.ndarray]], *, length: int
) -> np.ndarray:
    """Return start and end logits of a span head for all batches in order, [N, 2, length].

    Beyond a batch's sequences they are `NOWHERE`.
    """

    def step(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        outputs = model(inputs, training=False)
        return tf.stack([outputs["start_logits"], outputs["end_logits"]], axis=1)

    call = traced(model, step)
    parts = [call(batch).numpy() for batch in batches]
    margins = [((0, 0), (0, 0), (0, length - part.shape[2])) for part in parts]
    padded = zip(parts, margins, strict=True)
    return np.concatenate([np.pad(p, m, constant_values=NOWHERE) for p, m in padded])
