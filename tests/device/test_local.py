"""This machine as a device: the runner, the delegate's costs, the tool with its table and JSON."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tflite_files
from quick import QUICK

from tf_prune_ofa.device import build, calibrate
from tf_prune_ofa.device.local import LocalTarget
from tf_prune_ofa.device.measure import measure
from tf_prune_ofa.device.result import to_result
from tf_prune_ofa.runtime import layer_chain

REPOSITORY = Path(__file__).parents[2]
SHAPE = layer_chain.LayerShape(True, 1, 192, 512, 64)


@pytest.fixture
def layers(tmp_path):
    """A file of two layers of which 95 % are zeros."""
    kernels = layer_chain.random_kernels(np.random.default_rng(1), SHAPE, 1, 0.95, 1)
    path = tmp_path / "layers.tflite"
    path.write_bytes(layer_chain.chain(SHAPE, kernels))
    return path


def test_costs_are_measured_where_the_file_runs(layers, programs, runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "ROUNDS", 10)
    settings = dataclasses.replace(QUICK, calibrate=True)
    there = tmp_path / "there"
    there.mkdir()
    target = LocalTarget(str(there))
    measured = measure(target, [layers], settings, lambda _: programs, lambda _: runtime)
    assert list(there.iterdir()) == []
    lines = measured.cost_table.splitlines()
    kinds = [line.split()[0] for line in lines]
    assert kinds[:3] == ["#", "runtime", "processor"] and set(kinds[3:]) == {"layer"}
    # Both shapes, in one or more sizes of a tile.
    sizes = {tuple(line.split()[4:7]) for line in lines[3:]}
    assert sizes == {("192", "512", "64"), ("512", "192", "64")}
    # The file was then run with them.
    assert "measured" in measured.said.opened[1]["report"].splitlines()[0]
    result = to_result("local", measured, settings)
    rows = result["files"] or result["throttled_files"]
    assert rows[1]["difference"] == {"to": "layers.tflite", "max_abs": 0}


def test_what_does_not_run_is_said_and_the_rest_measured(files, programs, runtime, tmp_path):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 4], np.float32)
    y = file.tensor("y", [1, 4], np.float32)
    file.operator("CUSTOM", [x], [y])
    file.model.operatorCodes[0].customCode = b"Unheard"
    strange = tmp_path / "strange.tflite"
    strange.write_bytes(file.finish([x], [y]))
    settings = dataclasses.replace(QUICK, delegate=False)
    measured = measure(
        LocalTarget(), [strange, files[0]], settings, lambda _: programs, lambda _: runtime
    )
    result = to_result("local", measured, settings)
    [refused] = result["refused"]
    assert refused["file"] == "strange.tflite" and "Unheard" in refused["error"]
    assert [row["file"] for row in result["files"] or result["throttled_files"]] == ["a.tflite"]


def test_the_tool(files, programs, runtime, tmp_path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / build.RUNNER).symlink_to(programs.runner)
    (tmp_path / "build" / build.DELEGATE).symlink_to(programs.delegate)
    command = [sys.executable, REPOSITORY / "tools/benchmark_device.py", *files, "--target=local"]
    options = {"build": tmp_path / "build", "runtime_library": runtime, "out": tmp_path / "out"}
    options |= {"reference": files[0], "runs": 20, "loads": 1, "threads": "1,2", "seconds": 5}
    command += [f"--{key}={value}" for key, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    [path] = (tmp_path / "out").glob("*.json")
    result = json.loads(path.read_text())
    labels = [row["file"] for row in result["files"] or result["throttled_files"]]
    assert len(labels) == 8 and labels[2] == "a.tflite, 2 threads"
    assert result["reference"] == "a.tflite, 1 thread"
    # A machine that is busy may look throttled; then there is no table.
    assert ("THROTTLED" if result["throttled"] else "95 % interval") in done.stdout, done.stderr
    assert done.returncode == bool(result["throttled"])


def test_wrong_flags_are_refused_at_once(files, tmp_path):
    for flag, problem in (
        ("--threads=one", "--threads=one: write numbers, such as 1,4"),
        ("--threads=0", "--threads has 0; write numbers from 1 to 64"),
        ("--target=usb", "--target=usb: write local, ssh:"),
    ):
        command = [sys.executable, REPOSITORY / "tools/benchmark_device.py", *files, flag]
        done = subprocess.run([*command], capture_output=True, text=True)
        assert (done.returncode, problem in done.stderr) == (1, True), done.stderr
