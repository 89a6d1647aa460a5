"""Where a long run begins; needs PyTorch, which this package does not ask for."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_models import ENCODER, encoder  # noqa: E402

from tf_prune_ofa.distill import torch_start  # noqa: E402
from tf_prune_ofa.distill.torch_encoder import (  # noqa: E402
    Sizes,
    embed,
    layer,
    padding_scores,
    torch_weights,
)
from tf_prune_ofa.distill.torch_texts import write_texts  # noqa: E402
from tf_prune_ofa.keras_compat import tf  # noqa: E402
from tf_prune_ofa.models import bert  # noqa: E402
from tf_prune_ofa.models.bert import Classification  # noqa: E402

CONFIG = dataclasses.replace(ENCODER, num_layers=2, max_positions=128)
SIZES = {"num_layers": 2, "num_heads": 2, "epsilon": 1e-12}


@pytest.mark.parametrize("outputs", [1, 3])
def test_squared_gradients_are_those_of_keras(outputs):
    """Of texts of one token, whose gradient by output is that of the bias."""
    model = encoder(Classification(outputs), seed=2, config=CONFIG)
    arrays = {name: variable.numpy() for name, variable in bert.parameters(model).items()}
    biases = {
        name.removesuffix("/bias"): variable
        for name, variable in bert.parameters(model).items()
        if name.startswith("encoder_") and name.endswith("/bias")
    }
    labels = np.array([0.5, 2.0, 1.0], np.float32) if outputs == 1 else np.array([0, 2, 1])
    wanted = {name: 0.0 for name in biases}
    for word, label in zip((3, 7, 11), labels, strict=True):
        batch = {
            "input_word_ids": tf.constant([[word]]),
            "input_mask": tf.constant([[1]]),
            "input_type_ids": tf.constant([[0]]),
        }
        with tf.GradientTape() as tape:
            logits = model(batch, training=False)["logits"]
            if outputs == 1:
                loss = 0.5 * tf.square(logits[0, 0] - label)
            else:
                loss = -tf.nn.log_softmax(logits)[0, int(label)]
        gradients = tape.gradient(loss, list(biases.values()))
        for name, gradient in zip(biases, gradients, strict=True):
            if gradient is not None:
                wanted[name] = wanted[name] + gradient.numpy() ** 2 / 3
    ids = np.array([[3], [7], [11]])
    texts = (ids, np.zeros_like(ids), np.ones(ids.shape, np.float32))
    found = torch_start.squared_gradients(
        torch_weights(arrays, torch.float32), [(texts, labels)], Sizes(**SIZES)
    )
    assert found.keys() == {name for name in biases}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-7, err_msg=name)


def test_squared_gradients_of_states_are_those_of_each_state_by_itself():
    """The mean over draws of signs against one backward pass for each channel of each token."""
    model = encoder(Classification(2), seed=2, config=CONFIG)
    arrays = {name: variable.numpy() for name, variable in bert.parameters(model).items()}
    weights, sizes = torch_weights(arrays, torch.float32), Sizes(**SIZES)
    ids = np.array([[3, 7, 11], [5, 9, 0]])
    mask = np.array([[1, 1, 1], [1, 1, 0]], np.float32)
    batch = (ids, np.zeros_like(ids), mask)

    record = {}
    x = embed(weights, torch.from_numpy(ids), torch.from_numpy(batch[1]), sizes).requires_grad_()
    for index in range(sizes.num_layers):
        x = layer(
            x,
            padding_scores(torch.from_numpy(mask)),
            weights,
            f"encoder_{index:02d}",
            sizes,
            record,
        )
    states = x[torch.from_numpy(mask).bool()]
    deviation = states.detach().std(0)
    names = [name for name in record if f"{name}/kernel" in weights]
    wanted = {name: 0.0 for name in names}
    for value in (states / deviation).reshape(-1):
        gradients = torch.autograd.grad(value, [record[name] for name in names], retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            own = gradient[torch.from_numpy(mask).bool()].double()
            wanted[name] = wanted[name] + own.square().sum(0).numpy() / 5

    draws = [
        torch_start.squared_gradients_of_states(weights, [batch], sizes, seed)
        for seed in range(300)
    ]
    assert draws[0].keys() == set(names)
    for name in names:
        found = np.mean([draw[name] for draw in draws], 0)
        assert found.sum() == pytest.approx(wanted[name].sum(), rel=0.1, abs=1e-9), name
        if wanted[name].sum() > 1e-9:  # the bias of keys moves nothing
            assert np.corrcoef(found, wanted[name])[0, 1] > 0.9, name


def test_an_encoder_is_pruned_to_the_sparsity_with_less_error_than_by_magnitude(tmp_path):
    model = encoder(Classification(2), seed=2, config=CONFIG)
    arrays = {name: variable.numpy() for name, variable in bert.parameters(model).items()}
    np.savez(tmp_path / "teacher.npz", **arrays)
    encoder_arrays = {k: v for k, v in arrays.items() if not k.startswith("classifier")}
    np.savez(tmp_path / "dense.npz", **encoder_arrays)
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 30, 80)
    texts = [(rng.integers(1, CONFIG.vocab_size, n), int(rng.integers(2, n))) for n in lengths]
    write_texts(tmp_path / "task.npz", texts)
    np.save(tmp_path / "labels.npy", rng.integers(0, 2, 80))
    settings = torch_start.Settings(
        encoder=str(tmp_path / "dense.npz"),
        teachers={"task": str(tmp_path / "teacher.npz")},
        labels={"task": str(tmp_path / "labels.npy")},
        texts={"task": str(tmp_path / "task.npz")},
        examples={"task": 80},
        out=str(tmp_path / "start.npz"),
        sizes=SIZES,
        sparsity=0.5,
        most=0.8,
        rounds=3,
        every_token=["task"],
        goal=(0.7, 0.9),
    )
    torch_start.main(settings)
    found = dict(np.load(tmp_path / "start.npz"))
    goal = json.loads((tmp_path / "start.json").read_text())
    later = json.loads((tmp_path / "start.goal.json").read_text())
    assert later.keys() == goal.keys()
    assert all(later[name] >= goal[name] for name in goal)
    kernels = [f"{name}/kernel" for name in goal]
    assert len(kernels) == 12
    zeros = {name: np.mean(found[name] == 0) for name in kernels}
    sizes = np.array([found[name].size for name in kernels])
    assert sum(zeros[n] * s for n, s in zip(kernels, sizes, strict=True)) / sizes.sum() == (
        pytest.approx(0.5, abs=0.02)
    )
    assert max(zeros.values()) < 0.82
    by_magnitude = dict(encoder_arrays)
    for name in kernels:
        least = np.quantile(np.abs(arrays[name]), zeros[name])
        by_magnitude[name] = np.where(np.abs(arrays[name]) > least, arrays[name], 0)

    def last_states(weights):
        inputs = torch_start.Inputs(
            torch_weights(weights, torch.float32),
            [batch for batch, _ in torch_start._batches(
                torch_start.Texts(tmp_path / "task.npz"), np.arange(80)
            )],
            Sizes(**SIZES),
        )  # fmt: skip
        inputs.ascend("encoder_00")
        inputs.ascend("encoder_01")
        return inputs._states

    wanted, ours, theirs = map(last_states, (encoder_arrays, found, by_magnitude))

    def error(states):
        return sum(float((a - b).square().sum()) for a, b in zip(states, wanted, strict=True))

    assert error(ours) < 0.8 * error(theirs)
