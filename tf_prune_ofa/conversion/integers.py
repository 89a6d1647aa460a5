"""From real numbers to INT8 and back: scales, zero points and rounding of the exported files.

An integer q stands for the real number scale * (q - zero_point).
"""

from __future__ import annotations

import numpy as np

from tf_prune_ofa.errors import UserError

INT8_MIN, INT8_MAX = -128, 127
# Biases are INT32 with scale input_scale * weight_scale. 2**30 leaves the other half of INT32 to
# the sum of products.
BIAS_LIMIT = 2**30


def activation_params(minimum: float, maximum: float) -> tuple[float, int]:
    """Return (scale, zero_point) of an asymmetric INT8 activation with range [minimum, maximum].

    The range is first widened to contain 0, so that 0 is an integer exactly. Scale and zero point
    are those of TensorFlow's FakeQuantWithMinMaxVars with 8 bits, so a trained range gives the same
    grid in training and in the file.

    >>> activation_params(-1.0, 1.55)  # 255 steps of 0.01; zero is 100 steps above the minimum
    (0.009999999776482582, -28)

    Raises:
        UserError: the range is not finite, or is empty.
    """
    low = np.float32(min(minimum, 0.0))
    high = np.float32(max(maximum, 0.0))
    if not (np.isfinite(low) and np.isfinite(high)) or minimum > maximum or low == high:
        raise UserError(
            f"[{minimum}, {maximum}] is no activation range: it must be finite and hold a number "
            "other than 0. Train or calibrate longer, so that the layer sees data."
        )
    scale = (high - low) / np.float32(INT8_MAX - INT8_MIN)
    if scale < np.finfo(np.float32).tiny:
        raise UserError(f"activation range [{minimum}, {maximum}] is too narrow for INT8 steps.")
    # FakeQuant rounds half away from zero; the quotient is never negative here.
    zero_point = int(np.floor(-low / scale + np.float32(0.5))) + INT8_MIN
    return float(scale), zero_point


def weight_scales(
    kernel: np.ndarray, bias: np.ndarray | None = None, input_scale: float = 1.0
) -> np.ndarray:
    """Return the scale of each output channel of a kernel, largest magnitude / 127.

    Symmetric, so a weight is 0 in the file exactly if it is within half a step of 0; pruned weights
    stay 0. A channel of zeros gets the layer's largest scale; any number would do. Where a bias
    would not fit INT32 (tiny weights beside a large bias) the scale grows until it does.

    Args:
        kernel: float32 [out, in], as TFLite stores it.
        bias: float32 [out], or None.
        input_scale: scale of the layer's input; used with `bias`.

    Returns:
        float32 [out], all positive.
    """
    scales = np.abs(kernel).max(axis=1).astype(np.float32) / np.float32(INT8_MAX)
    usable = scales >= np.finfo(np.float32).tiny
    scales = np.where(usable, scales, scales.max() if usable.any() else np.float32(1))
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / np.float32(input_scale * BIAS_LIMIT))
    return scales.astype(np.float32)


def quantize_weights(kernel: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a kernel [out, in] as INT8 in [-127, 127] with one scale for each output channel."""
    # In float32 and half to even, as emulated in training: a tie must fall on the same side.
    steps = np.rint(kernel / scales[:, None])
    return np.clip(steps, -INT8_MAX, INT8_MAX).astype(np.int8)


def quantize_bias(bias: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a bias [out] as INT32 with the scales [out] = input scale * weight scales."""
    return np.rint(bias.astype(np.float64) / scales.astype(np.float64)).astype(np.int32)


def row_scales(table: np.ndarray) -> np.ndarray:
    """Return the scale of each row of an embedding table [rows, H], largest magnitude / 127."""
    return weight_scales(table)


# INT4 rows: with 7 steps for the largest number of a row, half of the rounding error would be spent
# on it alone. Four fifths of that have the smallest mean error over rows that are nearly normal, as
# word embeddings are; the few numbers beyond are the largest step.
INT4_MAX, INT4_SHARE = 7, 0.8


def int4_row_scales(table: np.ndarray) -> np.ndarray:
    """Return the INT4 scale of each row of an embedding table [rows, H]; 1 for a row of zeros."""
    largest = np.abs(table).max(axis=1).astype(np.float32)
    scales = largest * np.float32(INT4_SHARE / INT4_MAX)
    return np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))


def quantize_int4(table: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a table [rows, H] in steps of -7 to 7, as INT8 numbers."""
    steps = np.rint(table.astype(np.float32) / scales[:, None])
    return np.clip(steps, -INT4_MAX, INT4_MAX).astype(np.int8)


def int4_channel_scales(kernel: np.ndarray) -> np.ndarray:
    """Return the INT4 scale of each output channel of a kernel [out, in], largest magnitude / 7.

    A channel of zeros has the scale 1. Nothing is clipped: a model whose weights were rounded for
    INT4 (`pruning.rounding`) has a largest weight of 7 steps in each channel, and is stored as it
    is.
    """
    largest = np.abs(kernel).max(axis=1).astype(np.float32)
    scales = largest / np.float32(INT4_MAX)
    # A scale must not depend on other channels: some of them may be left out (`blocks.dead_units`).
    return np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))


def pack_int4(steps: np.ndarray) -> np.ndarray:
    """Return INT8 bytes [rows, H / 2]: the row's first half in the upper bits, its second below.

    >>> pack_int4(np.array([[-7, 1, 7, -7]], np.int8))  # 16 * -7 + 15 and 16 * 1 + 1
    array([[-97,  17]], dtype=int8)
    """
    upper, lower = np.split(steps.astype(np.int16), 2, axis=1)
    return (16 * upper + lower + 8).astype(np.int8)
