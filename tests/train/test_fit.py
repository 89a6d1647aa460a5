import json

import numpy as np
import pytest
from small_models import TASK, dense, dense_batches

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill.distiller import Distiller
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.train.fit import Run, fit, remove_checkpoints

STEPS = 12


class Stop(Exception):
    """Ends a run as a power cut would, as far as one process can tell."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            raise Stop


def run_in(folder, *, total=STEPS, every=5):
    schedule = LearningRateSchedule(0.1, total, warmup=2)
    return Run("test", folder, schedule, batch_size=4, weight_decay=0.01, checkpoint_every=every)


def train(folder, model=None, *, batches=None, total=STEPS, every=5, **options):
    """Fits a new model, or goes on where the folder says; returns its weights."""
    model = model or dense()
    distiller = Distiller(model, TASK, LossSettings())
    batches = batches or (lambda start: dense_batches(start, total))
    fit(distiller, batches, run_in(folder, total=total, every=every), **options)
    return [weight.numpy() for weight in model.weights]


def steps_of(folder):
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return train(folder), folder


def test_training_takes_all_steps(unbroken):
    weights, folder = unbroken
    assert any(np.any(a != b.numpy()) for a, b in zip(weights, dense().weights, strict=True))
    assert steps_of(folder) == list(range(1, STEPS + 1))
    names = {path.name for path in (folder / "checkpoint").iterdir()}
    assert {"ckpt-5.index", "ckpt-10.index"} <= names


@pytest.mark.parametrize("stops", [[2], [6], [4, 0], [8, 3, 1]])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path, unbroken, stops):
    for batch in stops:
        with pytest.raises(Stop):
            train(tmp_path, callbacks=lambda start, batch=batch: [StopAt(batch)])
    for resumed, expected in zip(train(tmp_path), unbroken[0], strict=True):
        np.testing.assert_array_equal(resumed, expected)
    assert steps_of(tmp_path) == list(range(1, STEPS + 1))


def test_callbacks_and_batches_are_told_where_the_run_starts(tmp_path):
    with pytest.raises(Stop):
        train(tmp_path, callbacks=lambda start: [StopAt(7)])
    asked = []

    def batches(start):
        asked.append(start)
        return dense_batches(start, STEPS)

    train(tmp_path, batches=batches, callbacks=lambda start: asked.append(start) or [])
    assert asked == [5, 5]


def test_a_finished_run_is_not_trained_again(tmp_path):
    weights = train(tmp_path, every=STEPS)

    def no_batches(start):
        raise AssertionError("trained again")

    asked = []
    again = train(tmp_path, every=STEPS, batches=no_batches, before_save=asked.append)
    for first, second in zip(weights, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert asked == ["the trained model"]


def test_before_save_is_asked_before_each_checkpoint_and_at_the_end(tmp_path):
    asked = []
    train(tmp_path, before_save=asked.append)
    assert asked == ["the checkpoint of step 5", "the checkpoint of step 10", "the trained model"]


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / ".partial-0123-model").mkdir()
    (tmp_path / ".partial-0123-masks.npz").write_bytes(b"half")
    train(tmp_path)
    assert not list(tmp_path.rglob(".partial*"))


def test_finished_checkpoints_can_be_removed(tmp_path):
    train(tmp_path)
    remove_checkpoints(tmp_path)
    remove_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoint").exists() and (tmp_path / "metrics.jsonl").exists()


# What goes wrong


@pytest.mark.parametrize("damage", ["cut data", "empty data", "no data", "cut index", "no index"])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, damage):
    train(tmp_path)
    data, index = (
        next((tmp_path / "checkpoint").glob(f"ckpt-10.{ending}")) for ending in ("data*", "index")
    )
    damaged = data if damage.endswith("data") else index
    if damage.startswith("no"):
        damaged.unlink()
    else:
        size = damaged.stat().st_size // 2 if damage.startswith("cut") else 0
        damaged.write_bytes(damaged.read_bytes()[:size])
    with pytest.raises(UserError) as error:
        train(tmp_path)
    message = str(error.value)
    assert "ckpt-10 cannot be read (" in message
    assert f"Delete the folder {tmp_path / 'checkpoint'} to start this stage" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        train(tmp_path, dense(units=5))


@pytest.mark.parametrize("bad_step", [0, 3, 4, STEPS - 1])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, bad_step):
    """In the last step too: a model of NaN must not pass for a trained one."""

    def batches(start):
        def spoil(step, batch):
            x = tf.where(step == bad_step, np.nan, batch[0]["x"])
            return {"x": x}, batch[1]

        return dense_batches(start, STEPS).enumerate(start).map(spoil)

    with pytest.raises(
        UserError, match="loss is no longer a finite number. Lower the learning rate"
    ):
        train(tmp_path, batches=batches)
    kept = tf.train.latest_checkpoint(str(tmp_path / "checkpoint"))
    assert kept is None or int(kept.rpartition("-")[2]) <= bad_step


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")

    def no_batches(start):
        raise AssertionError("trained")

    for folder in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(UserError, match="Cannot write"):
            train(folder, batches=no_batches)
