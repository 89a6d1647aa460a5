import json
import sys
from dataclasses import replace

import mutants
import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.bench import process
from tf_prune_ofa.bench.host import SCHEMA, benchmark
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.bench.show import FILE_HEADER, describe, file_rows
from tf_prune_ofa.errors import UserError

QUICK = BenchSettings(runs=10, loads=1, warmup=1)


@pytest.fixture
def files(tmp_path):
    paths = []
    for layers in (1, 2):
        paths.append(tmp_path / f"layers_{layers}.tflite")
        paths[-1].write_bytes(tflite_files.classifier(layers=layers))
    return paths


def test_result_holds_every_figure_and_its_circumstances(files):
    result = benchmark(files[1:], QUICK, reference=files[0])
    json.dumps(result, allow_nan=False)
    assert result["schema"] == SCHEMA
    assert result["reference"] == "layers_1.tflite"
    assert result["runtime"]["name"] == "litert" and result["runtime"]["xnnpack"] is True
    assert result["machine"]["cpu"] and result["created"]
    added, reference = result["files"]
    assert [added["file"], reference["file"]] == ["layers_2.tflite", "layers_1.tflite"]
    assert reference["ratio"] == {"ratio": 1.0, "low": 1.0, "high": 1.0}
    assert added["ratio"]["low"] <= added["ratio"]["ratio"] <= added["ratio"]["high"]
    assert added["latency_ms"]["runs"] == 10
    assert added["delegation"] == {"operators": 3, "delegated": 2, "partitions": 1}
    assert added["size_bytes"] == files[1].stat().st_size
    assert added["inputs"][0] == {"name": "input_word_ids", "shape": [1, 4], "dtype": "int32"}

    text = describe(result)
    assert FILE_HEADER[:2] == ("file", "ratio")
    assert file_rows(result)[1][:3] == ["layers_1.tflite", "1.000", "reference"]
    for circumstance in ("litert", "threads", "XNNPACK", "processor", "load average", "2/3 in 1"):
        assert circumstance in text


def test_without_reference_there_are_no_ratios_and_equal_names_get_their_folder(files, tmp_path):
    copy = tmp_path / "copy" / files[0].name
    copy.parent.mkdir()
    copy.write_bytes(files[0].read_bytes())
    result = benchmark([files[0], copy], replace(QUICK, xnnpack=False))
    assert [file["ratio"] for file in result["files"]] == [None, None]
    assert result["files"][1]["file"] == "copy/layers_1.tflite"
    assert result["files"][0]["delegation"]["delegated"] == 0
    assert file_rows(result)[0][1:3] == ["-", "-"]


def test_warns_when_files_do_different_work(files, tmp_path):
    longer = tmp_path / "longer.tflite"
    longer.write_bytes(tflite_files.classifier(length=8))
    result = benchmark([longer], QUICK, reference=files[0])
    assert any("inputs of other shapes" in warning for warning in result["warnings"])
    assert "Warning: longer.tflite" in describe(result)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runs": 0}, "--runs is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"seconds": 0.0}, "--seconds is 0"),
        ({"loads": -1}, "--loads is -1"),
        ({"runtime": "onnx"}, "no runtime 'onnx'"),
    ],
)
def test_refuses_settings_without_sense(files, change, says):
    with pytest.raises(UserError, match=says):
        benchmark(files, replace(QUICK, **change))


def test_a_file_of_open_length_is_run_on_what_was_asked_for(tmp_path):
    file = tflite_files.FileBuilder()
    x, y = (file.tensor(name, [1, 1], "float32") for name in "xy")
    for tensor in file.graph.tensors:
        tensor.shapeSignature = np.int32([-1, -1])
    file.operator("ADD", [x, x], [y], options=tflite_files.schema.AddOptionsT())
    path = tmp_path / "open.tflite"
    path.write_bytes(file.finish([x], [y]))
    with pytest.raises(UserError, match=r"open \(x \[-1, -1\]\).*--sequence_length=128"):
        benchmark([path], QUICK)
    result = benchmark([path], replace(QUICK, sequence_length=9))
    assert result["files"][0]["inputs"][0]["shape"] == [1, 9]
    assert "x float32 [1, 9]" in describe(result)


def test_says_which_of_several_signatures_was_run(tmp_path):
    path = tmp_path / "two.tflite"
    path.write_bytes(mutants.two_subgraphs())
    assert "two.tflite has the signatures run_0, run_1; its first graph was run." in describe(
        benchmark([path], QUICK)
    )


def test_a_length_is_for_files_that_leave_it_open(files):
    with pytest.raises(UserError, match=r"fixed input shapes \(1, 4\), but --sequence_length is 9"):
        benchmark(files, replace(QUICK, sequence_length=9))
    assert benchmark(files[:1], replace(QUICK, sequence_length=4))["files"]


def test_refuses_missing_and_damaged_files(files, tmp_path):
    with pytest.raises(UserError, match="No file to measure"):
        benchmark([], QUICK)
    with pytest.raises(UserError, match="No such file: .*none.tflite"):
        benchmark([files[0], tmp_path / "none.tflite"], QUICK)
    files[1].write_bytes(files[1].read_bytes()[:-20])
    with pytest.raises(UserError, match="layers_2.tflite"):
        benchmark(files, QUICK)


def test_names_a_file_that_the_runtime_refuses(tmp_path):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1], "float32")
    y = file.tensor("y", [1], "float32")
    file.operator("RELU", [x], [y], version=99)
    path = tmp_path / "future.tflite"
    path.write_bytes(file.finish([x], [y]))
    with pytest.raises(UserError, match="cannot load .*future.tflite"):
        benchmark([path], QUICK)


def test_names_the_file_with_which_the_runtime_never_ends(files, monkeypatch):
    monkeypatch.setattr(process, "LIMIT_S", 0.01)
    with pytest.raises(UserError, match="did not come to an end within 0.01 s with .*layers_1"):
        benchmark(files[:1], QUICK)


def test_names_the_file_with_which_the_runtime_was_killed(files, tmp_path, monkeypatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(UserError, match=r"killed \(SIGSEGV\) while it ran .*layers_1.tflite"):
        benchmark(files, QUICK)
