import itertools

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.unit_costs import UnitCosts
from tf_prune_ofa.pruning.reconstruction import Moments, Reconstruction
from tf_prune_ofa.pruning.structured import WantedUnits, choose_counts
from tf_prune_ofa.pruning.units import Removal, removal

INPUTS, OUTPUTS, TOKENS = 12, 5, 200


@pytest.fixture
def layer():
    """A kernel, a bias, and inputs of which some depend on others."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TOKENS, INPUTS)) @ rng.normal(size=(INPUTS, INPUTS))
    x[:, 3] = x[:, 5] - x[:, 7] + 0.01 * rng.normal(size=TOKENS)
    moments = Moments(INPUTS)
    moments.add(x, x)
    return rng.normal(size=(INPUTS, OUTPUTS)), rng.normal(size=OUTPUTS), moments, x


def least_error(layer, left, importance):
    """Of the outputs, per token, with inputs `left` and the best values for them."""
    kernel, bias, _, x = layer
    wanted = x @ kernel + bias
    given = np.hstack([x[:, left], np.ones([TOKENS, 1])])
    best, *_ = np.linalg.lstsq(given, wanted, rcond=None)
    return np.sum(importance * np.square(given @ best - wanted)) / TOKENS


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("together", [1, 2])
def test_losses_are_those_of_least_squares(layer, size, together):
    importance = np.array([1.0, 0.0, 4.0, 0.5, 1.0])
    kernel, bias, moments, _ = layer
    units = INPUTS // size
    found = removal(
        kernel, bias, moments, units, together=together, importance=importance, damping=0.0
    )
    assert sorted(found.order) == list(range(units)) and np.isinf(found.losses[-1])
    for count in range(together, units - 1, together):
        left = np.repeat(found.kept(count), size)
        error = least_error(layer, np.flatnonzero(left), importance)
        assert found.losses[count - 1] == pytest.approx(error, rel=1e-6)
    assert np.all(np.diff(found.losses[:-1]) >= 0)


def test_the_first_to_go_is_the_one_that_costs_least(layer):
    kernel, bias, moments, _ = layer
    found = removal(kernel, bias, moments, 4, damping=0.0)
    errors = [
        least_error(layer, np.flatnonzero(np.arange(INPUTS) // 3 != unit), 1) for unit in range(4)
    ]
    assert found.order[0] == np.argmin(errors)
    pair = min(
        least_error(layer, np.flatnonzero(~np.isin(np.arange(INPUTS) // 3, two)), 1)
        for two in itertools.combinations(range(4), 2)
    )
    assert pair <= found.losses[1] * (1 + 1e-9)  # one by one is not always the best two


def test_no_more_go_than_may(layer):
    kernel, bias, moments, _ = layer
    found = removal(kernel, bias, moments, INPUTS, together=4, most=6)
    assert np.isfinite(found.losses[:6]).all() and np.isinf(found.losses[6:]).all()
    assert found.kept(0).all() and found.kept(INPUTS).sum() == 0


def removals(heads, neurons):
    """Two layers; the second one's units cost ten times as much."""
    found = {}
    for layer, factor in (("encoder_00", 1.0), ("encoder_01", 10.0)):
        for end, count in (("attention/output", heads), ("ffn/output", neurons)):
            losses = factor * np.arange(1, count + 1.0) ** 2 / count
            found[f"{layer}/{end}"] = Removal(np.arange(count), losses)
    return found


COSTS = UnitCosts(1000.0, {1: 820.0, 2: 880.0, 4: 1000.0}, {16: 400.0, 64: 1000.0}, 2, 8, 1)


def test_a_speedup_is_met_with_the_least_loss():
    found = removals(4, 64)
    for speedup in (1.2, 1.6, 2.5):
        counts = choose_counts(found, COSTS.saved_us, dense_us=1000.0, speedup=speedup)
        saved = sum(COSTS.saved_us(name.partition("/")[2], n) for name, n in counts.items())
        assert 1000.0 / (1000.0 - saved) >= speedup * (1 - 1e-9)
        assert counts["encoder_00/ffn/output"] >= counts["encoder_01/ffn/output"]
        assert all(n % 16 == 0 for name, n in counts.items() if "ffn" in name)
    assert sum(counts.values()) > 0


def test_a_speedup_that_is_out_of_reach_is_refused():
    with pytest.raises(UserError, match="would be 4.55 times as fast"):
        choose_counts(removals(4, 64), COSTS.saved_us, dense_us=1000.0, speedup=6.0)


def test_time_between_measured_counts_is_linear_and_never_grows_with_fewer():
    assert COSTS.saved_us("ffn/output", 24) == pytest.approx(600 / 2 * 24 / 48)
    assert COSTS.saved_us("attention/output", 1) == pytest.approx(120 / 2 / 2)
    noisy = UnitCosts(1000.0, {1: 900.0, 2: 880.0, 4: 1000.0}, {}, 1, 8, 1)
    assert noisy.saved_us("attention/output", 2) == noisy.saved_us("attention/output", 3) == 100.0


def test_weights_of_units_that_are_gone_are_zero_in_all_layers():
    wanted = WantedUnits({"encoder_00/attention/output": 1, "encoder_00/ffn/output": 2}, 2, {}, 0.0)
    assert [name.partition("/")[2] for name in wanted.layers("encoder_00/")] == [
        *("attention/query", "attention/key", "attention/value", "attention/output"),
        *("ffn/intermediate", "ffn/output"),
    ]
    assert wanted.layers("encoder_01/") == []

    def one(mask):
        mask = np.array(mask)
        return Reconstruction(np.ones(mask.shape, np.float32), np.ones(mask.shape[1]), mask, 0.0)

    found = {name: one(np.ones([3, 4], bool)) for name in wanted.layers("encoder_00/attention/")}
    gone = np.repeat([[True], [True], [False], [False]], 3, axis=1)
    found["encoder_00/attention/output"] = one(gone)
    joined = wanted.joined(found)
    for name in ("query", "key", "value"):
        layer = joined[f"encoder_00/attention/{name}"]
        assert np.array_equal(layer.mask, gone.T) and np.array_equal(layer.kernel, gone.T)
    assert joined["encoder_00/attention/output"] is found["encoder_00/attention/output"]
