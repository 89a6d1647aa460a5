"""A small model that is no BERT: pruned, trained, quantized."""

from dataclasses import replace

import numpy as np
import pytest

import tf_prune_ofa as ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf

CLASSES, WIDTH = 3, 16


def made_model():
    keras.utils.set_random_seed(0)
    x = keras.Input([8], name="features")
    h = keras.layers.Dense(WIDTH, name="first")(x)
    h = keras.layers.ReLU(name="relu")(h)
    h = keras.layers.Dense(WIDTH, activation="relu", name="second")(h)
    return keras.Model(x, keras.layers.Dense(CLASSES, name="logits")(h))


@pytest.fixture(scope="module")
def data():
    """Points around three corners, with their numbers as labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 256)
    points = rng.normal(0, 0.3, [256, 8]).astype(np.float32)
    points[np.arange(256), labels] += 1.5
    return points, labels


@pytest.fixture(scope="module")
def batches(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(32)


def accuracy(model, data):
    logits = model({"features": data[0]} if isinstance(model.input, dict) else data[0])
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return float(np.mean(np.argmax(logits, -1) == data[1]))


@pytest.fixture(scope="module")
def teacher(batches):
    return ofa.prunable(made_model()).train(batches, steps=60, learning_rate=1e-2).model


@pytest.fixture(scope="module")
def sparse(teacher, batches):
    return ofa.prunable(teacher).prune(
        batches, steps=60, rules={"first|second": 0.75}, learning_rate=1e-2, teacher=teacher
    )


def test_it_learns_then_loses_exactly_the_asked_share(teacher, sparse, data):
    assert accuracy(teacher, data) > 0.95
    assert sparse.sparsity == pytest.approx(0.75, abs=1e-3)
    assert set(sparse.masks) == {"first", "second"}
    assert accuracy(sparse.model, data) > 0.9
    # The model that was given is as it was.
    assert np.all(teacher.get_layer("first").kernel.numpy())


def zeros_are_kept(net):
    for name, mask in net.masks.items():
        layer = next(one for one in net.model.layers if one.name.endswith(name))
        kernel = next(v for v in layer.weights if v.name.split("/")[-1].startswith("kernel"))
        assert np.all(kernel.numpy()[~mask] == 0)
        assert np.any(kernel.numpy()[mask] != 0)
    return True


def test_training_keeps_the_zeros_and_moves_the_rest(sparse, teacher, batches):
    trained = sparse.train(batches, steps=10, learning_rate=1e-2, teacher=teacher)
    assert zeros_are_kept(trained)
    before = sparse.model.get_layer("first").kernel.numpy()
    assert np.any(trained.model.get_layer("first").kernel.numpy() != before)


def test_int8_training_keeps_the_zeros_and_learns_ranges(sparse, teacher, batches, data):
    int8 = sparse.quantize(batches, steps=10, teacher=teacher)
    assert zeros_are_kept(int8)
    assert {"first", "relu", "second", "logits"} <= set(int8.ranges)
    assert all(low < high for low, high in int8.ranges.values())
    assert accuracy(int8.model, data) > 0.9


def test_pruning_another_layer_keeps_the_zeros_of_before(sparse, batches):
    both = sparse.prune(batches, steps=30, rules={"logits": 0.5})
    assert set(both.masks) == {"first", "second", "logits"}
    assert zeros_are_kept(both)
    assert np.array_equal(both.masks["first"], sparse.masks["first"])


def test_a_model_that_comes_sparse_keeps_its_zeros(sparse, batches):
    came = ofa.prunable(sparse.model)
    assert came.sparsity == sparse.sparsity
    assert zeros_are_kept(came.train(batches, steps=3))


def test_masks_that_are_not_the_models_are_refused(sparse, batches):
    for masks in ({"first": sparse.masks["first"]}, {n: ~m for n, m in sparse.masks.items()}):
        with pytest.raises(UserError, match="the sparsity pattern is broken in the model"):
            replace(sparse, masks=masks).train(batches, steps=3)


def nested():
    x = keras.Input([8])
    return keras.Model(x, keras.Sequential([keras.layers.Dense(2)], name="inner")(x))


def shared():
    x = keras.Input([8])
    layer = keras.layers.Dense(8, name="twice")
    return keras.Model(x, layer(layer(x)))


def with_softmax():
    x = keras.Input([8])
    return keras.Model(x, keras.layers.Dense(2, activation="softmax", name="end")(x))


def without_dense():
    x = keras.Input([8])
    return keras.Model(x, keras.layers.ReLU()(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nested, "'inner' is a model of its own"),
        (shared, "'twice' is used 2 times"),
        (with_softmax, "'end' ends in a softmax"),
        (without_dense, "no Dense layer"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "known input shapes"),
        (lambda: "model", "got str"),
    ],
)
def test_what_cannot_be_pruned_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        ofa.prunable(make())


def test_wrong_settings_are_refused_before_training(batches):
    net = ofa.prunable(made_model())
    with pytest.raises(UserError, match="matches no layer"):
        net.prune(batches, steps=10, rules={"third": 0.5})
    with pytest.raises(UserError, match="there is no teacher"):
        net.train(batches, steps=10, loss={"soft": 1.0})
    with pytest.raises(UserError, match="teacher would do nothing"):
        net.train(batches, steps=10, teacher=made_model(), loss={"hard": 1.0})
    with pytest.raises(UserError, match="too few"):
        net.prune(batches, steps=1, score="fisher_diagonal")
    with pytest.raises(UserError, match="for each of the outputs"):
        ofa.prunable(made_model(), kinds={"other": "value"})
