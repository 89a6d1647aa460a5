import numpy as np
import pytest

from tf_prune_ofa.conversion import integers
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf


def test_range_of_255_hundredths():
    # 2.55 in 255 steps; zero is 100 steps above the minimum, which is -128.
    scale, zero_point = integers.activation_params(-1.0, 1.55)
    assert scale == np.float32(0.01)
    assert zero_point == -28


def test_range_is_widened_to_hold_zero():
    assert integers.activation_params(1.0, 2.55) == integers.activation_params(0.0, 2.55)
    assert integers.activation_params(0.0, 2.55)[1] == -128
    assert integers.activation_params(-2.55, -1.0)[1] == 127


@pytest.mark.parametrize("seed", range(20))
def test_the_grid_is_that_of_fake_quantization_in_training(seed):
    rng = np.random.default_rng(seed)
    low, high = -rng.exponential(3), rng.exponential(3)
    values = rng.uniform(1.2 * low, 1.2 * high, 200).astype(np.float32)
    scale, zero_point = integers.activation_params(low, high)
    steps = np.clip(np.rint(values / np.float32(scale)) + zero_point, -128, 127)
    emulated = tf.quantization.fake_quant_with_min_max_vars(values, low, high).numpy()
    # A value in the middle between two steps may be rounded either way: a hundredth of a step in
    # float32 is enough to see that all others are on the same step.
    difference = np.abs((steps - zero_point) * scale - emulated) / scale
    tie = np.abs(values / scale % 1 - 0.5) < 1e-3
    assert difference[~tie].max() < 0.01
    assert difference.max() < 1.01


@pytest.mark.parametrize("low, high", [(0, 0), (1, -1), (np.nan, 1), (-np.inf, 1), (0, 1e-45)])
def test_what_is_no_range(low, high):
    with pytest.raises(UserError, match="range"):
        integers.activation_params(low, high)


def test_weights_by_hand():
    kernel = np.array([[1.27, 0, -0.64], [0, 0.0254, 0]], np.float32)
    scales = integers.weight_scales(kernel)
    np.testing.assert_allclose(scales, [0.01, 0.0002], rtol=1e-6)
    stored = integers.quantize_weights(kernel, scales)
    np.testing.assert_array_equal(stored, [[127, 0, -64], [0, 127, 0]])
    assert stored.dtype == np.int8


def test_a_pruned_weight_is_the_integer_zero_and_the_largest_is_127():
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, [50, 40]).astype(np.float32)
    kernel[rng.random(kernel.shape) < 0.9] = 0
    stored = integers.quantize_weights(kernel, integers.weight_scales(kernel))
    assert not stored[kernel == 0].any()
    used = kernel.any(axis=1)
    assert used.sum() > 40
    np.testing.assert_array_equal(np.abs(stored.astype(int)).max(axis=1)[used], 127)


def test_a_channel_of_zeros_takes_the_largest_scale():
    kernel = np.array([[0, 0], [1.27, 0], [0.127, 0]], np.float32)
    np.testing.assert_allclose(integers.weight_scales(kernel), [0.01, 0.01, 0.001], rtol=1e-6)
    np.testing.assert_array_equal(integers.weight_scales(np.zeros([2, 3], np.float32)), [1, 1])


def test_a_large_bias_beside_tiny_weights_fits_int32():
    kernel = np.full([1, 4], 1e-12, np.float32)
    bias, input_scale = np.array([3.0], np.float32), 0.02
    scales = integers.weight_scales(kernel, bias, input_scale)
    stored = integers.quantize_bias(bias, np.float32(input_scale) * scales)
    # 3 is stored as about 2**30; without the larger scale it would be about 2e16.
    assert 0.99 * 2**30 < stored[0] < 1.01 * 2**30
    np.testing.assert_allclose(stored[0] * input_scale * scales[0], 3, rtol=1e-6)
