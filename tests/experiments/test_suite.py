"""A benchmark suite of a tiny encoder: files, measurement, table and plot."""

import pytest

from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.blocks.live import Block, live_blocks
from tf_prune_ofa.conversion import int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments import suite as bench_suite
from tf_prune_ofa.experiments.suite_files import make_files, other_interfaces, with_zeros
from tf_prune_ofa.experiments.suite_plot import plot

TINY = bench_suite.Suite("bert", 64, 1, 2, 8, vocab_size=30)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    return folder, make_files(TINY, folder, blocks=[Block(32, 32)], sparsities=[0.5, 0.75])


def test_its_files(made):
    _, files = made
    assert [file.path.name for file in files] == [
        "float32.tflite",
        "dynamic_int8.tflite",
        "dense_int8.tflite",
        "sparse_int8_50.tflite",
        "sparse_int8_75.tflite",
        "32x32_50.tflite",
        "32x32_75.tflite",
    ]
    assert all(file.path.is_file() for file in files)


def test_files_are_made_once(made):
    folder, files = made
    asked = []
    arguments = {"blocks": [Block(32, 32)], "sparsities": [0.5, 0.75]}
    assert make_files(TINY, folder, **arguments, on_file=asked.append) == files
    assert not asked
    files[-1].path.unlink()
    make_files(TINY, folder, **arguments, on_file=asked.append)
    assert "32x32 75%" in asked


def test_the_share_of_zeros_is_exact(made):
    _, files = made
    dense = files[2].path.read_bytes()
    layers = int8.int8_layers(with_zeros(dense, Block(32, 16), 0.75))
    for name, layer in layers.items():
        if name.startswith("encoder_"):
            assert live_blocks(layer.kernel, Block(32, 16)).mean() == 0.25


def test_measurement_table_and_plot(made, monkeypatch):
    _, files = made
    monkeypatch.setattr(bench_suite, "SUITES", {"tiny": TINY})
    settings = BenchSettings(runs=5, burst=1, seconds=1, loads=1, warmup=1)
    rows = bench_suite.select([*files, *other_interfaces(files)], "32x32 75%, compiled")
    result = bench_suite.measure("tiny", rows, settings, [1, 2])
    assert [run["runtime"]["threads"] for run in result["runs"]] == [1, 2]
    reference, sparse, elsewhere = result["runs"][0]["files"]
    assert (reference["label"], reference["difference"]) == ("dynamic_int8", None)
    assert (sparse["series"], sparse["sparsity"]) == ("32x32", 0.75)
    assert elsewhere["runtime"]["name"] == "compiled_model"
    assert elsewhere["difference"] == {"to": "32x32 75%", "max_abs": 0.0}
    text = bench_suite.describe(result)
    assert "ratio, 2 threads" in text and "dynamic_int8" in text and "off float" in text
    result["runs"][0]["files"].append({**sparse, "sparsity": 0.5})  # a line needs two points
    assert plot(result).png.startswith(b"\x89PNG")


def test_some_files_also_run_elsewhere(made):
    _, files = made
    rows = other_interfaces(files)
    assert [row.label for row in rows] == [
        "dynamic_int8, compiled_model",
        "dense_int8, compiled_model",
        "32x32 75%, compiled_model",
        "float32, tflite_runtime",
        "dense_int8, tflite_runtime",
        "32x32 75%, tflite_runtime",
    ]
    assert rows[2].path == files[-1].path and rows[2].same_as == "32x32 75%"


def test_rows_are_chosen_with_what_they_are_compared_with(made):
    _, files = made
    rows = [*files, *other_interfaces(files)]
    chosen = [row.label for row in bench_suite.select(rows, "^32x32 75%, compiled")]
    assert chosen == ["dynamic_int8", "32x32 75%", "32x32 75%, compiled_model"]
    with pytest.raises(UserError, match="No row .* 'onnx'. There are: float32, "):
        bench_suite.select(rows, "onnx")
    with pytest.raises(UserError, match="no regular expression"):
        bench_suite.select(rows, "(")


def test_an_unknown_suite():
    with pytest.raises(UserError, match="bert_base_s128"):
        bench_suite.find_suite("bert_large")
