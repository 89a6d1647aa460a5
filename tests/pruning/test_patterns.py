"""Each pattern on a matrix by hand. All are written as TFLite has them, outputs x inputs."""

import numpy as np
import pytest
from test_plan import masks_of

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.pruning.patterns import find_pattern

# Rows are outputs, columns inputs.
KERNEL = np.array(
    [
        [1, 9, 2, 8],
        [7, 3, 6, 4],
        [9, 9, 1, 1],
        [0, 5, 1, 1],
    ],
    float,
)


def pruned(pattern, sparsity, kernel=KERNEL, before=None):
    """The mask of a kernel, outputs x inputs, as rows of text: "#" kept, "." pruned."""
    before = None if before is None else {"a": (np.array(before) == "#").T.astype(np.float32)}
    mask = masks_of(pattern, sparsity, {"a": kernel.T}, before)["a"].T
    return ["".join("#" if kept else "." for kept in row) for row in mask]


def test_unstructured():
    # In Keras's order, input after input, the 1s are at outputs 0, 2, 3, 2, 3: two stay.
    assert pruned("unstructured", 0.25) == ["####", "####", "###.", ".#.."]
    assert pruned("unstructured", 0.5) == [".#.#", "#.##", "##..", ".#.."]


def test_blocks_of_one_output_and_four_inputs():
    # Means 5, 5, 5, 1.75.
    assert pruned("1x4", 0.25) == ["####", "####", "####", "...."]
    assert pruned("1x4", 0.5) == ["####", "####", "....", "...."]


def test_blocks_of_four_outputs_and_one_input():
    # Means 4.25, 6.5, 2.5, 3.5.
    assert pruned("4x1", 0.5) == ["##..", "##..", "##..", "##.."]
    assert pruned("4x1", 0.75) == [".#..", ".#..", ".#..", ".#.."]


def test_large_blocks():
    # Means 5, 5 / 5.75, 1.
    assert pruned("2x2", 0.25) == ["####", "####", "##..", "##.."]
    assert pruned("2x2", 0.5) == ["##..", "##..", "##..", "##.."]
    assert pruned("2x2", 0.75) == ["....", "....", "##..", "##.."]
    # Means 5.375, 3; and 5 / 3.375.
    assert pruned("4x2", 0.5) == ["##..", "##..", "##..", "##.."]
    assert pruned("2x4", 0.5) == ["####", "####", "....", "...."]


def test_two_of_four():
    assert pruned("2:4", 0.5) == [".#.#", "#.#.", "##..", ".##."]
    assert pruned("1:2", 0.5) == [".#.#", "#.#.", "#.#.", ".##."]
    assert pruned("1:4", 0.75) == [".#..", "#...", "#...", ".#.."]


def test_groups_of_n_of_m_fill_up_during_the_ramp():
    """A quarter of the weights: the four lowest of those that 2:4 will prune in the end."""
    pattern = find_pattern("2:4")
    [site] = pattern.sites({"a": (4, 4)}, heads=1, rule="a")
    assert site.group == 4 and site.most_zeros == 2
    may_go = site.may_go(site.means({"a": KERNEL.T}))
    assert may_go.reshape(4, 4).astype(int).tolist() == [
        [1, 0, 1, 0],
        [0, 1, 0, 1],
        [0, 0, 1, 1],
        [1, 0, 0, 1],
    ]


HEADS = 2  # of two columns each


def layer(name):
    return f"encoder_00/{name}"


def test_heads():
    """Head 1 has the lower mean over all four kernels, though not in each."""
    low, high = np.array([1.0, 1, 5, 5]), np.array([4.0, 4, 1, 1])
    scores = {
        layer("attention/query"): np.tile(low, (4, 1)),  # [in, out]: heads are columns
        layer("attention/key"): np.tile(high, (4, 1)),
        layer("attention/value"): np.tile(high, (4, 1)),
        layer("attention/output"): np.tile(high[:, None], (1, 4)),  # and rows here
    }
    masks = masks_of("heads", 0.5, scores, heads=HEADS)
    columns = np.tile([1, 1, 0, 0], (4, 1))
    for name in ("query", "key", "value"):
        np.testing.assert_array_equal(masks[layer(f"attention/{name}")], columns)
    np.testing.assert_array_equal(masks[layer("attention/output")], columns.T)


def test_neurons():
    """Means over both kernels: 2, 2.5, 3, 2."""
    scores = {
        layer("ffn/intermediate"): np.tile([1.0, 2, 3, 4], (4, 1)),  # [in, out]
        layer("ffn/output"): np.tile(np.array([3.0, 3, 3, 0])[:, None], (1, 4)),
    }
    masks = masks_of("neurons", 0.5, scores)
    columns = np.tile([0, 1, 1, 0], (4, 1))
    np.testing.assert_array_equal(masks[layer("ffn/intermediate")], columns)
    np.testing.assert_array_equal(masks[layer("ffn/output")], columns.T)


def test_global_ranks_all_layers_of_a_rule_together():
    """Layer by layer, half of each would go."""
    scores = {"a": KERNEL.T, "b": 10 + KERNEL.T}
    together = masks_of("1x4", 0.5, scores, scope="global")
    assert not together["a"].any() and together["b"].all()
    alone = masks_of("1x4", 0.5, scores)
    assert alone["a"].mean() == alone["b"].mean() == 0.5


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("3x2", "blocks of 3x2 do not divide its kernel of 8x4 .both outputs x inputs"),
        ("1x8", "pattern 1x8 does not fit a: blocks of 1x8 do not divide its kernel of 8x4"),
        ("2:8", "groups of 8 do not divide the 4 inputs of its kernel of 8x4"),
        ("4:2", "pattern 4:2 keeps 4 of 2 weights, so it prunes nothing"),
        ("head", "there is no pattern 'head'.*Did you mean 'heads'"),
        ("124", "YAML reads 2:4 without quotes as a number"),
        ("0x4", "there is no pattern '0x4'"),
        ("heads", "rule '.*' matches a, which has no heads.*Write encoder_.*/attention/.*"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(pattern, message):
    sparsity = 0.75 if ":" in pattern else 0.5
    with pytest.raises(UserError, match=message):
        masks_of(pattern, sparsity, {"a": np.ones((4, 8))})


def test_n_of_m_has_one_sparsity_only():
    with pytest.raises(UserError, match="asks for sparsity 0.9, but the pattern 2:4 is 0.5 by its"):
        masks_of("2:4", 0.9, {"a": np.ones((4, 8))})


def test_a_joint_pattern_needs_all_its_kernels():
    with pytest.raises(UserError, match="leaves out encoder_00/ffn/output. neurons are pruned in"):
        masks_of("neurons", 0.5, {layer("ffn/intermediate"): np.ones((4, 8))})
