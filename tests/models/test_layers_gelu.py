"""GELU with a gradient of its own gives what TensorFlow's gives."""

import math

import numpy as np
import pytest

from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models.layers import Gelu

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=500) * 3, [0.0, -20.0, 20.0]]).astype(np.float32)


@pytest.mark.parametrize("approximate", [False, True])
def test_values_are_those_of_inference(approximate):
    layer = Gelu(approximate)
    np.testing.assert_array_equal(layer(X, training=True), layer(X))


@pytest.mark.parametrize("approximate", [False, True])
def test_gradient(approximate):
    x = tf.constant(X)
    weights = tf.constant(RNG.normal(size=X.shape).astype(np.float32))

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(Gelu(approximate)(x, training=True) * weights)
        return tape.gradient(total, x)

    def gelu(z):
        inner = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        return z * (0.5 * (1 + math.tanh(inner)) if approximate else 0.5 * math.erfc(-z / 2**0.5))

    # In double precision, by differences.
    slopes = [(gelu(z + 1e-5) - gelu(z - 1e-5)) / 2e-5 for z in X.astype(np.float64)]
    np.testing.assert_allclose(gradient(x), weights * slopes, rtol=0, atol=4e-6)
