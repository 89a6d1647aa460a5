import io
import json
import zipfile

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.delegate import DelegateReport, LayerVerdict
from tf_prune_ofa.runtime.inspect import (
    LoadSummary,
    OpSummary,
    inspect,
    load,
)
from tf_prune_ofa.runtime.inspect_text import describe, describe_load


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
