import io
import json
import os
import zipfile

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import apart
from tf_prune_ofa.runtime.delegate import DelegateReport, LayerVerdict
from tf_prune_ofa.runtime.inspect import inspect, load
from tf_prune_ofa.runtime.inspect_text import describe, describe_load
from tf_prune_ofa.runtime.summaries import LoadSummary, OpSummary


def written(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


def test_summarizes_a_file(tmp_path):
    path = written(tmp_path, tflite_files.classifier(vocabulary=10, layers=2))
    summary = inspect(path)
    assert summary.size_bytes == path.stat().st_size
    assert summary.description == "made for a test"
    assert (summary.operators, summary.graphs) == (3, 1)
    assert summary.ops[0].name == "FULLY_CONNECTED"
    assert OpSummary("GATHER", 1, 1) in summary.ops
    assert [(p.name, p.shape, p.dtype) for p in summary.inputs] == [
        ("input_word_ids", (1, 4), "int32"),
        ("input_mask", (1, 4), "int32"),
    ]
    assert summary.outputs[0].shape == (1, 4, 4)
    assert summary.buffer_bytes == 4 * (10 * 4 + 2 * 16)
    assert summary.types[0].dtype == "float32"
    assert summary.types[0].stored_bytes == summary.buffer_bytes
    assert summary.dynamic_tensors == () and summary.associated_files == ()


def test_counts_zeros_of_dense_weights(tmp_path):
    weight = inspect(written(tmp_path, tflite_files.classifier())).weights[1]
    assert weight.name == "encoder_00/ffn/output"
    assert weight.used_by == ("FULLY_CONNECTED",)
    assert (weight.zeros, weight.elements, weight.sparsity) == (12, 16, 0.75)
    assert (weight.encoding, weight.quantization, weight.stored_bytes) == ("dense", "none", 64)


def test_counts_zeros_that_a_sparse_weight_does_not_store(tmp_path):
    file = tflite_files.FileBuilder()
    file.tensor(
        "kernel", [4, 4], np.float32, data=[1, 2, 3, 4], sparsity=tflite_files.block_sparsity()
    )
    (weight,) = inspect(written(tmp_path, file.finish([], []))).weights
    assert (weight.zeros, weight.encoding, weight.stored_bytes) == (12, "sparse 1x2", 16 + 5 + 2)
    assert weight.used_by == ()


def test_zero_of_an_int8_weight_is_the_zero_point_of_its_channel(tmp_path):
    file = tflite_files.FileBuilder()
    values = [[0, 0, 5], [7, 7, 0]]
    file.tensor("one_scale", [2, 3], np.int8, data=values, scales=[0.1], zero_points=[0])
    file.tensor("rows", [2, 3], np.int8, data=values, scales=[0.1, 0.2], zero_points=[0, 7])
    file.tensor(
        "columns", [2, 3], np.int8, data=values, scales=[1, 1, 1], zero_points=[0, 7, 0], axis=1
    )
    weights = inspect(written(tmp_path, file.finish([], []))).weights
    assert [(w.name, w.quantization, w.zeros) for w in weights] == [
        ("one_scale", "per-tensor", 3),
        ("rows", "per-channel", 4),
        ("columns", "per-channel", 3),
    ]


@pytest.mark.parametrize("scales", [0, 1, 2, 3, 17])
@pytest.mark.parametrize("zero_points", [0, 1, 2, 3, 17])
def test_any_count_of_scales_and_zero_points_is_shown(tmp_path, scales, zero_points):
    file = tflite_files.FileBuilder()
    counts = {"scales": [0.1] * scales, "zero_points": [0] * zero_points}
    port = file.tensor("port", [1, 3], np.int8, **counts)
    file.tensor("weight", [2, 3], np.int8, data=[[0, 0, 5], [7, 7, 0]], **counts)
    summary = inspect(written(tmp_path, file.finish([port], [port])))
    (weight,) = summary.weights
    # What means zero is known where there is one zero point, or one for each of the two rows.
    points = zero_points or scales
    assert weight.zeros == (3 if scales == 0 or points in (1, 2) else None)
    assert describe(summary)


def test_names_that_are_no_text_are_shown(tmp_path):
    file = tflite_files.FileBuilder()
    index = file.tensor("x", [1, 4], np.float32)
    file.graph.tensors[index].name = b"caf\xe9"
    file.operator("CUSTOM", [index], [index])
    file.model.operatorCodes[0].customCode = b"\xff"
    summary = inspect(written(tmp_path, file.finish([index], [index])))
    assert summary.inputs[0].name == "caf\ufffd" and "CUSTOM:\ufffd" in describe(summary)


def test_a_sparse_tensor_of_absurd_size_takes_no_memory(tmp_path):
    rows = 2**22
    file = tflite_files.FileBuilder()
    sparsity = tflite_files.block_sparsity()
    dense, compressed, _ = sparsity.dimMetadata
    dense.denseSize = rows
    compressed.arraySegments.values = np.full(rows + 1, 1, np.uint8)
    compressed.arraySegments.values[0] = 0
    compressed.arrayIndices.values = np.array([5], np.uint8)
    sparsity.traversalOrder, sparsity.blockMap = np.array([0, 1], np.int32), None
    sparsity.dimMetadata = [dense, compressed]
    file.tensor("w", [rows, rows], np.float32, data=[1.0], sparsity=sparsity)
    (weight,) = inspect(written(tmp_path, file.finish([], []))).weights
    assert (weight.elements, weight.zeros) == (rows**2, rows**2 - 1)


def test_a_file_that_crashes_the_runtime_is_one_clear_error(tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    defaults = {**apart.ask.__kwdefaults__, "python": crashing}
    monkeypatch.setattr(apart.ask, "__kwdefaults__", {**defaults, "limit_s": 60.0})
    summary = inspect(written(tmp_path, tflite_files.classifier()))
    with pytest.raises(UserError, match=r"crashed with signal 11 \(SIGSEGV\).*model.tflite"):
        load(summary)
    crashing.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(apart.ask, "__kwdefaults__", {**defaults, "limit_s": 0.1})
    with pytest.raises(UserError, match="did not finish within 0.1 s"):
        load(summary)


def test_a_file_that_asks_for_too_much_memory_is_one_clear_error(tmp_path, monkeypatch):
    wide = 2**30
    file = tflite_files.FileBuilder()
    x, y = file.tensor("x", [1, 1], np.float32), file.tensor("y", [1, wide], np.float32)
    file.operator("ADD", [x, y], [file.tensor("z", [1, wide], np.float32)])
    summary = inspect(written(tmp_path, file.finish([x, y], [2])))
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(
        apart.ask, "__kwdefaults__", apart.ask.__kwdefaults__ | {"memory_share": 3e9 / pages}
    )
    with pytest.raises(
        UserError, match=r"model.tflite: it does not say why; it may need more memory"
    ):
        load(summary)


def test_says_that_the_delegate_is_absent():
    loaded = LoadSummary("litert", "2.3.0", 9, 6, 2, sparse_missing="The delegate is absent: ...")
    assert describe_load(loaded).endswith("The delegate is absent: ...")


def test_lists_dynamic_tensors_and_packed_files(tmp_path):
    file = tflite_files.FileBuilder()
    index = file.tensor("ids", [1, 8], np.int32)
    file.graph.tensors[index].shapeSignature = np.array([1, -1], np.int32)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("vocab.txt", "[PAD]\n[CLS]\n")
    data = file.finish([index], [index]) + archive.getvalue()
    summary = inspect(written(tmp_path, data))
    assert summary.dynamic_tensors == ("ids",) and summary.inputs[0].is_dynamic
    assert summary.inputs[0].shape == (1, -1) and "[1, -1]" in describe(summary)
    assert summary.associated_files == ("vocab.txt",)


def test_a_buffer_that_two_tensors_share_is_counted_once(tmp_path):
    file = tflite_files.FileBuilder()
    first = file.tensor("a", [2, 2], np.float32, data=np.ones(4))
    second = file.tensor("b", [2, 2], np.float32)
    file.graph.tensors[second].buffer = file.graph.tensors[first].buffer
    summary = inspect(written(tmp_path, file.finish([], [])))
    assert (summary.types[0].constants, summary.types[0].stored_bytes) == (2, 16)


def test_json_and_text_hold_the_same_figures(tmp_path):
    summary = inspect(written(tmp_path, tflite_files.classifier()))
    values = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert values["weights"][1]["sparsity"] == 0.75
    assert values["loaded"] is None
    text = describe(summary)
    for expected in ("encoder_00/ffn/output", "75.00", "input_word_ids", "GATHER", "none"):
        assert expected in text


def test_says_what_a_runtime_delegates(tmp_path):
    summary = load(inspect(written(tmp_path, tflite_files.classifier(layers=3))))
    version = summary.loaded.version
    assert summary.loaded == LoadSummary("litert", version, operators=4, delegated=3, partitions=1)
    assert "XNNPACK runs 3 of 4 operators, in 1 partition" in describe_load(summary.loaded)


def test_says_what_the_sparse_delegate_does_with_each_layer():
    layers = (
        LayerVerdict(3, "ffn/kernel", True, "columns"),
        LayerVerdict(5, "pooler/kernel", False, "too dense"),
    )
    report = DelegateReport("neondot", 1, "measured", layers)
    first, second, table = describe_load(
        LoadSummary("litert", "2.3.0", 9, 6, 2, sparse=1, sparse_partitions=1, sparse_report=report)
    ).split("\n\n")
    assert "XNNPACK runs 6 of 9 operators, in 2 partitions" in first
    assert second == (
        "The sparse delegate (neondot, costs measured) runs 1, in 1 partitions: 1 of 2 INT8 layers"
    )
    assert [line.split() for line in table.splitlines()[2:]] == [
        ["ffn/kernel", "3", "sparse", "delegate", "columns"],
        ["pooler/kernel", "5", "left", "too", "dense"],
    ]


def test_a_cut_file_is_one_clear_error(tmp_path):
    data = tflite_files.classifier()
    path = written(tmp_path, data[: len(data) // 2])
    with pytest.raises(UserError, match="model.tflite is a damaged TFLite file or only a part"):
        inspect(path)
