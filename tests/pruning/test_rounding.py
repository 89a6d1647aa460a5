"""Weights on a grid: how far outputs move, and that the export finds the grid again."""

import numpy as np
import pytest

from tf_prune_ofa.conversion import integers
from tf_prune_ofa.pruning.reconstruction import Moments, reconstruct
from tf_prune_ofa.pruning.rounding import INT4_LEVELS, best_scales

INPUTS, OUTPUTS, TOKENS = 48, 20, 400
RNG = np.random.default_rng(0)
# Inputs that depend on each other, as an encoder's do; else none could make up for another.
DATA = (RNG.normal(size=(TOKENS, 8)) @ RNG.normal(size=(8, INPUTS)) + RNG.normal(
    size=(TOKENS, INPUTS)) / 4 + 1).astype(np.float32)  # fmt: skip
KERNEL = RNG.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
BIAS = RNG.normal(size=OUTPUTS).astype(np.float32)


@pytest.fixture(scope="module")
def moments():
    found = Moments(INPUTS)
    found.add(DATA, DATA)
    return found


def rounded(moments, mask=None):
    return reconstruct(KERNEL, BIAS, moments, None, mask=mask, levels=INT4_LEVELS)


def error(kernel, bias):
    wanted = DATA @ KERNEL + BIAS
    return float(np.mean((DATA @ kernel + bias - wanted) ** 2) / wanted.var(axis=0).mean())


def test_every_channel_is_what_the_file_stores(moments):
    kernel = rounded(moments).kernel.T
    scales = integers.int4_channel_scales(kernel)
    steps = integers.quantize_int4(kernel, scales)
    np.testing.assert_allclose(steps * scales[:, None], kernel, rtol=1e-6)
    assert np.all(np.abs(steps).max(axis=1) == INT4_LEVELS)
    assert len(np.unique(steps)) > INT4_LEVELS


def test_other_weights_make_up_for_what_rounding_changes(moments):
    whole = np.abs(KERNEL).max(axis=0) / INT4_LEVELS
    nearest = np.rint(KERNEL / whole) * whole
    scales = best_scales(np.ones(INPUTS), KERNEL, INT4_LEVELS)
    clipped = np.clip(np.rint(KERNEL / scales), -INT4_LEVELS, INT4_LEVELS) * scales
    found = rounded(moments)
    assert error(found.kernel, found.bias) < error(clipped, BIAS) / 3 < error(nearest, BIAS)
    assert found.error == pytest.approx(error(found.kernel, found.bias), rel=0.05)


def test_pruned_weights_stay_zero_and_dead_outputs_are_no_obstacle(moments):
    mask = RNG.random(KERNEL.shape) < 0.5
    mask[:, 3] = False
    found = rounded(moments, mask)
    assert not np.any(found.kernel[~mask])
    steps = found.kernel.T / integers.int4_channel_scales(found.kernel.T)[:, None]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-5)
    # On the same support nothing that is not rounded is farther from the dense outputs.
    assert found.error > reconstruct(KERNEL, BIAS, moments, None, mask=mask).error
