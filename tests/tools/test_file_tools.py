"""The tools that take `.tflite` files, as a user starts them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tflite_files

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.classifier())
    return path


def start(tool, *arguments):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_inspect_prints_and_writes_the_summary(file, tmp_path):
    done = start("inspect_tflite.py", file, f"--json={tmp_path / 'summary.json'}")
    assert done.returncode == 0, done.stderr
    assert "encoder_00/ffn/output" in done.stdout
    assert "XNNPACK runs 1 of 2 operators" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["weights"][1]["zeros"] == 12
    assert summary["loaded"]["delegated"] == 1


def test_benchmark_prints_and_writes_the_result(file, tmp_path):
    out = tmp_path / "bench.json"
    done = start(
        "benchmark.py", file, f"--reference={file}", "--runs=10", "--loads=1", f"--json={out}"
    )
    assert done.returncode == 0, done.stderr
    assert "model.tflite  1.000" in done.stdout
    assert json.loads(out.read_text())["files"][0]["latency_ms"]["runs"] == 10


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("inspect_tflite.py", ["none.tflite"], "none.tflite does not exist"),
        ("inspect_tflite.py", [], "Name one .tflite file"),
        ("benchmark.py", ["none.tflite"], "No such file: none.tflite"),
        ("benchmark.py", ["none.tflite", "--runs=0"], "--runs is 0"),
        ("benchmark.py", ["none.tflite", "--rows=x"], "--rows would do nothing here"),
        ("inspect_tflite.py", ["x", "--noload", "--delegate"], "--delegate would do nothing"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(tool, arguments, says):
    done = start(tool, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and says in line


def test_help_is_no_failure():
    done = start("inspect_tflite.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Show what is in a `.tflite` file" in done.stdout and "--[no]load" in done.stdout


@pytest.mark.parametrize("flag", ["--runtimes=litert", "--load=banana"])
def test_a_wrong_flag_is_one_line(flag):
    done = start("inspect_tflite.py", flag, "x.tflite")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and flag.partition("=")[0].strip("-") in line


def test_a_damaged_file_leaves_no_output_file(file, tmp_path):
    file.write_bytes(file.read_bytes()[:200])
    done = start("inspect_tflite.py", file, f"--json={tmp_path / 'summary.json'}")
    assert done.returncode == 1 and "damaged" in done.stderr
    assert not (tmp_path / "summary.json").exists()


def test_a_reader_that_has_seen_enough_gets_no_traceback(file):
    command = f"{sys.executable} {TOOLS / 'inspect_tflite.py'} {file} --noload | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
