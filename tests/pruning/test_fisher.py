"""The blocks' arithmetic against explicit matrices."""

import numpy as np
import pytest

from tf_prune_ofa.pruning.fisher import BlockFisher

DAMPENING = 1e-3


def inverses(gradients, block):
    """F⁻¹ of each whole block, by definition; gradients [m, in, out]."""
    rows = np.array([gradient.T.ravel() for gradient in gradients])  # outputs x inputs
    for start in range(0, rows.shape[1], block):
        part = rows[:, start : start + block]
        fisher = DAMPENING * np.eye(part.shape[1]) + part.T @ part / len(part)
        yield start, np.linalg.inv(fisher)


@pytest.mark.parametrize(("count", "block"), [(3, 4), (7, 4), (1, 2), (4, 5), (2, 64)])
def test_scores_are_those_of_the_explicit_inverse(count, block):
    rng = np.random.default_rng(count)
    kernel = rng.normal(size=(6, 4)).astype(np.float32)
    gradients = rng.normal(size=(count, 6, 4)).astype(np.float32)
    expected = np.zeros(24)
    for start, inverse in inverses(gradients.astype(float), block):
        weights = kernel.T.ravel()[start : start + block].astype(float)
        expected[start : start + block] = weights**2 / (2 * np.diag(inverse))
    scores = BlockFisher(gradients, block, DAMPENING).scores(kernel)
    np.testing.assert_allclose(scores, expected.reshape(4, 6).T, rtol=1e-6)


def test_one_weight_a_block_is_the_diagonal():
    gradients = np.array([[[1.0, 3.0]], [[2.0, 0.0]]])
    scores = BlockFisher(gradients, 1, DAMPENING).scores(np.array([[2.0, 1.0]]))
    # w² (d + mean g²) / 2
    np.testing.assert_allclose(scores, [[2 * 2.501, 4.501 / 2]], rtol=1e-12)


def test_compensation_is_the_least_increase_with_the_pruned_weights_at_zero():
    rng = np.random.default_rng(0)
    kernel, gradients = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    kept = rng.random((4, 3)) < 0.5
    moved = BlockFisher(gradients, 4, DAMPENING).compensated(kernel, kept)
    assert not moved[~kept].any()
    # One block is one output here. Free weights: F[K, K] δ_K = -F[K, Q] δ_Q, with δ_Q = -w_Q.
    for output, (_, inverse) in enumerate(inverses(gradients, 4)):
        fisher, keep = np.linalg.inv(inverse), kept[:, output]
        gone = -kernel[~keep, output]
        delta = -np.linalg.solve(fisher[np.ix_(keep, keep)], fisher[np.ix_(keep, ~keep)] @ gone)
        np.testing.assert_allclose(moved[keep, output], kernel[keep, output] + delta, rtol=1e-6)


def test_large_kernels_are_taken_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    kernel, gradients = rng.normal(size=(7, 9)), rng.normal(size=(3, 7, 9))
    kept = rng.random((7, 9)) < 0.5
    fisher = BlockFisher(gradients, 5, DAMPENING)
    whole = fisher.scores(kernel), fisher.compensated(kernel, kept)
    monkeypatch.setattr("tf_prune_ofa.pruning.fisher._NUMBERS_AT_A_TIME", 50)
    np.testing.assert_allclose(fisher.scores(kernel), whole[0], rtol=1e-12)
    np.testing.assert_allclose(fisher.compensated(kernel, kept), whole[1], rtol=1e-12)
