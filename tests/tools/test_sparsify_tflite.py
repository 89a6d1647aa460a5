"""tools/sparsify_tflite.py, as a user starts it."""

import subprocess
import sys
from pathlib import Path

import pytest
from block_files import DEAR, FREE, Net, names

from tf_prune_ofa.blocks.cost import read_table, write_table

TOOL = Path(__file__).resolve().parents[2] / "tools" / "sparsify_tflite.py"


@pytest.fixture
def file(tmp_path):
    net = Net([1, 128, 256])
    path = tmp_path / "dense.tflite"
    path.write_bytes(net.file(net.layer(0, net.blocks(256, 256, (64, 32), 0.1))))
    return path


def start(*arguments):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "costs, layer, operator",
    [
        (FREE, "64x32", "CONV_2D"),
        (DEAR, "No layer is faster in blocks", "FULLY_CONNECTED"),
    ],
)
def test_it_writes_and_tells(file, tmp_path, costs, layer, operator):
    out, table = tmp_path / "out.tflite", tmp_path / "costs.json"
    write_table(table, costs)
    done = start(f"--input={file}", f"--output={out}", f"--cost_table={table}", "--block=64x32")
    assert done.returncode == 0, done.stderr
    assert layer in done.stdout
    assert "equal bit for bit" in done.stdout
    assert operator in names(out.read_bytes())


def test_costs_of_this_machine_are_measured_and_kept(file, tmp_path):
    # Whether blocks pay here is not known before.
    out, table = tmp_path / "out.tflite", tmp_path / "costs.json"
    done = start(f"--input={file}", f"--output={out}", "--measure", f"--cost_table={table}")
    assert done.returncode == 0, done.stderr
    assert "equal bit for bit" in done.stdout and out.is_file()
    assert read_table(table)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--block=64"], "outputs x inputs"),
        (["--cost_table=none.json"], "Cannot read none.json"),
        (["more"], "unexpected arguments"),
        (["--cost_table=."], "Cannot read .: Is a directory"),
        (["--measure", "--cost_table=."], ". is a folder"),
        (["--runtime=litert"], "Unknown command line flag 'runtime'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(file, tmp_path, arguments, says):
    out = tmp_path / "out.tflite"
    done = start(f"--input={file}", f"--output={out}", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and says in line
    assert not out.exists()


def test_a_damaged_file_leaves_no_output(file, tmp_path):
    file.write_bytes(file.read_bytes()[:500])
    done = start(f"--input={file}", f"--output={tmp_path / 'out.tflite'}")
    assert done.returncode == 1 and "damaged" in done.stderr
    assert not (tmp_path / "out.tflite").exists()
