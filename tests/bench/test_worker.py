import json
import subprocess
import sys

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.bench import runners, worker
from tf_prune_ofa.errors import UserError

INPUTS = {
    "input_word_ids": np.array([[0, 1, 2, 9]], np.int32),
    "input_mask": np.ones([1, 4], np.int32),
}
ARGUMENTS = {"runtime": "litert", "options": {}, "threads": 1, "inputs": worker.encoded(INPUTS)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(tflite_files.classifier())
    return str(path)


class Recorder:
    """A runner that counts its runs."""

    runtime_name, runtime_version, delegation = "recorder", "1", None

    def __init__(self, *arguments):
        self.runs = 0

    def set_inputs(self, values):
        self.values = values

    def invoke(self):
        self.runs += 1

    def outputs(self):
        return {"y": self.values["input_mask"] + 0.1}


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    monkeypatch.setattr(runners, "open_file", lambda *arguments: found)
    return found


def test_opening_says_what_runs_and_what_it_took(path):
    answer = worker.Worker().open(path, **ARGUMENTS)
    assert answer["name"] == "litert" and answer["version"]
    # The lookup stays with the runtime's own kernels, the dense layer goes to XNNPACK.
    assert answer["delegation"] == {"operators": 2, "delegated": 1, "partitions": 1}
    assert answer["load_ms"] > 0 and answer["first_run_ms"] > 0
    # Pages may be freed as fast as they are taken, but a file of 1 kB cannot need 100 MB.
    assert 0 <= answer["peak_memory_bytes"] < 100e6


def test_a_turn_is_one_run_that_does_not_count_and_a_burst_that_does(path, recorder):
    opened = worker.Worker()
    opened.open(path, **ARGUMENTS, warmup=3)
    assert recorder.runs == 1 + 3  # the run that proves that the file works, and the warm-up
    turn = opened.turn(0, burst=2)
    assert recorder.runs == 4 + 1 + 2
    assert len(turn["samples_ms"]) == len(turn["cpu_ms"]) == 2 and turn["first_ms"] > 0


def test_outputs_of_other_inputs(path, recorder):
    opened = worker.Worker()
    opened.open(path, **ARGUMENTS)
    other = worker.encoded({"input_mask": np.float32([[0.3]])})
    answer = json.loads(json.dumps(opened.outputs(0, other)))
    assert worker.decoded(answer)["y"] == np.float32(0.3) + 0.1


def test_arrays_pass_through_json_unchanged():
    arrays = {"a": np.float32([[0.1, 1 / 3]]), "b": np.array([[1, -2]], np.int32)}
    passed = worker.decoded(json.loads(json.dumps(worker.encoded(arrays))))
    for name, value in arrays.items():
        assert passed[name].dtype == value.dtype
        np.testing.assert_array_equal(passed[name], value)


def test_a_file_that_the_runtime_cannot_run_is_named(path, recorder, monkeypatch):
    def fail():
        raise RuntimeError("index out of bounds")

    monkeypatch.setattr(recorder, "invoke", fail)
    with pytest.raises(UserError, match="loads .*a.tflite but cannot run it: index out of bounds"):
        worker.Worker().open(path, **ARGUMENTS)


def test_output_of_the_runtime_cannot_disturb_answers(path):
    questions = [{"do": "open", "path": path, **ARGUMENTS}, {"do": "turn", "file": 0, "burst": 1}]
    done = subprocess.run(
        [sys.executable, "-m", "tf_prune_ofa.bench.worker"],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True,
        text=True,
        check=True,
    )
    # One answer a line, and what XNNPACK says about itself somewhere else.
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["name"] == "litert" and len(second["samples_ms"]) == 1
    assert "XNNPACK" in done.stderr
