import numpy as np
import pytest

from tf_prune_ofa.pruning.joint_sparsities import Layer, averaged_gradients, joint_sparsities

RNG = np.random.default_rng(0)


def layer(gradient=1.0, *, scale=1.0, inputs=12, outputs=10):
    tokens = np.hstack([RNG.normal(size=(400, inputs)) * scale, np.ones((400, 1))])
    kernel = RNG.normal(size=(inputs, outputs))
    gram = tokens.T @ tokens / len(tokens)
    return Layer(kernel, RNG.normal(size=outputs), gram, np.full(outputs, float(gradient)))


def test_layers_that_matter_more_keep_more():
    layers = {"much": layer(10.0), "little": layer(0.1), "large": layer(0.1, scale=10.0)}
    found = joint_sparsities(layers, 0.6)
    assert found["much"] < found["little"]
    # A weight on large inputs does as much as one on large gradients.
    assert found["large"] < found["little"]
    assert np.mean(list(found.values())) == pytest.approx(0.6, abs=0.01)


def test_one_layer_has_the_sparsity_that_is_asked_for():
    assert joint_sparsities({"only": layer()}, 0.75)["only"] == pytest.approx(0.75, abs=0.01)


def test_no_layer_goes_beyond_the_most():
    layers = {"much": layer(1e6), "nothing": layer(1e-6)}
    found = joint_sparsities(layers, 0.5, most=0.8)
    assert found["nothing"] == pytest.approx(0.8, abs=0.01)
    assert found["much"] == pytest.approx(0.2, abs=0.01)


def test_a_redundant_input_is_cheap_although_its_weights_are_large():
    """What the diagonal alone does not see: the rest makes up for it."""
    tokens = RNG.normal(size=(400, 12))
    tokens[:, 6:] = tokens[:, :6] + 0.01 * RNG.normal(size=(400, 6))
    tokens = np.hstack([tokens, np.ones((400, 1))])
    redundant = Layer(RNG.normal(size=(12, 10)), np.zeros(10), tokens.T @ tokens / 400, np.ones(10))
    found = joint_sparsities({"redundant": redundant, "free": layer()}, 0.4, rounds=8)
    assert found["redundant"] > found["free"]


def test_each_task_counts_alike_whatever_the_size_of_its_loss():
    kernels = {"a": RNG.normal(size=(3, 2)), "b": RNG.normal(size=(3, 2))}
    first = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
    second = {"a": np.array([5.0, 1.0]), "b": np.array([0.5, 0.1])}
    wanted = averaged_gradients([first, second], kernels)
    thousand = {name: value * 1000 for name, value in second.items()}
    found = averaged_gradients([first, thousand], kernels)
    for name in kernels:
        np.testing.assert_allclose(found[name], wanted[name])
    # Together a task's gradients come to 1.
    alone = averaged_gradients([first], kernels)
    sums = [alone[name].mean() * np.square(kernels[name]).sum() for name in kernels]
    assert sum(sums) == pytest.approx(1.0)
