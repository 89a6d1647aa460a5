import json
import subprocess
import sys

import pytest
import tflite_files

from tf_prune_ofa.bench import worker
from tf_prune_ofa.errors import UserError

OPTIONS = {"seed": 0, "threads": 1, "runtime": "auto", "xnnpack": True}


@pytest.fixture
def files(tmp_path):
    paths = []
    for name in "abc":
        paths.append(str(tmp_path / f"{name}.tflite"))
        (tmp_path / f"{name}.tflite").write_bytes(tflite_files.classifier())
    return paths


@pytest.fixture
def runs(monkeypatch):
    """Names of the files in the order in which they are run."""
    order = []

    class Recorder(worker.Interpreter):
        def invoke(self):
            order.append(self.path.stem)
            super().invoke()

    monkeypatch.setattr(worker, "Interpreter", Recorder)
    return order


def test_files_take_turns_in_a_rotating_order(files, runs):
    result = worker.measure_latency(files, runs=10, burst=2, warmup=1, seconds=60, **OPTIONS)
    warm_up, turns = "".join(runs[:6]), "".join(runs[6:])
    assert warm_up == "aabbcc"  # the run that proves that the file works, and the warm-up
    # Each turn is one run that does not count and two that do.
    assert turns == "aaabbbccc" + "bbbcccaaa" + "cccaaabbb" + "aaabbbccc" + "bbbcccaaa"
    for file in result["files"]:
        assert [len(turn) for turn in file["samples_ms"]] == [2] * 5
        assert len(file["first_of_turn_ms"]) == 5


def test_time_limit_leaves_the_rounds_that_percentiles_need(files, runs):
    result = worker.measure_latency(
        files[:1], runs=10_000, burst=1, warmup=0, seconds=1e-9, **OPTIONS
    )
    assert len(result["files"][0]["samples_ms"]) == worker.MINIMUM_ROUNDS


def test_says_what_was_run(files):
    result = worker.measure_latency(files[:1], runs=5, burst=1, warmup=0, seconds=60, **OPTIONS)
    assert result["runtime"]["name"] == "litert" and result["runtime"]["version"]
    assert result["files"][0]["inputs"] == [
        {"name": "input_word_ids", "shape": [1, 4], "dtype": "int32"},
        {"name": "input_mask", "shape": [1, 4], "dtype": "int32"},
    ]
    # The lookup stays with the runtime's own kernels, the dense layer goes to XNNPACK.
    assert result["files"][0]["delegation"] == {"operators": 2, "delegated": 1, "partitions": 1}


def test_load_is_measured_in_time_and_memory(files):
    figures = worker.measure_load(files[0], **OPTIONS)
    assert figures["load_ms"] > 0 and figures["first_run_ms"] > 0
    # Pages may be freed as fast as they are taken, but a file of 1 kB cannot need 100 MB.
    assert 0 <= figures["peak_memory_bytes"] < 100e6


def test_a_file_that_the_runtime_cannot_run_is_named(files, monkeypatch):
    def fail(self):
        raise RuntimeError("index out of bounds")

    monkeypatch.setattr(worker.Interpreter, "invoke", fail)
    with pytest.raises(UserError, match="loads .*a.tflite but cannot run it: index out of bounds"):
        worker.measure_load(files[0], **OPTIONS)


def test_answers_are_files_so_that_output_of_the_runtime_cannot_disturb_them(files, tmp_path):
    job = {"task": "load", "paths": files[:1], "options": OPTIONS}
    (tmp_path / "job").write_text(json.dumps(job))
    names = [str(tmp_path / name) for name in ("job", "answer", "log")]
    done = subprocess.run(
        [sys.executable, "-m", "tf_prune_ofa.bench.worker", *names],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert json.loads((tmp_path / "answer").read_text())["load_ms"] > 0
