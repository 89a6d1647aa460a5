import numpy as np
import pytest

from tf_prune_ofa.conversion import integers
from tf_prune_ofa.conversion.attention import symmetric
from tf_prune_ofa.conversion.clipping import Histogram


def histogram(values):
    found = Histogram.between(float(values.min()), float(values.max()))
    found.add(values[: len(values) // 2])
    found.add(values[len(values) // 2 :])
    return found


def error_as_int8(values, bounds):
    """What the file does to values: written out, without the histogram."""
    scale, zero_point = integers.activation_params(*bounds)
    steps = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    return float(np.mean((values - scale * (steps - zero_point)) ** 2))


def spread(outlier, count=40_000):
    values = np.random.default_rng(0).normal(0, 1, count).astype(np.float32)
    values[7] = outlier
    return values


@pytest.mark.parametrize("bounds", [(-4.0, 30.0), (-2.0, 2.0), (-1.0, 30.0), (-8.0, 3.0)])
def test_the_error_is_that_of_rounding_and_clipping(bounds):
    values = spread(30.0)
    expected = error_as_int8(values, bounds)
    found = histogram(values)
    np.testing.assert_allclose(found.error(bounds), expected, rtol=0.05)
    both = symmetric(bounds)
    np.testing.assert_allclose(
        found.error(bounds, is_symmetric=True), error_as_int8(values, both), rtol=0.05
    )


def test_long_tails_are_clipped_where_that_pays():
    values = np.random.default_rng(0).laplace(0, 1, 400_000)
    widest = float(values.min()), float(values.max())
    bounds = histogram(values).least_squares()
    assert bounds[1] - bounds[0] < 0.9 * (widest[1] - widest[0])
    assert error_as_int8(values, bounds) < 0.8 * error_as_int8(values, widest)
    # Clipped further, it would be worse again.
    further = bounds[0] / 2, bounds[1] / 2
    assert error_as_int8(values, bounds) < error_as_int8(values, further)


def test_nothing_is_clipped_where_all_is_as_large():
    values = np.random.default_rng(0).uniform(-1, 1, 40_000)
    np.testing.assert_allclose(histogram(values).least_squares(), (-1, 1), atol=0.03)


def test_percentiles_hold_their_share():
    values = spread(100.0)
    low, high = histogram(values).percentiles(0.999)
    assert np.mean((values >= low) & (values <= high)) == pytest.approx(0.999, abs=5e-4)
    assert -4 < low < -3 and 3 < high < 4
    every = histogram(values).percentiles(1.0)
    np.testing.assert_allclose(every, (values.min(), 100.0), atol=0.02)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_tensor_of_one_value_keeps_it(value):
    found = histogram(np.full(10, value))
    assert found.least_squares() == found.percentiles(0.5) == (value, value)
