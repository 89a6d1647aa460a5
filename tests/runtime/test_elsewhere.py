import json
import subprocess
import sys

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import elsewhere

EXAMPLES = {"input_word_ids": np.array([[0, 1, 2, 9], [3, 3, 3, 3]]), "input_mask": np.ones([2, 4])}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.classifier())
    return path


def test_a_file_in_another_process(path):
    run = elsewhere.run_file(sys.executable, path, EXAMPLES, "litert")
    assert run.error is None
    assert run.runtime == "litert"
    assert (run.operators, run.delegated, run.partitions) == (2, 1, 1)
    # 0.1 * (row[2] + 2 * row[3]) of rows 0 and 3.
    assert run.outputs["hidden_1"].shape == (2, 1, 4, 4)
    assert run.outputs["hidden_1"][0, 0, 0, 0] == pytest.approx(0.8, rel=1e-5)
    assert run.outputs["hidden_1"][1, 0, 0, 0] == pytest.approx(4.4, rel=1e-5)


def test_a_file_that_the_runtime_refuses(path):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 4], np.float32)
    file.operator("ADD", [x, x], [x], version=99)
    path.write_bytes(file.finish([x], [x]))
    run = elsewhere.run_file(sys.executable, path, {"x": np.ones([1, 4])})
    assert "cannot load" in run.error
    assert run.outputs is None


def test_a_runtime_that_crashes(path, tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    run = elsewhere.run_file(crashing, path, EXAMPLES)
    assert run.error == "the runtime crashed with signal 11 (SIGSEGV)"


def test_a_python_that_cannot_import_the_package(path, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named numpy' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match="No module named numpy"):
        elsewhere.run_file(broken, path, EXAMPLES)


@pytest.fixture
def commands(monkeypatch):
    """The commands that would be run; the last word of the first decides that pip fails."""
    seen = []

    def run(command, **options):
        seen.append(command)
        failed = "no-such-package" in command
        return subprocess.CompletedProcess(command, int(failed), "", "ERROR: none found")

    monkeypatch.setattr(elsewhere.subprocess, "run", run)
    return seen


def test_an_environment_is_made_once(commands, tmp_path):
    python = elsewhere.make_python(tmp_path / "a", ["numpy==1.26.4"])
    assert python == tmp_path / "a" / "bin" / "python"
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][-1] == "numpy==1.26.4"
    elsewhere.make_python(tmp_path / "a", ["numpy==1.26.4"])
    assert len(commands) == 2


def test_an_environment_with_other_packages_is_made_anew(commands, tmp_path):
    elsewhere.make_python(tmp_path / "a", ["numpy==1.26.4"])
    elsewhere.make_python(tmp_path / "a", ["numpy==1.26.3"])
    assert len(commands) == 4
    assert json.loads((tmp_path / "a" / "installed.json").read_text()) == ["numpy==1.26.3"]


def test_an_environment_that_was_not_finished_is_made_anew(commands, tmp_path):
    with pytest.raises(UserError, match="cannot install no-such-package .*\n.*none found"):
        elsewhere.make_python(tmp_path / "a", ["no-such-package"])
    with pytest.raises(UserError):
        elsewhere.make_python(tmp_path / "a", ["no-such-package"])
    assert len(commands) == 4
