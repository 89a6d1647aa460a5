import json

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.train.callbacks import AtStep, MetricsLog, Progress, SaveCheckpoints


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics_log(folder, *, start_step=0, total_steps=10, every=3, **options):
    log = MetricsLog(
        folder,
        start_step=start_step,
        total_steps=total_steps,
        batch_size=4,
        every=every,
        learning_rate=lambda step: 0.1 * step,
        **options,
    )
    log.on_train_begin()
    return log


def train(callback, start, stop):
    """What `fit` calls, with the step's number as its loss."""
    for batch, step in enumerate(range(start, stop)):
        callback.on_train_batch_begin(batch)
        callback.on_train_batch_end(batch, {"loss": float(step + 1), "loss_hard": 2.0 * (step + 1)})


# Metrics


def test_a_line_has_the_means_since_the_last_one(tmp_path):
    log = metrics_log(tmp_path, extra=lambda step: {"sparsity": step / 100})
    train(log, 0, 10)
    lines = lines_of(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [3, 6, 9, 10]  # the last step always has one
    assert [line["loss"] for line in lines] == [2.0, 5.0, 8.0, 10.0]
    assert [line["loss_hard"] for line in lines] == [4.0, 10.0, 16.0, 20.0]
    # The rate that step 3 was taken with is that of step 2, counted from 0.
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.2, 0.5, 0.8, 0.9])
    assert [line["sparsity"] for line in lines] == [0.03, 0.06, 0.09, 0.1]
    assert all(line["examples_per_s"] > 0 for line in lines)


def test_tensorboard_has_the_same_values(tmp_path):
    train(metrics_log(tmp_path), 0, 6)
    values = {}
    for file in (tmp_path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                values[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert values["loss", 3] == 2.0 and values["loss_hard", 6] == 10.0
    assert {tag for tag, _ in values} == {"loss", "loss_hard", "learning_rate", "examples_per_s"}


def test_a_resumed_run_has_each_step_once(tmp_path):
    train(metrics_log(tmp_path), 0, 8)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": 1.2')  # killed while writing
    train(metrics_log(tmp_path, start_step=3), 3, 10)
    assert [line["step"] for line in lines_of(tmp_path / "metrics.jsonl")] == [3, 6, 9, 10]


def test_a_line_that_was_cut_at_its_end_is_dropped_and_the_others_stay(tmp_path):
    train(metrics_log(tmp_path, every=1), 0, 4)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-10])
    metrics_log(tmp_path, start_step=4)
    assert [line["step"] for line in lines_of(path)] == [1, 2, 3]


def test_a_new_run_starts_a_new_file(tmp_path):
    train(metrics_log(tmp_path), 0, 10)
    metrics_log(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


# Checkpoints


@pytest.fixture
def saving(tmp_path):
    """A callback's maker, and what it saves: a variable that holds the step."""
    variable = tf.Variable(0)
    checkpoint = tf.train.Checkpoint(variable=variable)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)

    def run(start, stop, *, every, **options):
        callback = SaveCheckpoints(manager, start_step=start, every=every, **options)
        for batch, step in enumerate(range(start, stop)):
            variable.assign(step + 1)
            callback.on_train_batch_end(batch)

    return run, manager


def stored(path):
    return int(tf.train.load_checkpoint(path).get_tensor("variable/.ATTRIBUTES/VARIABLE_VALUE"))


def test_checkpoints_come_at_multiples_and_carry_their_step(saving):
    run, manager = saving
    run(0, 11, every=3)
    assert [path.rpartition("-")[2] for path in manager.checkpoints] == ["6", "9"]
    assert [stored(path) for path in manager.checkpoints] == [6, 9]


def test_checkpoints_of_a_resumed_run_keep_the_rhythm(saving):
    run, manager = saving
    run(7, 13, every=3)
    assert [path.rpartition("-")[2] for path in manager.checkpoints] == ["9", "12"]


def test_what_is_wrong_is_not_saved(saving):
    run, manager = saving
    asked = []

    def check(where):
        asked.append(where)
        if len(asked) == 2:
            raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        run(0, 9, every=3, before_save=check)
    assert asked == ["the checkpoint of step 3", "the checkpoint of step 6"]
    assert [path.rpartition("-")[2] for path in manager.checkpoints] == ["3"]


# Other


@pytest.mark.parametrize(
    ("at", "start", "acted_before"),
    [
        (0, 0, [0]),
        (4, 0, [4]),
        (9, 0, [9]),
        (10, 0, []),  # the run ends before
        (4, 4, [4]),
        (4, 6, [6]),  # a resumed run catches up
        (4, 2, [4]),
    ],
)
def test_at_step(at, start, acted_before):
    step, acted = start, []
    callback = AtStep(at, lambda: acted.append(step), start_step=start)
    while step < 10:
        callback.on_train_batch_begin(step - start)
        step += 1
    assert acted == acted_before


def test_progress_names_the_stage_and_counts_from_the_resumed_step(capsys):
    bar = Progress("prune", start_step=4, total_steps=6)
    bar.on_train_begin()
    for batch in range(2):
        bar.on_train_batch_end(batch, {"loss": np.float32(0.5)})
    bar.on_train_end()
    shown = capsys.readouterr().err
    assert "prune: " in shown and "6/6" in shown and "loss=0.500" in shown
