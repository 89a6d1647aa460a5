"""The comparison of training steps: both of ours take the same steps; a mismatch is noticed."""

import numpy as np
import pytest
import small_runs

from tf_prune_ofa.bench.process import WorkerProcess
from tf_prune_ofa.experiments import step_speed
from tf_prune_ofa.runtime.elsewhere import make_python


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return small_runs.write_inputs(tmp_path_factory.mktemp("inputs")) / "encoder"


def test_cached_logits_change_the_work_and_not_the_step(encoder, tmp_path):
    model = {"weights": str(encoder), "batch_size": 4, "sequence_length": 8, "seed": 0}
    losses = {}
    for is_cached in (False, True):
        with WorkerProcess(module="tf_prune_ofa.experiments.keras_step") as process:
            folder = None if is_cached else str(tmp_path)
            process.ask("open", "here", **model, threads=1, is_cached=is_cached, folder=folder)
            answers = [process.ask("step", "here") for _ in range(3)]
            assert all(answer["ms"] > 0 and answer["cpu_ms"] >= 0 for answer in answers)
            losses[is_cached] = [answer["loss"] for answer in answers]
            assert process.ask("memory", "here")["peak_memory_bytes"] > 0
    step_speed._check_losses(["run", "cached"], [losses[False], losses[True]])
    assert losses[True][2] < losses[True][0]

    with np.load(tmp_path / "masks.npz") as masks, np.load(tmp_path / "student.npz") as weights:
        assert masks.files
        for name in masks.files:
            assert not weights[f"{name}/kernel"][~masks[name]].any()


def test_different_steps_are_not_compared():
    step_speed._check_losses(["a", "b"], [[0.5, 0.25], [0.5001, 0.24]])
    for other in ([0.502, 0.25], [0.5, 0.27]):
        with pytest.raises(RuntimeError, match="'a' and 'b' do not take the same steps"):
            step_speed._check_losses(["a", "b"], [[0.5, 0.25], other])


@pytest.mark.network
@pytest.mark.slow  # installs 1 GB
def test_pytorch_takes_the_same_steps(encoder, tmp_path):
    python = make_python(tmp_path / "torch", [step_speed.TORCH, "numpy"])
    result = step_speed.compare(
        torch_python=python, weights=str(encoder), batch_size=4, sequence_length=8, steps=5
    )
    names = [step["name"] for step in result["steps"]]
    assert names[0] == "PyTorch" and names[-1] == "here, teacher's logits cached"
    assert result["steps"][0]["speed"]["ratio"] == 1.0
    text = step_speed.describe(result)
    assert "examples/s" in text and "here, teacher's logits cached" in text
