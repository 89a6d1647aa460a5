"""Each score by hand, then in training: ranked, counted, and resumed."""

import numpy as np
import pytest
from small_models import compiled, dense_batches, hard_distiller

from tf_prune_ofa.config import FisherSettings, SparsitySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning import scores
from tf_prune_ofa.pruning.gradual import (
    UpdateMasks,
    gradient_observer,
    pruning_wrap,
    wrapper_masks,
)
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.pruning.plan import plan_pools
from tf_prune_ofa.pruning.rules import Rule
from tf_prune_ofa.pruning.scores import Score, find_score, register_score
from tf_prune_ofa.schedules import SparsitySchedule

KERNEL = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
GRADIENTS = np.array([[[1, 1], [-2, 0]], [[0, 1], [1, 4]], [[3, -1], [1, 0]]], np.float32)


def make(name, **fisher):
    settings = SparsitySettings(score=name, fisher=FisherSettings(**fisher))
    return find_score(name)(settings, 7)


def after(score, gradients):
    """The values of KERNEL's score after these gradients."""
    kernel = tf.Variable(KERNEL)
    shapes = score.statistics(KERNEL.shape)
    statistics = {name: tf.Variable(tf.zeros(shape)) for name, shape in shapes.items()}
    for gradient in gradients:
        score.observe(kernel, tf.constant(gradient), statistics)
    return score.values("a", KERNEL, {name: v.numpy() for name, v in statistics.items()})


def test_magnitude():
    assert after(make("magnitude"), GRADIENTS).tolist() == [[1, 2], [3, 0.5]]


def test_random_is_the_same_for_a_seed_and_layer():
    first, other = make("random"), find_score("random")(SparsitySettings(), 8)
    np.testing.assert_array_equal(after(first, []), after(first, GRADIENTS))
    assert np.all(after(first, []) != after(other, []))
    assert np.all(after(first, []) != first.values("b", KERNEL, {}))


def test_movement():
    """-w · sum of g: 1 · 4, -2 · 1, 3 · 0, 0.5 · 4."""
    assert after(make("movement"), GRADIENTS).tolist() == [[-4, 2], [0, -2]]


def test_fisher_diagonal():
    """w² · mean of g² / 2: sums of g² are 10, 3, 6, 16."""
    expected = np.array([[1 * 10, 4 * 3], [9 * 6, 0.25 * 16]]) / 6
    np.testing.assert_allclose(after(make("fisher_diagonal"), GRADIENTS), expected, rtol=1e-6)


def test_fisher_block_uses_the_last_gradients():
    score = make("fisher_block", gradients=2, block=1, dampening=0.5)
    mean = (GRADIENTS[1] ** 2 + GRADIENTS[2] ** 2) / 2
    np.testing.assert_allclose(after(score, GRADIENTS), KERNEL**2 * (mean + 0.5) / 2, rtol=1e-6)


# In training

NAMES = ("magnitude", "random", "movement", "fisher_diagonal", "fisher_block")
SCHEDULE = SparsitySchedule(0.75, begin=2, ramp_end=6, mask_end=6, frequency=2)
SIZE, STEPS = 8, 9


class Trained:
    """A layer [8, 4] that is pruned while it learns, and its checkpoint."""

    def __init__(self, score, pattern="unstructured"):
        x = keras.Input([SIZE], name="x")
        rule = {"a": Rule("a", 0.75, pattern)}
        self.pools = plan_pools(rule, {"a": (SIZE, 4)}, SCHEDULE, heads=1)
        layer = pruning_wrap(self.pools, score)(keras.layers.Dense(4, name="a"))
        self.student = keras.Model({"x": x}, {"logits": layer(x)})
        values = np.random.default_rng(0).normal(0, 1, [SIZE, 4])
        dense_kernels(self.student)["a"].assign(values)
        observe = gradient_observer(self.student, score)
        masks = wrapper_masks(self.student)
        lock = PatternLock(dense_kernels(self.student), masks, observe)
        self.distiller = compiled(hard_distiller(self.student, lock=lock))
        self.updates = UpdateMasks(self.pools, self.student, score)
        self.checkpoint = tf.train.Checkpoint(
            student=self.student, optimizer=self.distiller.optimizer
        )

    def train(self, start, stop):
        batches = dense_batches(start, stop, size=SIZE)
        self.distiller.fit(batches, verbose=0, callbacks=[self.updates])

    @property
    def mask(self):
        return wrapper_masks(self.student)["a"].numpy()

    @property
    def kernel(self):
        return dense_kernels(self.student)["a"].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_two_parts_is_the_run_in_one(name, tmp_path):
    """Step 5 lies between two updates, with statistics half gathered."""
    whole, first, second = (Trained(make(name, gradients=2)) for _ in range(3))
    whole.train(0, STEPS)
    first.train(0, 5)
    path = first.checkpoint.save(str(tmp_path / "part"))
    second.checkpoint.restore(path)
    second.train(5, STEPS)
    np.testing.assert_array_equal(second.mask, whole.mask)
    np.testing.assert_array_equal(second.kernel, whole.kernel)
    assert int((whole.mask == 0).sum()) == 24 and not whole.kernel[whole.mask == 0].any()


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_blocks_are_means_of_weights(name):
    trained = Trained(make(name, gradients=2), pattern="1x4")
    trained.train(0, STEPS)
    blocks = trained.mask.T.reshape(-1, 4)
    assert np.all(blocks == blocks[:, :1]) and int(blocks[:, 0].sum()) == 2


def test_compensation_moves_kept_weights():
    plain, moved = (
        Trained(make("fisher_block", gradients=2, block=4, compensate=value))
        for value in (False, True)
    )
    for trained in (plain, moved):
        trained.train(0, 5)  # the first weights are pruned at step 4
    np.testing.assert_array_equal(plain.mask, moved.mask)
    kept = plain.mask > 0
    assert np.any(plain.kernel[kept] != moved.kernel[kept]) and not moved.kernel[~kept].any()


def test_unknown_scores_are_refused():
    with pytest.raises(UserError, match="no score 'movment'.*Did you mean 'movement'"):
        find_score("movment")


def test_a_score_of_one_s_own(monkeypatch):
    class Negative(Score):
        def values(self, name, kernel, statistics):
            return -np.abs(kernel)

    monkeypatch.setattr(scores, "_SCORES", dict(scores._SCORES))
    register_score("negative", Negative)
    trained = Trained(make("negative"))
    largest = np.argmax(np.abs(trained.kernel))
    trained.train(0, STEPS)
    assert trained.mask.ravel()[largest] == 0
    with pytest.raises(UserError, match="a score 'negative' already"):
        register_score("negative", Negative)
