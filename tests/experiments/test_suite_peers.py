"""The suite's encoder in other runtimes: which files, with which zeros, computing the same."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.experiments import peers, suite_peers
from tf_prune_ofa.experiments import suite as bench_suite
from tf_prune_ofa.experiments.suite_files import make_files
from tf_prune_ofa.tflite.graph import Graph

TINY = bench_suite.Suite("bert", 64, 1, 2, 8, vocab_size=30)
PYTHONS = dict.fromkeys(peers.PEERS, Path(sys.executable))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    make_files(TINY, folder, blocks=[Block(32, 32)], sparsities=[])
    return folder


@pytest.fixture
def written(monkeypatch):
    """What was to be written, by file name: arguments and weights."""
    jobs = {}

    def write_onnx(python, output, *, weights, **arguments):
        jobs[output.name] = (arguments, dict(np.load(weights)))
        output.write_bytes(b"onnx")

    def quantize(python, source, output):
        jobs[output.name] = source.name
        output.write_bytes(b"onnx")

    monkeypatch.setattr(peers, "write_onnx", write_onnx)
    monkeypatch.setattr(peers, "quantize_dynamically", quantize)
    return jobs


def test_rows_of_all_peers_and_their_files(folder, written):
    rows = suite_peers.make_rows(TINY, folder, PYTHONS)
    assert {row.label: (row.row.runtime, row.same_as) for row in rows} == {
        "float32 90%": ("auto", None),
        "onnxruntime float32": ("onnxruntime", "float32"),
        "onnxruntime dynamic INT8": ("onnxruntime", "float32"),
        "openvino float32": ("openvino", "float32"),
        "openvino bfloat16": ("openvino", "float32"),
        "openvino static INT8": ("openvino", "float32"),
        "deepsparse float32 90%": ("deepsparse", "float32 90%"),
        "deepsparse static INT8 90%": ("deepsparse", "float32 90%"),
    }
    assert written["dynamic_int8.onnx"] == "float32.onnx"
    arguments, dense = written["static_int8.onnx"]
    assert arguments["sequence_length"] == 8 and "encoder_00/ffn/input" in arguments["ranges"]
    arguments, sparse = written["integer_products_90.onnx"]
    assert arguments["integer_products"] is True
    name = "encoder_00/ffn/output/kernel"
    assert np.mean(sparse[name] == 0) == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_array_equal(sparse[name], dense[name] * (sparse[name] != 0))
    # The same zeros as in the .tflite file that the outputs are compared with.
    graph = Graph((folder / "float32_90.tflite").read_bytes())
    kernels = {
        graph.name(int(operator.inputs[1])): graph.constant(int(operator.inputs[1]))
        for operator in graph.operators
        if graph.op_name(operator) == "FULLY_CONNECTED"
    }
    np.testing.assert_array_equal(kernels[name].T, sparse[name])

    written.clear()
    (folder / "static_int8.onnx").unlink()
    assert suite_peers.make_rows(TINY, folder, PYTHONS) == rows
    assert list(written) == ["static_int8.onnx"]  # the others are there
    suite_peers.make_rows(TINY, folder, PYTHONS, seed=1)
    assert len(written) == 5  # of other weights


def test_without_peers_there_are_no_rows(folder, written):
    assert suite_peers.make_rows(TINY, folder, {}) == []
    assert not written


@pytest.mark.network
@pytest.mark.slow  # installs 1 GB
def test_every_peer_computes_what_litert_does(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_suite, "SUITES", {"tiny": TINY})
    rows = make_files(TINY, tmp_path, blocks=[Block(32, 32)], sparsities=[])
    rows += suite_peers.make_rows(TINY, tmp_path, peers.make(tmp_path / "peers", list(peers.PEERS)))
    settings = BenchSettings(runs=5, burst=1, loads=0, warmup=0)
    result = bench_suite.measure("tiny", rows, settings, [1])
    apart = {
        file["label"]: file["difference"]["max_abs"]
        for file in result["runs"][0]["files"]
        if file["difference"]
    }
    assert len(apart) == 7
    for label, difference in apart.items():
        assert difference < (1e-5 if "float32" in label else 0.05), label
