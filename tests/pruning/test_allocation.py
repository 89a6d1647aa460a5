import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.pruning.allocation import Level, allocate, site_levels
from tf_prune_ofa.pruning.patterns import find_pattern

SPARSITIES = (0.0, 0.5, 0.75, 0.9, 0.95)


def brute_force(levels, budget):
    """The least loss of all combinations within the budget."""
    combinations = itertools.product(*levels.values())
    losses = [
        sum(level.loss for level in combination)
        for combination in combinations
        if sum(level.cost for level in combination) <= budget
    ]
    return min(losses)


# Costs and losses in any order: measured ones are not monotonic.
numbers = st.lists(st.integers(0, 2500), min_size=20, max_size=20)


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.integers(0, 100))
def test_four_layers_of_five_levels_as_brute_force(costs, losses, extra):
    rows = [
        [Level(s, c, loss) for s, c, loss in zip(SPARSITIES, costs[i:], losses[i:], strict=False)]
        for i in range(0, 20, 5)
    ]
    levels = dict(zip("abcd", rows, strict=True))
    least = sum(min(level.cost for level in row) for row in rows)
    # Costs are whole parts of the budget, so nothing is rounded.
    budget = 10_000
    chosen = allocate(levels, budget)
    assert list(chosen) == list("abcd") and all(chosen[n] in levels[n] for n in levels)
    assert sum(level.cost for level in chosen.values()) <= budget
    assert sum(level.loss for level in chosen.values()) == brute_force(levels, budget)
    # Others are rounded up: still within the budget, and nearly as good.
    budget = least + extra / 7
    chosen = allocate(levels, budget)
    assert sum(level.cost for level in chosen.values()) <= budget
    loss = sum(level.loss for level in chosen.values())
    assert loss >= brute_force(levels, budget)
    if budget * (1 - 4 / 10_000) > least:
        assert loss <= brute_force(levels, budget * (1 - 4 / 10_000))


def test_a_budget_that_cannot_be_met_is_refused():
    levels = {"a": [Level(0, 10, 0), Level(0.5, 6, 1)], "b": [Level(0, 4, 0)]}
    assert allocate(levels, 10)["a"].sparsity == 0.5
    with pytest.raises(UserError, match="budget is 9.9, but the cheapest .* cost 10"):
        allocate(levels, 9.9)


def test_a_sensitive_layer_stays_denser():
    def layer(harm):
        return [Level(s, 100 * (1 - s), harm * s**2) for s in SPARSITIES]

    chosen = allocate({"sensitive": layer(10), "sturdy": layer(1), "other": layer(1)}, 100)
    assert chosen["sensitive"].sparsity < min(chosen["sturdy"].sparsity, chosen["other"].sparsity)


def test_levels_of_a_kernel():
    """Rows of blocks 1x2 (outputs x inputs): means 1, 3, 2, 2, with half of them gone 1 and 2."""
    kernel = np.array([[1, 2], [1, 2], [3, 2], [3, 2]], np.float32)  # [in, out]
    [site] = find_pattern("1x2").sites({"a": (4, 2)}, heads=1, rule="a")
    seen = []

    def cost(masks):
        seen.append(masks["a"].astype(int).tolist())
        return float(masks["a"].sum())

    dense, half = site_levels(site, {"a": kernel}, [0.0, 0.5], cost)
    assert (dense, half.cost) == (Level(0.0, 8.0, 0.0), 4.0)
    assert half.loss == pytest.approx((1 + 1 + 4 + 4) / (9 + 9 + 4 + 4))
    assert seen == [[[1, 1]] * 4, [[0, 1], [0, 1], [1, 0], [1, 0]]]
