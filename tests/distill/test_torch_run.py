"""The long run in PyTorch against tf_keras; needs PyTorch, which this package does not ask for."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_models import ENCODER, encoder, inputs  # noqa: E402

from tf_prune_ofa.distill import torch_run  # noqa: E402
from tf_prune_ofa.distill.torch_encoder import (  # noqa: E402
    Sizes,
    embed,
    hidden_states,
    torch_weights,
)
from tf_prune_ofa.distill.torch_texts import Mixture, Texts, write_texts  # noqa: E402
from tf_prune_ofa.keras_compat import tf  # noqa: E402
from tf_prune_ofa.models import bert  # noqa: E402

CONFIG = dataclasses.replace(ENCODER, num_layers=2, max_positions=128)
SIZES = {"num_layers": 2, "num_heads": 2, "epsilon": 1e-12}


def weights(seed):
    model = encoder(seed=seed, config=CONFIG, hidden_states=True)
    arrays = {name: variable.numpy() for name, variable in bert.parameters(model).items()}
    return model, {k: v for k, v in arrays.items() if not k.startswith("classifier/")}


@pytest.fixture
def settings(tmp_path):
    """A teacher, a student with half of its weights, and texts of 5 to 30 tokens."""
    _, teacher = weights(0)
    rng = np.random.default_rng(0)
    start = {
        name: value * (rng.random(value.shape) < 0.5) * 1.2
        if name.startswith("encoder_") and name.endswith("kernel")
        else value
        for name, value in teacher.items()
    }
    np.savez(tmp_path / "teacher.npz", **teacher)
    np.savez(tmp_path / "start.npz", **{k: v.astype(np.float32) for k, v in start.items()})
    lengths = rng.integers(5, 30, 60)
    texts = [(rng.integers(1, CONFIG.vocab_size, n), int(rng.integers(2, n))) for n in lengths]
    write_texts(tmp_path / "a.npz", texts)
    write_texts(tmp_path / "b.npz", texts[:10])
    return torch_run.Settings(
        start=str(tmp_path / "start.npz"),
        teacher=str(tmp_path / "teacher.npz"),
        texts={"a": str(tmp_path / "a.npz"), "b": str(tmp_path / "b.npz")},
        mix={"a": 0.7, "b": 0.3},
        held_out=str(tmp_path / "b.npz"),
        calibration=["a", "b"],
        out=str(tmp_path / "out"),
        sizes=SIZES,
        steps=8,
        learning_rate=1e-2,
        warmup=2,
        tokens=128,
        bfloat16=False,
        checkpoint_every=2,
    )


def keras_inputs(batch):
    names = ("input_word_ids", "input_type_ids", "input_mask")
    return {name: tf.constant(value, tf.int32) for name, value in zip(names, batch, strict=True)}


def test_hidden_states_are_those_of_keras():
    model, arrays = weights(3)
    batch = inputs(5, 12, config=CONFIG)
    batch["input_type_ids"][:, 4:] = 1
    wanted = model(batch, training=False)
    found = torch_weights(arrays, torch.float32)
    ids, types = (
        torch.from_numpy(batch[name]).long() for name in ("input_word_ids", "input_type_ids")
    )
    mask = torch.from_numpy(batch["input_mask"])
    embedded = embed(found, ids, types, Sizes(**SIZES))
    states = [embedded, *hidden_states(found, embedded, mask, Sizes(**SIZES))]
    is_token = batch["input_mask"] > 0
    for index, state in enumerate(states):
        keras_state = wanted[f"hidden_states/{index:02d}"].numpy()
        np.testing.assert_allclose(state.numpy()[is_token], keras_state[is_token], atol=2e-5)


def test_a_step_is_that_of_keras(settings):
    """Loss, gradients masked and clipped, Adam: all weights after one step."""
    run = torch_run.Run(settings)
    run.done = 1
    batch = run.mixture.batch(1)
    model, arrays = weights(0)
    student, _ = weights(1)
    start = dict(np.load(settings.start))
    for name, variable in bert.parameters(student).items():
        if name in start:
            variable.assign(start[name])
    trained = {n: v for n, v in bert.parameters(student).items() if n in run.trained}
    token_weights = batch[2].copy()
    token_weights[:, 0] = settings.first_token
    token_weights /= token_weights.sum()
    taught = model(keras_inputs(batch), training=False)
    with tf.GradientTape() as tape:
        found = student(keras_inputs(batch), training=False)
        errors = [
            tf.reduce_sum(
                tf.reduce_mean(
                    tf.square(found[name] - taught[name]) * run.inverse_variances[layer].numpy(), -1
                )
                * token_weights
            )
            for layer, name in enumerate(["hidden_states/01", "hidden_states/02"])
        ]
        loss = tf.reduce_mean(errors)
    gradients = [
        np.where(variable.numpy() != 0, gradient, 0) if name.endswith("kernel") else gradient
        for (name, variable), gradient in zip(
            trained.items(), tape.gradient(loss, list(trained.values())), strict=True
        )
    ]
    norm = np.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients))
    assert norm > settings.clip_norm / 100
    rate = settings.learning_rate / settings.warmup
    found_loss = float(run.step())
    assert found_loss == pytest.approx(float(loss), rel=1e-4)
    for (name, variable), gradient in zip(trained.items(), gradients, strict=True):
        clipped = np.asarray(gradient) * min(1.0, settings.clip_norm / norm)
        # Adam's first step, with both moments corrected.
        wanted = variable.numpy() - rate * clipped / (np.abs(clipped) + 1e-8)
        after = run.trained[name].dense(tuple(variable.shape))
        sure = np.abs(clipped) > 1e-5  # where rounding cannot turn the sign
        np.testing.assert_allclose(after[sure], wanted[sure], atol=rate * 0.02, err_msg=name)
        if name.endswith("kernel"):
            np.testing.assert_array_equal(after[variable.numpy() == 0], 0)


def test_training_brings_the_error_down_and_keeps_the_pattern(settings):
    settings = dataclasses.replace(settings, steps=60, save_every=1000)
    run = torch_run.Run(settings)
    before = np.mean(run.judge())
    run.train()
    assert np.mean(run.judge()) < 0.7 * before
    start, end = np.load(settings.start), np.load(run.out / "step60.npz")
    for name in start.files:
        if name.endswith("kernel") and name.startswith("encoder_"):
            np.testing.assert_array_equal(end[name] == 0, start[name] == 0)
        if name.startswith(("embeddings", "pooler")):
            np.testing.assert_array_equal(end[name], np.load(settings.teacher)[name])


def test_a_killed_run_ends_as_an_unbroken_one(settings, tmp_path):
    whole = torch_run.Run(settings)
    whole.train()
    parts = dataclasses.replace(settings, out=str(tmp_path / "parts"))
    first = torch_run.Run(parts)
    for _ in range(5):  # the checkpoint is at step 4
        first.done += 1
        first.step()
        first._write()
        if first.done == 4:
            first._checkpoint()
    torch_run.Run(parts).train()
    one, other = (np.load(folder / "step8.npz") for folder in (whole.out, tmp_path / "parts"))
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name])


def test_pruning_while_training_ends_at_the_sparsities_asked_for(settings, tmp_path):
    goal = {name.removesuffix("/kernel"): 0.75 for name in torch_run.Run(settings).first_sparsities}
    goal["encoder_00/ffn/output"] = 0.9
    (tmp_path / "goal.json").write_text(json.dumps(goal))
    settings = dataclasses.replace(
        settings, sparsities=str(tmp_path / "goal.json"), prune=(2, 6, 1), out=str(tmp_path / "p")
    )
    run = torch_run.Run(settings)
    run.train()
    end = np.load(run.out / "step8.npz")
    for name, sparsity in goal.items():
        assert np.mean(end[f"{name}/kernel"] == 0) == pytest.approx(sparsity, abs=0.01)


def test_the_least_of_the_fisher_goes_first():
    kept = torch_run.Kept(torch.tensor([[3.0, 0.0, 1.0], [2.0, -4.0, 0.0]]), is_kernel=True)
    kept.second = torch.tensor([1.0, 100.0, 4.0, 0.01])  # of 3, 1, 2 and -4
    kept.prune(4 / 6)
    np.testing.assert_array_equal(
        kept.dense((3, 2)).T, np.array([[0, 0, 1], [2, 0, 0]], np.float32)
    )


def test_batches_of_a_step_are_the_same_ones_and_hold_whole_texts(settings):
    texts = {name: Texts(path) for name, path in settings.texts.items()}
    mixtures = [Mixture(texts, settings.mix, 128, seed=5) for _ in range(2)]
    for step in (9, 3):
        one, other = (mixture.batch(step) for mixture in mixtures)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
        ids, types, mask = one
        assert ids.shape[1] in (16, 32) and ids.size <= 128
        np.testing.assert_array_equal(ids > 0, mask > 0)  # no word of these texts is 0
        assert not types[mask == 0].any()


def test_blocks_go_and_stay_whole():
    values = torch.tensor([[1.0, 1.0, 5.0, 0.1], [2.0, 2.0, 3.0, 3.0]])
    kept = torch_run.Kept(values, is_kernel=True)
    kept.second = torch.ones(8)  # sums of squares: 2, 25.01, 8, 18
    kept.prune(0.5, block=2)
    np.testing.assert_array_equal(
        kept.dense((4, 2)).T, np.array([[0, 0, 5, 0.1], [0, 0, 3, 3]], np.float32)
    )


def test_a_start_that_is_not_in_blocks_is_refused_before_training(settings):
    with pytest.raises(ValueError, match="of the start is not in blocks of 4"):
        torch_run.Run(dataclasses.replace(settings, block=4))
    # As many weights as blocks would have, but not in them.
    kept = torch_run.Kept(torch.tensor([[1.0, 0.0, 0.0, 2.0]]), is_kernel=True)
    with pytest.raises(ValueError, match="some have 1 to 1 weights"):
        kept.require_blocks(2, "kernel")
    torch_run.Kept(torch.tensor([[0.0, 0.0, 3.0, 2.0]]), is_kernel=True).require_blocks(2, "kernel")


def test_some_tokens_of_a_batch_become_others_of_it(settings):
    texts = {name: Texts(path) for name, path in settings.texts.items()}
    plain = Mixture(texts, settings.mix, 128, seed=5)
    noisy = Mixture(texts, settings.mix, 128, seed=5, replaced=0.5)
    changed = []
    for step in range(20):
        (ids, *same), (others, *same_too) = plain.batch(step), noisy.batch(step)
        for a, b in zip(same, same_too, strict=True):
            np.testing.assert_array_equal(a, b)
        is_token = same[1] > 0
        np.testing.assert_array_equal(others[~is_token], 0)
        np.testing.assert_array_equal(others[:, 0], ids[:, 0])
        assert set(others[is_token]) <= set(ids[is_token])
        changed.append(np.mean(others[is_token] != ids[is_token]))
    assert min(changed) < 0.1 and 0.3 < max(changed) < 0.5


def test_a_batch_holds_each_text_as_it_was_written(tmp_path):
    texts = [(np.arange(1, n + 1), second) for n, second in ((5, 5), (16, 3), (9, 1))]
    write_texts(tmp_path / "texts.npz", texts)
    ids, types, mask = Texts(tmp_path / "texts.npz").batch([2, 0], 16)
    assert ids.tolist() == [[*range(1, 10), *[0] * 7], [*range(1, 6), *[0] * 11]]
    assert types.tolist() == [[0, *[1] * 8, *[0] * 7], [0] * 16]
    assert mask.tolist() == [[1] * 9 + [0] * 7, [1] * 5 + [0] * 11]
