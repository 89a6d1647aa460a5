import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_prune_ofa.distill.losses import (
    attention_loss,
    channels_loss,
    default_teacher_layers,
    hard_loss,
    hidden_loss,
    layerwise_loss,
    match_layers,
    regression_loss,
    soft_loss,
    soft_regression_loss,
    squarehead_loss,
    weighted_mean,
)
from tf_prune_ofa.keras_compat import tf

RNG = np.random.default_rng(0)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def reference_soft(student, teacher, temperature, weights):
    """The papers' formula in float64, an example at a time."""
    total = 0.0
    for index in np.ndindex(weights.shape):
        p = log_softmax(teacher[index].astype(np.float64) / temperature)
        q = log_softmax(student[index].astype(np.float64) / temperature)
        total += weights[index] * sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / weights.sum()


# By hand


def test_soft_loss_by_hand():
    """softmax([1, 0]) = [0.7311, 0.2689]; against [0.5, 0.5] KL is 0.1109; T² makes 4 of it."""
    loss = soft_loss(tf.constant([[0.0, 0.0]]), tf.constant([[2.0, 0.0]]), temperature=2.0)
    assert float(loss) == pytest.approx(0.4438, abs=5e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.5])
def test_equal_logits_have_no_soft_loss(temperature):
    logits = tf.constant(RNG.normal(0, 10, [4, 7, 30]), tf.float32)
    assert float(soft_loss(logits, logits, temperature)) == 0.0


def test_logits_that_differ_by_a_constant_are_equal():
    logits = tf.constant([[3.0, 1.0, -2.0]])
    # The constant costs a rounding.
    assert float(soft_loss(logits + 5.0, logits, 2.0)) == pytest.approx(0, abs=1e-6)


def test_hard_loss_by_hand():
    logits = tf.math.log([[3.0, 1.0], [1.0, 1.0]])
    labels = tf.constant([0, 1])
    first, second = np.log(4 / 3), np.log(2)
    assert float(hard_loss(logits, labels)) == pytest.approx((first + second) / 2, abs=1e-6)
    assert float(hard_loss(logits, labels, [0, 1])) == pytest.approx(second, abs=1e-6)


def test_regression_by_hand():
    values, scores = tf.constant([[1.0], [2.0], [5.0]]), tf.constant([2.0, 2.0, 2.0])
    assert float(regression_loss(values, scores)) == pytest.approx(10 / 3, abs=1e-6)
    assert float(regression_loss(values, scores, [1.0, 1.0, 0.0])) == 0.5
    teacher = tf.constant([[2.0], [4.0], [5.0]])
    assert float(soft_regression_loss(values, teacher)) == pytest.approx(5 / 3, abs=1e-6)
    assert float(soft_regression_loss(teacher, teacher)) == 0.0


def test_weighted_mean():
    assert float(weighted_mean(tf.constant([1.0, 3.0]))) == 2.0
    assert float(weighted_mean(tf.constant([1.0, 3.0]), [0, 1])) == 3.0
    assert float(weighted_mean(tf.constant([1.0, 3.0]), [0.0, 0.0])) == 0.0


def test_layer_losses_by_hand():
    mask = tf.constant([[1, 1, 0]])
    zeros = tf.zeros([1, 3, 2])
    states = tf.constant([[[1.0, 1.0], [3.0, 1.0], [100.0, 100.0]]])  # padding is far off
    # Token means 1 and 5, mean 3; two layers add up.
    assert float(hidden_loss([states, states], [zeros, zeros], mask)) == 6.0
    scores = np.full([1, 2, 3, 3], 100.0, np.float32)
    scores[0, :, :2, :2] = [[1, 2], [3, 4]]
    # Pairs of tokens, both heads alike: (1 + 4 + 9 + 16) / 4.
    assert float(attention_loss([tf.constant(scores)], [tf.zeros_like(scores)], mask)) == 7.5


# Against NumPy


@given(
    hnp.arrays(np.float32, (3, 4, 6), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (3, 4, 6), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (3, 4), elements=st.sampled_from([0.0, 1.0])),
    st.sampled_from([1.0, 2.0, 5.5]),
)
def test_losses_are_those_of_numpy(student, teacher, weights, temperature):
    if not weights.any():
        weights[0, 0] = 1
    # 1e-5 of the largest logit's size: log-softmax in float32 rounds at 20 · 6e-8, T² scales it.
    soft = float(soft_loss(tf.constant(student), tf.constant(teacher), temperature, weights))
    assert soft == pytest.approx(
        reference_soft(student, teacher, temperature, weights), rel=1e-5, abs=1e-5 * temperature**2
    )
    labels = np.argmax(teacher, -1)
    picked = np.take_along_axis(log_softmax(student.astype(np.float64)), labels[..., None], -1)
    expected = -(picked[..., 0] * weights).sum() / weights.sum()
    assert float(hard_loss(tf.constant(student), labels, weights)) == pytest.approx(
        expected, rel=1e-5, abs=1e-5
    )


# Padding and gradients


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_padding_takes_no_part(temperature):
    weights = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    student, teacher = RNG.normal(0, 1, [2, 2, 3, 5]).astype(np.float32)
    garbage = np.where(weights[..., None] > 0, student, 1e4).astype(np.float32)
    labels = RNG.integers(0, 5, [2, 3])
    for loss in (
        lambda logits: soft_loss(logits, teacher, temperature, weights),
        lambda logits: hard_loss(logits, labels, weights),
    ):
        variable = tf.Variable(student)
        with tf.GradientTape() as tape:
            value = loss(variable)
        gradient = tape.gradient(value, variable).numpy()
        assert float(loss(tf.constant(garbage))) == float(value)
        assert not np.any(gradient[weights == 0]) and np.all(gradient[weights > 0])


def test_a_batch_of_padding_has_loss_and_gradient_zero():
    logits = tf.Variable(RNG.normal(0, 1, [2, 5]), dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = soft_loss(logits, tf.zeros([2, 5]), 2.0, [0, 0]) + hard_loss(logits, [1, 2], [0, 0])
    assert float(value) == 0.0
    assert not np.any(tape.gradient(value, logits).numpy())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_gradient_of_the_soft_loss(temperature):
    """T · (softmax(student/T) - softmax(teacher/T)) / N: one T of the T² is left."""
    student, teacher = RNG.normal(0, 2, [2, 3, 4]).astype(np.float32)
    variable = tf.Variable(student)
    with tf.GradientTape() as tape:
        value = soft_loss(variable, teacher, temperature)
    difference = np.exp(log_softmax(student / temperature)) - np.exp(
        log_softmax(teacher / temperature)
    )
    # Float32 rounding of probabilities, times T.
    np.testing.assert_allclose(
        tape.gradient(value, variable), temperature * difference / 3, rtol=0, atol=1e-6
    )


def test_half_precision_logits_are_widened_first():
    logits = tf.constant([[2.0, 0.0]], tf.float16)
    loss = soft_loss(tf.zeros([1, 2], tf.float16), logits, 2.0)
    assert loss.dtype == tf.float32 and float(loss) == pytest.approx(0.4438, abs=5e-5)
    assert hard_loss(logits, [0]).dtype == tf.float32


# Layer by layer


def reference_states(student, teacher, mask):
    """Σ over layers of the mean squared error over tokens that are not padding, in float64."""
    total = 0.0
    for one, other in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        errors = [((one[b, t] - other[b, t]) ** 2).mean() for b, t in np.argwhere(mask)]
        total += sum(errors) / len(errors)
    return total


def reference_scores(student, teacher, mask):
    """The same of attention scores, over pairs of tokens and over heads."""
    total = 0.0
    for one, other in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        errors = [
            ((one[b, :, i, j] - other[b, :, i, j]) ** 2).mean()
            for b in range(len(mask))
            for i in np.flatnonzero(mask[b])
            for j in np.flatnonzero(mask[b])
        ]
        total += sum(errors) / len(errors)
    return total


def layers_of(values):
    return [tf.constant(value) for value in values]


def test_sparsebert_s_terms_are_those_of_numpy():
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    states = RNG.normal(0, 3, [2, 4, 3, 5, 8]).astype(np.float32)
    scores = RNG.normal(0, 3, [2, 3, 3, 2, 5, 5]).astype(np.float32)
    hidden = hidden_loss(*map(layers_of, states), tf.constant(mask))
    attention = attention_loss(*map(layers_of, scores), tf.constant(mask))
    assert float(hidden) == pytest.approx(reference_states(*states, mask), rel=1e-5)
    assert float(attention) == pytest.approx(reference_scores(*scores, mask), rel=1e-5)


def test_soft_cross_entropy_and_divergence_have_one_gradient():
    """SparseBERT's code has the cross-entropy: the same but for the teacher's own entropy."""
    student, teacher = RNG.normal(0, 2, [2, 6, 3]).astype(np.float32)
    variable = tf.Variable(student)
    with tf.GradientTape(persistent=True) as tape:
        cross_entropy = tf.reduce_mean(
            -tf.reduce_sum(tf.nn.softmax(teacher) * tf.nn.log_softmax(variable), -1)
        )
        divergence = soft_loss(variable, teacher, temperature=1.0)
    np.testing.assert_allclose(
        tape.gradient(divergence, variable), tape.gradient(cross_entropy, variable), atol=1e-6
    )
    log_teacher = log_softmax(teacher.astype(np.float64))
    entropy = -(np.exp(log_teacher) * log_teacher).sum(-1).mean()
    assert float(cross_entropy - divergence) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize(
    ("errors", "matched"),
    [
        ([[1, 2, 3], [3, 1, 2]], [0, 1]),
        # The last teacher layer chooses first, and the one before it only among those below.
        ([[9, 8, 1], [9, 9, 1]], [1, 2]),
        ([[9, 8, 1], [9, 1, 2]], [0, 1]),
        # The best student layer of the last would leave none for the other two.
        ([[5, 5, 5], [5, 5, 5], [1, 2, 3]], [0, 1, 2]),
        ([[4, 3, 2, 1]], [3]),
        ([[1, 1]], [0]),
    ],
)
def test_matching_by_hand(errors, matched):
    assert match_layers(tf.constant(errors, tf.float32)).numpy().tolist() == matched


@given(hnp.arrays(np.float32, (3, 6), elements=st.floats(0, 9, width=32)))
def test_matching_keeps_the_order_of_layers(errors):
    matched = match_layers(tf.constant(errors)).numpy()
    assert np.all(np.diff(matched) > 0)
    # The last one has the least error among the student layers that leave room for two below.
    assert errors[2, matched[2]] == errors[2, 2:].min()


def test_squarehead_counts_layers_alike_whatever_their_size():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], np.float32)
    is_token = mask > 0
    error = np.mean((student - teacher)[is_token] ** 2) / np.mean(teacher[is_token] ** 2)
    found = squarehead_loss([student, student * 237], [teacher, teacher * 237], tf.constant(mask))
    assert float(found) == pytest.approx(2 * error, rel=1e-5)
    zeros = np.zeros_like(teacher)
    assert float(squarehead_loss([zeros], [teacher], tf.constant(mask))) == pytest.approx(1.0)
    # A teacher of zeros has no scale: no error of it may become NaN.
    assert float(squarehead_loss([student], [zeros], tf.constant(mask))) == 0.0


def test_channels_loss_counts_channels_alike_whatever_their_size():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], np.float32)
    is_token = mask > 0
    error = np.mean((student - teacher)[is_token] ** 2, 0) / np.var(teacher[is_token], 0)
    sizes = np.array([1, 237, 20, 30, 1], np.float32)
    found = channels_loss([student, student * sizes], [teacher, teacher * sizes], tf.constant(mask))
    # Of the second layer the channels of size 1 vary less than a twentieth of the middle one.
    kept = np.where(sizes > 1, error, 0).sum() / 5
    floor = 0.05 * np.sort(np.var((teacher * sizes)[is_token], 0))[2]
    kept += np.mean((student - teacher)[is_token] ** 2, 0)[[0, 4]].sum() / floor / 5
    assert float(found) == pytest.approx(np.mean(error) + kept, rel=1e-4)
    means = np.broadcast_to(teacher[is_token].mean(0), teacher.shape)
    assert float(channels_loss([means], [teacher], tf.constant(mask))) == pytest.approx(1.0)
    # A teacher of zeros has no scale: no error of it may become NaN.
    zeros = np.zeros_like(teacher)
    assert float(channels_loss([student], [zeros], tf.constant(mask))) == 0.0


def test_layerwise_loss_by_hand():
    mask = tf.constant([[1, 0]])

    def states(*values):
        return [tf.constant([[[v, v], [77.0, -77.0]]]) for v in values]

    # Embeddings (100) take no part. Teacher layer 2 (3.0) is nearest to student layer 1 (2.0),
    # teacher layer 4 (7.0) to student layer 3 (5.0): 1 + 4.
    student, teacher = states(100.0, 2.0, 9.5, 5.0), states(0.0, 1.0, 3.0, 4.0, 7.0)
    assert float(layerwise_loss(student, teacher, mask, (2, 4))) == 5.0
    # By default every third from the last: layers 1 and 4, 1.0 against 2.0 and 7.0 against 5.0.
    assert float(layerwise_loss(student, teacher, mask)) == 5.0
    variables = [tf.Variable(state) for state in student]
    with tf.GradientTape() as tape:
        loss = layerwise_loss(variables, teacher, mask, (2, 4))
    gradients = [np.abs(g.numpy()).sum() for g in tape.gradient(loss, variables[1:])]
    assert gradients[1] == 0 and gradients[0] > 0 and gradients[2] > 0


@pytest.mark.parametrize(
    ("count", "layers"), [(12, (3, 6, 9, 12)), (6, (3, 6)), (4, (1, 4)), (1, (1,))]
)
def test_default_teacher_layers(count, layers):
    assert default_teacher_layers(count) == layers
