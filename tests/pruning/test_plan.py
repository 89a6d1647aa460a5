import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_prune_ofa.pruning.plan import asked_sparsity, keep_highest, plan_pools
from tf_prune_ofa.pruning.rules import Rule
from tf_prune_ofa.schedules import SparsitySchedule, zeros_of


def at_once(final, **options):
    """A schedule that asks for its final sparsity at step 0."""
    return SparsitySchedule(final, begin=0, ramp_end=0, mask_end=0, frequency=1, **options)


def masks_of(pattern, sparsity, scores, before=None, *, scope="layer", heads=2):
    """The masks of one update, of kernels pruned by one rule; `scores` [in, out] by name."""
    rule = Rule(".*", sparsity, pattern)
    shapes = {name: score.shape for name, score in scores.items()}
    rules = dict.fromkeys(scores, rule)
    pools = plan_pools(rules, shapes, at_once(sparsity), heads=heads, scope=scope)
    if before is None:
        before = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    return {n: m for pool in pools for n, m in pool.masks(0, scores, before).items()}


def mask_of(kernel, sparsity, before=None, pattern="unstructured"):
    before = None if before is None else {"a": before}
    return masks_of(pattern, sparsity, {"a": np.abs(kernel)}, before)["a"]


def slow_mask(weights, zeros, before=None):
    """One weight at a time: the pruned ones go first, then the smallest, of equals the last."""
    flat = weights.ravel()
    was_pruned = np.zeros(flat.size, bool) if before is None else before.ravel() == 0
    order = sorted(range(flat.size), key=lambda i: (not was_pruned[i], abs(flat[i]), -i))
    mask = np.ones(flat.size, np.float32)
    for index in order[:zeros]:
        mask[index] = 0
    return mask.reshape(weights.shape)


# Few different values: most weights are tied, many are zero.
tied_kernels = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 2.0**-100, np.inf]),
)


@settings(deadline=None)  # on a busy machine
@given(tied_kernels, st.floats(0, 0.99), st.randoms())
def test_mask_is_the_slow_one_and_its_count_exact(kernel, share, random):
    zeros = zeros_of(kernel.size, share)
    mask = mask_of(kernel, share)
    assert mask.dtype == np.float32 and mask.shape == kernel.shape
    assert int((mask == 0).sum()) == zeros and set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(mask, slow_mask(kernel, zeros))
    more = random.uniform(share, 0.99)
    second = mask_of(kernel, more, before=mask)
    np.testing.assert_array_equal(second, slow_mask(kernel, zeros_of(kernel.size, more), mask))
    assert np.all(second <= mask)


def test_all_or_none_may_be_kept():
    scores = np.array([[1.0, np.inf], [-np.inf, 0.0]])
    assert not keep_highest(scores, 4).any() and keep_highest(scores, 0).all()


def test_mask_of_equal_weights_keeps_the_first():
    assert keep_highest(np.ones((2, 3)), 4).tolist() == [[True, True, False], [False] * 3]


def test_mask_of_sparse_weights_has_the_asked_count():
    """A threshold would be 0 here, and |w| >= 0 keeps everything."""
    kernel = np.zeros((10, 10), np.float32)
    kernel[0, :5] = 1
    mask = mask_of(kernel, 0.85)
    assert int((mask == 0).sum()) == 85 and np.all(mask[0, :5] == 1)


def test_a_pruned_weight_ranks_below_a_kept_zero():
    before = np.array([[0, 0, 1, 1]], np.float32)
    kernel = np.array([[0, 0, 0, 3]], np.float32)
    assert mask_of(kernel, 0.5, before).tolist() == [[0, 0, 1, 1]]
    assert mask_of(kernel, 0.75, before).tolist() == [[0, 0, 0, 1]]


def test_a_pruned_weight_stays_pruned_even_where_fewer_zeros_are_asked():
    before = np.array([[0, 0, 1, 1]], np.float32)
    assert mask_of(np.ones((1, 4)), 0.25, before).tolist() == [[0, 0, 1, 1]]


def test_counts_follow_the_decimal_sparsity_not_its_float32():
    """0.9 · 15 is 13.5, rounded up to 14; with a float32 0.9 it would be 13."""
    assert int((mask_of(np.ones((3, 5)), 0.9) == 0).sum()) == 14


def test_asked_sparsity_weighs_layers_by_their_weights():
    """One of two heads of 4 · 16 weights, and 2 of 8 blocks of 4 weights."""
    names = ("query", "key", "value", "output")
    shapes = {f"encoder_00/attention/{name}": (4, 4) for name in names} | {"pooler": (4, 8)}
    rules = {name: Rule("attention", 0.5, "heads") for name in shapes}
    rules["pooler"] = Rule("pooler", 0.25, "2x2")
    pools = plan_pools(rules, shapes, at_once(0.5), heads=2)
    assert [(pool.units, pool.weights) for pool in pools] == [(2, 64), (8, 32)]
    assert asked_sparsity(pools, steps=1) == (32 + 8) / 96
