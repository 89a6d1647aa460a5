"""From real numbers to the integers that a file must hold; docs/decisions say why so.

Written from the definition, apart from the exporter's own arithmetic: the two must agree exactly.
A real number is scale * (integer - zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST_OF_INT4, _WORDS_SHARE = 7, 0.8  # of INT4: larger numbers than this share are cut
_STEPS = 255  # between -128 and 127
_LARGEST = 127  # of a weight: symmetric, so that 0 is 0
_LARGEST_BIAS = 2**30
_SMALLEST_NORMAL = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of an INT8 activation."""

    scale: np.float32
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Grid:
        """Return the grid of a range, as FakeQuantWithMinMaxVars of 8 bits nudges it."""
        bottom, top = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
        scale = np.float32((top - bottom) / np.float32(_STEPS))
        steps_below_zero = int(np.floor(np.float32(-bottom / scale) + np.float32(0.5)))
        return cls(scale, steps_below_zero - 128)

    @classmethod
    def around_zero(cls, low: float, high: float) -> Grid:
        """Return the grid with zero point 0 that holds a range."""
        grid = cls.of_range(low, high)
        if grid.zero_point == 0:
            return grid
        largest = max(abs(low), abs(high))
        return cls.of_range(-128 * largest / 127, largest)


def channel_scales(
    rows: np.ndarray, bias: np.ndarray | None = None, input_scale: float = 1.0
) -> np.ndarray:
    """Return one scale for each row of weights [rows, columns].

    A row without a number gets the largest scale of all; a scale grows where its bias would not fit
    half of INT32.
    """
    peak = np.max(np.abs(rows), axis=1)
    scales = (peak / np.float32(_LARGEST)).astype(np.float32)
    is_empty = scales < _SMALLEST_NORMAL
    if is_empty.all():
        scales = np.ones_like(scales)
    else:
        scales[is_empty] = scales.max()
    if bias is not None:
        least = np.abs(bias).astype(np.float32) / np.float32(float(input_scale) * _LARGEST_BIAS)
        scales = np.maximum(scales, least)
    return scales.astype(np.float32)


def weight_integers(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return weights [rows, columns] as INT8; ties go to the even integer."""
    steps = np.round(rows.astype(np.float32) / scales.reshape(-1, 1))
    return np.minimum(np.maximum(steps, -_LARGEST), _LARGEST).astype(np.int8)


def int4_channel_scales(rows: np.ndarray) -> np.ndarray:
    """Return one scale for each row of INT4 weights; a row without a number has 1."""
    scales = np.max(np.abs(rows), axis=1).astype(np.float32) / np.float32(_LARGEST_OF_INT4)
    scales[scales < _SMALLEST_NORMAL] = 1
    return scales


def int4_integers(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return INT4 weights [rows, columns] as numbers of INT8; ties go to the even integer."""
    steps = np.round(rows.astype(np.float32) / scales.reshape(-1, 1))
    return np.minimum(np.maximum(steps, -_LARGEST_OF_INT4), _LARGEST_OF_INT4).astype(np.int8)


def bias_integers(bias: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a bias as INT32 in steps of `scales`."""
    return np.round(bias.astype(np.float64) / scales.astype(np.float64)).astype(np.int32)


def word_scales(rows: np.ndarray) -> np.ndarray:
    """Return the scale of each row of INT4 words; a row without a number has 1."""
    step = np.float32(_WORDS_SHARE / _LARGEST_OF_INT4)
    scales = np.max(np.abs(rows), axis=1).astype(np.float32) * step
    scales[scales < _SMALLEST_NORMAL] = 1
    return scales


def word_bytes(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return INT4 words as the bytes [rows, columns / 2] that they share.

    Column c is in the upper four bits of byte c, column c + columns / 2 in the lower ones, 8 above
    its value.
    """
    limit = _LARGEST_OF_INT4
    steps = np.minimum(np.maximum(np.round(rows / scales[:, np.newaxis]), -limit), limit)
    half = rows.shape[1] // 2
    bits = (steps[:, :half].astype(np.int32) << 4) | (steps[:, half:].astype(np.int32) + 8)
    return bits.astype(np.int8)


def words_from(rows: np.ndarray) -> np.ndarray:
    """Return what a file of INT4 words computes with in place of float rows [rows, columns]."""
    scales = word_scales(rows)
    stored = word_bytes(rows, scales).astype(np.int32)
    both = np.concatenate([stored >> 4, (stored & 15) - 8], axis=1)
    return (both * scales[:, np.newaxis]).astype(np.float32)
