import importlib.metadata
import sys
from dataclasses import replace

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.runtime import matrix
from tf_prune_ofa.runtime.elsewhere import FileRun


def run(**outputs):
    return FileRun(None, "litert", "2.3.0", 10, 8, 1, {k: np.int8(v) for k, v in outputs.items()})


def test_equal_outputs():
    compared = matrix.compare(run(a=[1, 2], b=[-128]), run(a=[1, 2], b=[-128]))
    assert compared == {
        "is_equal": True,
        "max_steps": 0,
        "share_equal": 1,
        "compared": 3,
        "sparse": 0,
    }


def test_differences_are_counted_in_steps_without_overflow():
    compared = matrix.compare(run(a=[1, 2, 3, -128]), run(a=[1, 3, 3, 127]))
    assert compared == {
        "is_equal": False,
        "max_steps": 255,
        "share_equal": 0.5,
        "compared": 4,
        "sparse": 0,
    }


def test_it_counts_what_the_delegate_ran():
    with_delegate = replace(run(a=[1]), sparse=3)
    assert matrix.compare(run(a=[1]), with_delegate)["sparse"] == 3


def test_a_file_that_did_not_run_compares_with_nothing():
    assert matrix.compare(run(a=[1]), FileRun("does not load")) is None


@pytest.fixture
def runtimes(monkeypatch):
    """Two runtimes, of which the second refuses the file `new` and rounds otherwise."""
    monkeypatch.setattr(matrix, "RUNTIMES", matrix.RUNTIMES[-2:])
    monkeypatch.setattr(matrix, "make_python", lambda folder, requirements: folder.name)

    def run_file(python, path, examples, runtime, delegate=None):
        if delegate:
            return replace(run(y=[5]), sparse=2)
        if runtime == "litert":
            return run(y=[5])
        return FileRun("no such operator") if path == "new" else run(y=[len(path)])

    monkeypatch.setattr(matrix, "run_file", run_file)


def test_the_matrix(runtimes):
    seen = []
    rows = matrix.run_matrix(
        {"old": "old", "new": "new"},
        {
            "pair": (("a", None), ("bb", None)),
            "unknown": (("a", None), ("new", None)),
            "delegate": (("a", None), ("a", "library.so")),
        },
        {},
        "cache",
        seen.append,
    )
    assert seen == ["litert 2.3.0", "tflite_runtime 2.14.0"]
    first, second = rows
    assert first["files"]["new"]["loads"]
    assert first["pairs"]["pair"]["is_equal"]
    assert second["files"]["new"] == {
        "loads": False,
        "error": "no such operator",
        "operators": 0,
        "delegated": 0,
        "partitions": 0,
    }
    assert second["pairs"]["pair"]["max_steps"] == 1
    assert second["pairs"]["unknown"] is None
    lines = matrix.describe(rows).splitlines()
    assert (
        lines[2].split()
        == "litert 2.3.0 8/10 in XNNPACK 8/10 in XNNPACK bit-equal bit-equal "
        "bit-equal, 2 in the delegate".split()
    )
    assert "does not load" in lines[3] and "differ by up to 1 steps" in lines[3]
    assert lines[-1] == "tflite_runtime 2.14.0, new: no such operator"


def test_the_matrix_of_real_files(tmp_path, monkeypatch):
    """This environment's own runtime stands for each; all else is as in tools/runtime_matrix.py."""
    here = matrix.RuntimeSpec("litert", importlib.metadata.version("ai-edge-litert"), ())
    monkeypatch.setattr(matrix, "RUNTIMES", (here,))
    made = []

    def make_python(folder, requirements):
        made.append((folder.name, requirements))
        return sys.executable

    monkeypatch.setattr(matrix, "make_python", make_python)
    files = {"whole": tflite_files.classifier(), "damaged": b"no file", "other": other_classifier()}
    paths = {name: tmp_path / f"{name}.tflite" for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content)
    [row] = matrix.run_matrix(
        paths,
        {
            "itself": ((paths["whole"], None), (paths["whole"], None)),
            "another": ((paths["whole"], None), (paths["other"], None)),
            "damaged": ((paths["whole"], None), (paths["damaged"], None)),
        },
        {"input_word_ids": np.array([[0, 1, 2, 9]]), "input_mask": np.ones([1, 4])},
        tmp_path / "cache",
    )
    assert made == [(here.label.replace(" ", "-"), ())]
    assert row["files"]["whole"] == {
        "loads": True, "error": None, "operators": 2, "delegated": 1, "partitions": 1,
    }  # fmt: skip
    assert not row["files"]["damaged"]["loads"] and row["files"]["damaged"]["error"]
    assert row["pairs"]["itself"] == {
        "is_equal": True, "max_steps": 0, "share_equal": 1, "compared": 16, "sparse": 0,
    }  # fmt: skip
    assert not row["pairs"]["another"]["is_equal"]
    assert row["pairs"]["another"]["compared"] == 16
    assert row["pairs"]["damaged"] is None
    text = matrix.describe([row])
    assert "1/2 in XNNPACK" in text and "does not load" in text and "bit-equal" in text


def other_classifier():
    """The same file with another number in the last row of its table."""
    content, number = tflite_files.classifier(), np.float32(3.9).tobytes()
    assert content.count(number) == 1
    return content.replace(number, np.float32(7).tobytes())


def test_the_runtimes_are_those_that_files_are_promised_for():
    assert [spec.label for spec in matrix.RUNTIMES] == [
        "litert 1.4.0",
        "litert 2.1.6",
        "litert 2.3.0",
        "tflite_runtime 2.14.0",
    ]
