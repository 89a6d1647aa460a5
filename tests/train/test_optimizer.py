import numpy as np
import pytest

from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.train.optimizer import adamw


def reference(value, gradients, rates, weight_decay):
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) in float64; rates include the schedule."""
    value, m, v = value.astype(np.float64), 0.0, 0.0
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        unbiased = m / (1 - 0.9**t), v / (1 - 0.999**t)
        value = value - rate * (unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + weight_decay * value)
    return value


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("encoder_00/ffn/output/kernel", True),
        ("quantize_annotate_4/kernel", True),
        ("embeddings/word/embeddings", True),
        ("encoder_00/ffn/output/bias", False),
        ("quantize_annotate_4/bias", False),
        ("encoder_00/ffn/norm/gamma", False),
        ("encoder_00/ffn/norm/beta", False),
    ],
)
def test_steps_are_those_of_adamw(name, decays):
    rng = np.random.default_rng(0)
    start = rng.normal(0, 1, [3, 4]).astype(np.float32)
    gradients = rng.normal(0, 1, [8, 3, 4]).astype(np.float32)
    schedule = LearningRateSchedule(0.1, total=8, warmup=3)
    variable = tf.Variable(start, name=name)
    optimizer = adamw(schedule, [variable], weight_decay=0.1)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    rates = [schedule.rate(step) for step in range(8)]
    expected = reference(start, gradients, rates, 0.1 if decays else 0.0)
    # Eight steps of float32 near 1; without decay the two differ by about 0.3.
    np.testing.assert_allclose(variable, expected, rtol=0, atol=5e-6)


def test_moments_exist_before_the_first_step():
    """So that a checkpoint can be restored into them."""
    variable = tf.Variable(tf.ones([2, 3]), name="a/kernel")
    optimizer = adamw(LearningRateSchedule(1e-3, 10), [variable], weight_decay=0.01)
    shapes = [tuple(v.shape) for v in optimizer.variables]
    assert shapes.count((2, 3)) == 2 and int(optimizer.iterations) == 0


def test_a_rate_of_zero_changes_nothing():
    """The step at the end of a run, and the first of a warm-up."""
    variable = tf.Variable([[1.0, -2.0]], name="a/kernel")
    optimizer = adamw(LearningRateSchedule(0.1, 5, warmup=2), [variable], weight_decay=0.5)
    optimizer.apply_gradients([(tf.constant([[3.0, 4.0]]), variable)])
    assert variable.numpy().tolist() == [[1, -2]]
    optimizer.apply_gradients([(tf.constant([[3.0, 4.0]]), variable)])
    assert np.all(variable.numpy() != [[1, -2]])


def test_rows_that_have_no_gradient_are_treated_as_keras_does():
    """Embeddings have gradients of some rows only; the moments of the others fade."""
    rng = np.random.default_rng(0)
    start = rng.normal(0, 1, [6, 3]).astype(np.float32)
    dense, sparse = (tf.Variable(start, name="word/embeddings") for _ in range(2))
    optimizers = [
        adamw(LearningRateSchedule(0.1, 4), [variable], weight_decay=0.01)
        for variable in (dense, sparse)
    ]
    for step in range(3):
        rows = np.array([step, 5])
        values = rng.normal(0, 1, [2, 3]).astype(np.float32)
        full = np.zeros_like(start)
        full[rows] = values
        optimizers[0].apply_gradients([(tf.constant(full), dense)])
        optimizers[1].apply_gradients([(tf.IndexedSlices(values, rows, start.shape), sparse)])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=0, atol=5e-6)
