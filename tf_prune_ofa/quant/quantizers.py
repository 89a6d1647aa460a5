"""Emulated INT8: the same rounding as in the exported file, with straight-through gradients.

Legend: B batch · S sequence · H hidden.
"""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.keras_compat import Quantizer, keras, tf

WEIGHT_LEVELS = 127  # symmetric: -127..127, so that 0 is 0 and a pruned weight stays pruned


def fake_quantize_symmetric(x: tf.Tensor, axis: int | list[int]) -> tf.Tensor:
    """Round `x` to INT8 levels with one scale for each slice along the axes not in `axis`.

    scale = max|x| / 127 over `axis`. Zeros stay exactly zero. The gradient passes straight through
    (no value is clipped, as the scale covers the largest one).
    """
    largest = tf.reduce_max(tf.abs(x), axis=axis, keepdims=True)
    scale = tf.where(largest > 0, largest / WEIGHT_LEVELS, tf.ones_like(largest))
    return x + tf.stop_gradient(tf.round(x / scale) * scale - x)


@keras.utils.register_keras_serializable("tf_prune_ofa")
class ChannelWeights(Quantizer):
    """Per-channel symmetric INT8 weights: one scale for each output channel of a kernel [in, out].

    The scale follows the weights at every call, so evaluation sees what the exporter will write;
    TFMOT's last-value quantizer would use the range from before the optimizer's last step.
    """

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> tf.Tensor:
        """Return the rounded kernel."""
        return fake_quantize_symmetric(inputs, axis=0)

    def get_config(self) -> dict[str, Any]:
        """No settings."""
        return {}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class EmbeddingRows(Quantizer):
    """Symmetric INT8 embeddings, one scale a row, applied to the rows that were looked up.

    Rounding looked-up vectors [B, S, H] equals rounding the table's rows, and costs B·S rows
    instead of the whole vocabulary in every step.
    """

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> tf.Tensor:
        """Return the rounded rows."""
        return fake_quantize_symmetric(inputs, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """No settings."""
        return {}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class MovingRange(Quantizer):
    """Asymmetric INT8 activations: one range a tensor, a moving average of the batches' ranges.

    range = momentum · range + (1 - momentum) · range of the batch. The momentum is a variable: 0
    takes a batch's range as it is, 1 freezes the range (`ranges.set_momentum`). Being a variable it
    is in the checkpoint, and so is the fact that ranges are frozen.
    """

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Create the range and the momentum."""

        def scalar(suffix: str) -> tf.Variable:
            return layer.add_weight(
                f"{name}_{suffix}", shape=[], initializer="zeros", trainable=False
            )

        return {key: scalar(key) for key in ("min", "max", "momentum")}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> tf.Tensor:
        """Return the rounded activations; in training, move the range first."""
        low, high, momentum = weights["min"], weights["max"], weights["momentum"]
        if training:
            batch_low, batch_high = self.range_of(inputs)
            low = low.assign(momentum * low + (1.0 - momentum) * batch_low)
            high = high.assign(momentum * high + (1.0 - momentum) * batch_high)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def range_of(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the ends of a batch's range."""
        # 0 must be in the range: it is padding, and TFLite demands it.
        return tf.minimum(tf.reduce_min(batch), 0.0), tf.maximum(tf.reduce_max(batch), 0.0)

    def get_config(self) -> dict[str, Any]:
        """No settings."""
        return {}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class SymmetricMovingRange(MovingRange):
    """`MovingRange` whose zero point is 0: keys and values, second operands of INT8 products."""

    def range_of(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ends 128 steps below and 127 steps above 0."""
        largest = tf.reduce_max(tf.abs(batch))
        return -largest * (WEIGHT_LEVELS + 1) / WEIGHT_LEVELS, largest


@keras.utils.register_keras_serializable("tf_prune_ofa")
class UnitRange(Quantizer):
    """INT8 probabilities: 255 steps from 0 to 1."""

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> tf.Tensor:
        """Return the rounded probabilities."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, 0.0, 1.0, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """No settings."""
        return {}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class ScaledMovingRange(MovingRange):
    """`MovingRange` of values divided by outlier scales, multiplied back after the rounding.

    `outlier_scales` [channels] are powers of two, 1 but for outlying channels (see
    `ranges.outlier_scales_of`).
    """

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Create the range, the momentum and the outlier scales."""
        scales = layer.add_weight(
            f"{name}_outlier_scales",
            shape=[int(tensor_shape[-1])],
            initializer="ones",
            trainable=False,
        )
        return super().build(tensor_shape, name, layer) | {"outlier_scales": scales}

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> tf.Tensor:
        """Return the rounded activations; in training, move the range first."""
        scales = tf.convert_to_tensor(weights["outlier_scales"])
        return super().__call__(inputs / scales, training, weights, **kwargs) * scales
