"""Least squares by hand: what a weight costs, and the best values of those that stay."""

import numpy as np
import pytest

from tf_prune_ofa.pruning.plan import keep_highest
from tf_prune_ofa.pruning.reconstruction import Moments, reconstruct, removal_costs

TOKENS, INPUTS, OUTPUTS = 200, 6, 3


@pytest.fixture
def layer():
    """(kernel, bias, sparse inputs, dense inputs); inputs are correlated, and differ a little."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(0, 1, [TOKENS, INPUTS]) @ rng.normal(0, 1, [INPUTS, INPUTS]) + 1.0
    seen = mixed + rng.normal(0, 0.1, mixed.shape)
    kernel, bias = rng.normal(0, 1, [INPUTS, OUTPUTS]), rng.normal(0, 1, OUTPUTS)
    return tuple(a.astype(np.float32) for a in (kernel, bias, seen, mixed))


def moments_of(sparse, dense):
    moments = Moments(sparse.shape[1])
    for part in np.array_split(np.arange(len(sparse)), 3):
        moments.add(sparse[part], dense[part])
    return moments


def with_ones(x):
    return np.column_stack([x, np.ones(len(x))]).astype(np.float64)


def least_error(x, asked, support):
    """Squared error of the best weights for one output on a support, by NumPy's own solver."""
    return np.linalg.lstsq(x[:, support], asked, rcond=None)[1].sum()


def test_moments_are_sums_over_tokens(layer):
    _, _, sparse, dense = layer
    moments = moments_of(sparse, dense)
    x, z = with_ones(sparse), with_ones(dense)
    assert moments.tokens == TOKENS
    for found, expected in zip(
        (moments.sparse, moments.cross, moments.dense), (x.T @ x, x.T @ z, z.T @ z), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_weights_by_hand():
    """Inputs that are equal: the one that stays takes over the weight of the other."""
    x = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], np.float32)
    kernel, bias = np.array([[3.0], [2.0]], np.float32), np.array([1.0], np.float32)
    found = reconstruct(
        kernel, bias, moments_of(x, x), None, mask=np.array([[True], [False]]), damping=1e-9
    )
    np.testing.assert_allclose(found.kernel, [[5.0], [0.0]], atol=1e-4)
    np.testing.assert_allclose(found.bias, [1.0], atol=1e-4)
    assert found.error == pytest.approx(0.0, abs=1e-8)


def test_weights_are_those_of_least_squares_on_the_support(layer):
    kernel, bias, sparse, dense = layer
    mask = np.random.default_rng(1).random(kernel.shape) < 0.5
    found = reconstruct(kernel, bias, moments_of(sparse, dense), None, mask=mask, damping=1e-9)
    x, asked = with_ones(sparse), with_ones(dense) @ np.vstack([kernel, bias])
    errors = 0.0
    for output in range(OUTPUTS):
        support = np.append(np.flatnonzero(mask[:, output]), INPUTS)
        best = np.linalg.lstsq(x[:, support], asked[:, output], rcond=None)[0]
        np.testing.assert_allclose(found.kernel[mask[:, output], output], best[:-1], rtol=1e-3)
        np.testing.assert_allclose(found.bias[output], best[-1], rtol=1e-3)
        errors += least_error(x, asked[:, output], support)
    assert np.all(found.kernel[~mask] == 0) and np.array_equal(found.mask, mask)
    variance = np.sum((asked - asked.mean(0)) ** 2)
    assert found.error == pytest.approx(errors / variance, rel=1e-3)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_costs_are_how_much_the_least_error_grows(layer, is_sparse):
    """By trying: each weight is taken away, and the least-squares problem solved without it."""
    kernel, bias, sparse, dense = layer
    mask = np.ones(kernel.shape, bool)
    if is_sparse:
        mask[[0, 2, 2], [0, 0, 1]] = False
    x, asked = with_ones(sparse), with_ones(dense) @ np.vstack([kernel, bias])
    costs = removal_costs(x.T @ x, x.T @ asked, mask)
    for output in range(OUTPUTS):
        support = np.append(np.flatnonzero(mask[:, output]), INPUTS)
        before = least_error(x, asked[:, output], support)
        for row in support[:-1]:
            after = least_error(x, asked[:, output], support[support != row])
            assert costs[row, output] == pytest.approx(after - before, rel=1e-6, abs=1e-6)
    assert np.all(costs[~mask] == 0)


def test_rounds_are_asked_with_the_costs_of_what_is_left(layer):
    kernel, bias, sparse, dense = layer
    seen = []

    def choose(number, costs, before):
        seen.append((number, int(before.sum())))
        assert np.all(costs[~before] == 0) and np.all(costs[before] > 0)
        return keep_highest(np.where(before, costs, -np.inf), 4 * number)

    found = reconstruct(kernel, bias, moments_of(sparse, dense), choose, rounds=3)
    assert seen == [(1, 18), (2, 14), (3, 10)] and found.mask.sum() == 6


def test_many_rounds_are_better_than_one_and_than_magnitude():
    """On average over layers with correlated inputs; the point of it all."""
    errors = {"magnitude": [], 1: [], 4: []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = (rng.normal(0, 1, [400, 24]) @ rng.normal(0, 1, [24, 24])).astype(np.float32)
        kernel = rng.normal(0, 1, [24, 8]).astype(np.float32)
        bias, moments = np.zeros(8, np.float32), moments_of(x, x)
        by_size = keep_highest(np.abs(kernel), 144)
        errors["magnitude"].append(reconstruct(kernel, bias, moments, None, mask=by_size).error)
        for rounds in (1, 4):
            ends = [int(144 * (number / rounds)) for number in range(1, rounds + 1)]
            found = reconstruct(
                kernel, bias, moments,
                lambda n, c, kept, ends=ends: keep_highest(np.where(kept, c, -np.inf), ends[n - 1]),
                rounds=rounds,
            )  # fmt: skip
            assert np.count_nonzero(found.kernel) == 48
            errors[rounds].append(found.error)
    mean = {key: np.mean(value) for key, value in errors.items()}
    assert mean[4] < 0.8 * min(mean[1], mean["magnitude"])


def test_an_input_that_is_always_zero_is_no_trouble(layer):
    kernel, bias, sparse, _ = layer
    sparse = sparse.copy()
    sparse[:, 2] = 0
    found = reconstruct(
        kernel, bias, moments_of(sparse, sparse),
        lambda n, costs, kept: keep_highest(np.where(kept, costs, -np.inf), 3), rounds=1,
        damping=0.0,
    )  # fmt: skip
    assert np.isfinite(found.kernel).all()
    assert not found.mask[2].any()  # what nothing goes through is what costs least
    assert found.error < 1e-3
