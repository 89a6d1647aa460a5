import numpy as np
import pytest

from tf_prune_ofa.config import SparsitySettings
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.pruning.ranking import observed_scores
from tf_prune_ofa.pruning.scores import find_score

KERNEL = np.float32([[1, -2], [3, 0.5]])
STEPS = (1.0, 3.0)


def scores(name):
    """Of a layer whose loss at a step is the sum of its weights' squares times a number."""
    kernel = tf.Variable(KERNEL)
    score = find_score(name)(SparsitySettings(), 0)

    def loss(step):
        return STEPS[step] * tf.reduce_sum(tf.square(kernel)) / 2

    return observed_scores(score, {"layer": kernel}, loss, len(STEPS), title="test")["layer"]


def test_any_score_ranks():
    np.testing.assert_array_equal(scores("magnitude"), np.abs(KERNEL))
    # Gradients are w and 3 w.
    np.testing.assert_allclose(scores("movement"), -4 * KERNEL**2)
    np.testing.assert_allclose(scores("fisher_diagonal"), KERNEL**2 * (1 + 9) * KERNEL**2 / 4)
    assert scores("random").shape == KERNEL.shape


def test_a_score_without_gradients_asks_for_none():
    def loss(step):
        pytest.fail("no gradient is needed")

    score = find_score("magnitude")(SparsitySettings(), 0)
    observed_scores(score, {"layer": tf.Variable(KERNEL)}, loss, 2, title="test")
