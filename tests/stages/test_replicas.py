"""Training on several replicas, against one device with the same batches."""

import socket
import time

import numpy as np
import pytest
from small_runs import last_step, metrics, only, recipe, run, run_well, stage_folder, start

from tf_prune_ofa.pruning.lock import load_masks

STEPS = 20


@pytest.fixture(scope="module")
def data(inputs):
    """What replicas could disagree about: how many words count, gradients' scores, masks."""
    sparsity = {"score": "fisher_diagonal", "begin": 2, "rules": {"encoder_.*": 0.8}}
    return recipe(
        inputs,
        model={"dropout": 0.0},
        prune={
            "start": "model",
            "teacher": "",
            "length": f"{STEPS} steps",
            "checkpoint_every": "4 steps",
            "loss": {"hard": 1.0, "soft": 0.0},
            "sparsity": {**sparsity, "frequency": 3},
        },
        **only("prune"),
    )


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    run_well(data, folder)
    return folder


def assert_same_run(folder, alone):
    ours, theirs = (metrics(stage_folder(one, "prune")) for one in (folder, alone))
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    losses = ([line["loss"] for line in lines] for lines in (ours, theirs))
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-5)
    assert_same_masks(*(stage_folder(one, "prune") for one in (folder, alone)))


def assert_same_masks(*folders):
    first, second = (load_masks(folder / "masks.npz") for folder in folders)
    assert first.keys() == second.keys()
    for name, mask in first.items():
        assert np.array_equal(mask, second[name]), name


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def test_two_devices_train_as_one(data, alone, tmp_path):
    code, output = run(data, tmp_path / "run", distribute="mirrored")
    assert code == 0, output
    assert_same_run(tmp_path / "run", alone)


def with_prune(data, **settings):
    return {**data, "stages": {"prune": {**data["stages"]["prune"], **settings}}}


@pytest.mark.parametrize("where", [{}, {"distribute": "mirrored"}])
def test_batches_in_parts_train_as_whole_ones(data, alone, tmp_path, where):
    code, output = run(with_prune(data, gradient_accumulation=2), tmp_path / "run", **where)
    assert code == 0, output
    assert_same_run(tmp_path / "run", alone)


def start_workers(data, folder):
    addresses = free_addresses(2)
    return [
        start(
            data,
            folder,
            log=folder.parent / f"worker{number}-{addresses[number][-5:]}.log",
            distribute="workers",
            worker=(addresses, number),
        )
        for number in range(2)
    ]


def assert_all_end_well(workers):
    for worker in workers:
        code, output = worker.wait()
        assert code == 0, output


@pytest.mark.slow
def test_two_processes_train_as_one(data, alone, tmp_path):
    assert_all_end_well(start_workers(data, tmp_path / "run"))
    assert_same_run(tmp_path / "run", alone)
    # What the other process found by itself is what the chief found.
    ours, theirs = (
        stage_folder(folder, "prune")
        for folder in (tmp_path / "run", tmp_path / "run" / "workers" / "1")
    )
    assert_same_masks(ours, theirs)
    assert not (theirs / "checkpoint").exists()
    weights = [folder / "model" / "model.safetensors" for folder in (ours, theirs)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_nothing_is_lost(data, alone, tmp_path):
    folder = tmp_path / "run"
    chief, other = start_workers(data, folder)
    while last_step(folder, "prune") < 10:
        assert chief.process.is_alive() and other.process.is_alive()
        time.sleep(0.01)
    other.process.kill()
    code, output = chief.wait()
    assert code == 1 and "another worker is gone" in output, output
    checkpoints = sorted((stage_folder(folder, "prune") / "checkpoint").glob("ckpt-*.index"))
    assert checkpoints[-1].name in ("ckpt-8.index", "ckpt-12.index")
    assert_all_end_well(start_workers(data, folder))
    assert_same_run(folder, alone)


def test_what_cannot_be_shared_out_is_refused(data, tmp_path):
    uneven = with_prune(data, batch_size=7)
    code, output = run(uneven, tmp_path / "run", distribute="mirrored")
    assert code == 1 and "prune.batch_size is 7" in output and "multiple of 2" in output
    code, output = run(with_prune(data, gradient_accumulation=3), tmp_path / "run")
    assert code == 1 and "computed in 3 parts: choose a multiple of 3" in output
    code, output = run(data, tmp_path / "run", distribute="workers")
    assert code == 1 and "needs the environment variable TF_CONFIG" in output
