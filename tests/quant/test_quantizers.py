import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_prune_ofa.conversion import integers
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.quant.quantizers import (
    ChannelWeights,
    EmbeddingRows,
    MovingRange,
    fake_quantize_symmetric,
)

# Numbers from 1e-9 up, and zeros: below, scales leave the range of normal float32 numbers.
numbers = st.one_of(
    st.just(0.0),
    st.floats(2.0**-30, 100, width=32),
    st.floats(-100, -(2.0**-30), width=32),
)
kernels = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=numbers
)

# Weights


@given(kernels)
def test_weights_are_the_integers_of_the_file_exactly(kernel):
    rounded = fake_quantize_symmetric(tf.constant(kernel), axis=0).numpy()
    largest = np.abs(kernel).max(axis=0)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))
    grid = np.rint(kernel / scale)
    assert np.abs(grid).max() <= 127
    np.testing.assert_array_equal(rounded, grid.astype(np.float32) * scale)
    # The same integers as the exporter writes, from the rounded and from the trained weights.
    scales = integers.weight_scales(kernel.T)
    written = integers.quantize_weights(kernel.T, scales)
    np.testing.assert_array_equal(written[largest > 0], grid.T[largest > 0])
    np.testing.assert_array_equal(written[largest == 0], 0)


@given(kernels)
def test_zeros_stay_zero_and_each_channel_uses_all_levels(kernel):
    rounded = fake_quantize_symmetric(tf.constant(kernel), axis=0).numpy()
    assert not np.any(rounded[kernel == 0])
    largest = np.abs(kernel).max(axis=0)
    # 127 · (largest / 127) may be a last bit off the largest.
    np.testing.assert_allclose(np.abs(rounded).max(axis=0), largest, rtol=2e-7)


@given(kernels)
def test_rounding_twice_changes_nothing(kernel):
    """What is written can be read and rounded again, e.g. by the exporter or a second run."""
    once = fake_quantize_symmetric(tf.constant(kernel), axis=0)
    twice = fake_quantize_symmetric(once, axis=0)
    np.testing.assert_allclose(twice, once, rtol=2e-7)


def test_weights_by_hand():
    kernel = tf.constant([[1.27, 0.0], [0.014, 0.0], [-0.016, 0.0]])
    quantizer = ChannelWeights()
    rounded = quantizer(kernel, training=True, weights=quantizer.build([3, 2], "kernel", None))
    # Steps of 0.01; a channel of zeros stays one. 1e-7: rounding of float32.
    np.testing.assert_allclose(rounded, [[1.27, 0], [0.01, 0], [-0.02, 0]], atol=1e-7)


@pytest.mark.parametrize("quantizer", [ChannelWeights(), EmbeddingRows()])
def test_gradients_pass_straight_through(quantizer):
    x = tf.Variable(np.random.default_rng(0).normal(0, 1, [5, 4]), dtype=tf.float32)
    upstream = tf.constant(np.random.default_rng(1).normal(0, 1, [5, 4]), tf.float32)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(quantizer(x, True, {}) * upstream)
    np.testing.assert_array_equal(tape.gradient(total, x), upstream)


def test_looked_up_rows_are_rows_of_the_rounded_table():
    table = np.random.default_rng(0).normal(0, 1, [11, 6]).astype(np.float32)
    table[3] = 0
    ids = np.array([[0, 3, 3], [10, 1, 0]])
    rounded = EmbeddingRows()(tf.gather(table, ids), True, {}).numpy()
    scales = integers.row_scales(table)
    stored = integers.quantize_weights(table, scales).astype(np.float32) * scales[:, None]
    np.testing.assert_array_equal(rounded, stored[ids])


# Activations

ranges = st.tuples(st.floats(-50, 0, width=32), st.floats(0, 50, width=32))


class Holder(keras.layers.Layer):
    """Gives a quantizer its variables, as TFMOT's wrapper does."""


def quantizer_with(low, high, momentum=1.0):
    quantizer = MovingRange()
    weights = quantizer.build([None, 4], "output", Holder())
    weights["min"].assign(low)
    weights["max"].assign(high)
    weights["momentum"].assign(momentum)
    return quantizer, weights


def quantize(x, low, high, *, training=False):
    quantizer, weights = quantizer_with(low, high)
    return quantizer(tf.constant(x, tf.float32), training, weights).numpy()


@given(ranges)
def test_activations_have_the_scale_and_zero_point_of_the_file(range_):
    low, high = range_
    assume(high - low > 1e-3)
    scale, zero_point = integers.activation_params(low, high)
    grid = np.float32(scale) * (np.arange(-128, 128) - zero_point).astype(np.float32)
    # Every level of the file is a level in training, and there are no others.
    np.testing.assert_allclose(quantize(grid, low, high), grid, rtol=0, atol=1e-6 * (high - low))
    x = np.linspace(low - 1, high + 1, 2000).astype(np.float32)
    steps = quantize(x, low, high) / scale + zero_point
    assert np.abs(steps - np.rint(steps)).max() < 1e-3  # float32: 255 · 6e-8, and then some
    levels = np.rint(steps)
    assert levels.min() == -128 and levels.max() == 127
    reference = np.clip(np.rint(x / scale) + zero_point, -128, 127)
    # But for ties, which float32 moves to either side.
    tie = np.abs(x / scale - np.floor(x / scale) - 0.5) < 1e-3
    np.testing.assert_array_equal(levels[~tie], reference[~tie])


@given(ranges)
def test_scale_and_zero_point_are_those_of_tflite_s_specification(range_):
    """real = scale · (q - zero_point), with low at q = -128 and high at 127; zero on an integer."""
    low, high = range_
    assume(high - low > 1e-3)
    scale, zero_point = integers.activation_params(low, high)
    assert scale == pytest.approx((high - low) / 255, rel=2e-7)
    assert -128 <= zero_point <= 127
    # To let zero fall on an integer, the range is moved by half a step at most.
    assert abs(scale * (-128 - zero_point) - low) <= 0.5001 * scale
    assert abs(scale * (127 - zero_point) - high) <= 0.5001 * scale


@given(ranges)
def test_zero_stays_zero(range_):
    low, high = range_
    assume(high - low > 1e-3)
    # The level of zero is scale · zero point - scale · zero point, up to rounding of the range.
    assert abs(quantize([0.0], low, high)[0]) <= 1e-6 * (high - low)


def test_ranges_move_by_the_momentum_in_training_only():
    quantizer, weights = quantizer_with(-1.0, 1.0, momentum=0.75)
    x = tf.constant([[-3.0, 2.0]])
    quantizer(x, False, weights)
    assert (float(weights["min"]), float(weights["max"])) == (-1.0, 1.0)
    quantizer(x, True, weights)
    assert (float(weights["min"]), float(weights["max"])) == (-1.5, 1.25)


def test_a_batch_is_rounded_by_the_range_it_has_moved():
    quantizer, weights = quantizer_with(0.0, 0.0, momentum=0.0)
    rounded = quantizer(tf.constant([[-1.0, 1.55]]), True, weights).numpy()
    np.testing.assert_allclose(rounded, [[-1.0, 1.55]], atol=1e-6)  # else both were 0


@pytest.mark.parametrize(("batch", "expected"), [([2.0, 3.0], (0, 3)), ([-3.0, -2.0], (-3, 0))])
def test_ranges_hold_zero(batch, expected):
    quantizer, weights = quantizer_with(5.0, 5.0, momentum=0.0)
    quantizer(tf.constant([batch]), True, weights)
    assert (float(weights["min"]), float(weights["max"])) == expected


def test_a_frozen_range_stays_to_the_last_bit():
    low, high = np.float32(-0.1234567), np.float32(7.654321)
    quantizer, weights = quantizer_with(low, high, momentum=1.0)
    for seed in range(5):
        x = np.random.default_rng(seed).normal(0, 100, [3, 4])
        quantizer(tf.constant(x, tf.float32), True, weights)
        assert weights["min"].numpy() == low and weights["max"].numpy() == high


def test_gradients_stop_outside_the_range():
    quantizer, weights = quantizer_with(-1.0, 1.0)
    x = tf.Variable([[-2.0, -0.5, 0.5, 2.0]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(quantizer(x, True, weights))
    assert tape.gradient(total, x).numpy().tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize("cls", [ChannelWeights, EmbeddingRows, MovingRange])
def test_quantizers_survive_their_config(cls):
    assert isinstance(cls.from_config(cls().get_config()), cls)
