"""Costs measured in a real runtime, and what the delegate makes of them. No time is asserted."""

import importlib
import logging

import numpy as np
import pytest
from test_delegate import an_input, layer_file, output

from tf_prune_ofa.runtime import calibrate, delegate
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.layer_chain import LayerShape, chain, random_kernels

is_here = pytest.mark.skipif(
    not delegate.LIBRARY.is_file(), reason="the library is built where a C++ compiler is found"
)


def test_entries_are_counted_as_the_layouts_have_them():
    kernel = np.zeros([3, 10], np.int8)
    kernel[0, [0, 1, 9]] = 1  # groups 0 and 2; three nonzeros
    kernel[1, 2:8] = 1  # groups 0 and 1; six nonzeros
    assert calibrate.count_entries(kernel, "groups", 12) == 4
    assert calibrate.count_entries(kernel, "columns", 12) == 1 + 2
    # Tiles of four columns: 2, 0, 1 and 2, 4, 0 nonzeros.
    assert calibrate.count_entries(kernel, "columns", 4) == 2 + 2
    assert calibrate.count_entries(kernel[2:], "groups", 4) == 0


def test_kernels_have_the_zeros_that_are_asked_for():
    shape = LayerShape(True, 1, 96, 48, 16)
    rng = np.random.default_rng(0)
    kernels = random_kernels(rng, shape, 2, 0.75, 4)
    assert [kernel.shape for kernel in kernels] == [(96, 48), (48, 96)] * 2
    zeros = [np.mean(kernel == 0) for kernel in kernels]
    assert 0.65 < min(zeros) and max(zeros) < 0.85
    blocks = kernels[0].reshape(96, 12, 4)
    assert ((blocks == 0).all(axis=2) | (blocks != 0).all(axis=2)).all()
    assert all(kernel.all() for kernel in random_kernels(rng, shape, 1, 0, 1))


@is_here
@pytest.mark.parametrize("is_static", [True, False])
def test_a_chain_runs_alike_with_and_without_the_delegate(tmp_path, is_static):
    shape = LayerShape(is_static, 1, 96, 48, 16)
    kernels = random_kernels(np.random.default_rng(0), shape, 1, 0.5, 1)
    path = tmp_path / "chain.tflite"
    path.write_bytes(chain(shape, kernels))
    plain = Interpreter(path)
    file = Interpreter(path, delegate="auto", delegate_options={"force": "all"})
    # Two layers, and an addition of the runtime's behind each.
    assert (file.sparse_count, file.sparse_partition_count, file.delegated_count) == (2, 2, 2)
    (name,) = plain.input_names
    values = {name: np.random.default_rng(1).integers(-128, 128, [1, 16, 48])}
    results = []
    for opened in (plain, file):
        opened.set_inputs(values)
        opened.invoke()
        results.append(next(iter(opened.outputs().values())))
    np.testing.assert_array_equal(*results)
    assert np.unique(results[0]).size > 10


@is_here
def test_measured_times(caplog):
    module = importlib.import_module("ai_edge_litert.interpreter")
    _, kernels, tile = delegate.processor(delegate.LIBRARY)
    shape = LayerShape(True, 1, 128, 96, 32)
    times = calibrate.measure(
        module, delegate.LIBRARY, kernels, tile, [shape, shape.turned()], seconds=0.01
    )
    # Both fit into one tile of any size.
    assert [(t.shape, t.tile_columns) for t in times] == [(shape, 96), (shape.turned(), 128)]
    for t in times:
        assert t.dense > 0 and min(*t.groups, *t.columns) >= 0 and t.kernels == kernels
        assert sum(t.groups) > 0 and sum(t.columns) > 0


@pytest.fixture
def file_to_measure(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    folder = tmp_path / "costs"
    return path, {"cost_cache": str(folder)}, folder


@is_here
def test_a_file_s_layers_are_measured_once(file_to_measure, monkeypatch):
    path, options, folder = file_to_measure
    file = Interpreter(path, delegate="auto", delegate_options=options)
    assert file.delegate_report.costs == "measured"
    (stored,) = folder.glob("*.txt")
    text = stored.read_text()
    # The layer [192, 512] with 64 tokens, and the one that leads back.
    sizes = {tuple(line.split()[3:7]) for line in text.splitlines() if line.startswith("layer")}
    assert sizes == {("1", "192", "512", "64"), ("1", "512", "192", "64")}
    np.testing.assert_array_equal(
        output(file, an_input(True)), output(Interpreter(path), an_input(True))
    )

    def never(*args):
        raise AssertionError("measured again")

    monkeypatch.setattr(calibrate, "measure", never)
    again = Interpreter(path, delegate="auto", delegate_options=options)
    assert again.delegate_report == file.delegate_report
    assert stored.read_text() == text


@is_here
@pytest.mark.parametrize("is_faster", [True, False])
def test_what_was_measured_decides(file_to_measure, monkeypatch, is_faster):
    path, options, _ = file_to_measure
    real = calibrate.measure

    def measure(*args):
        ours = (1.0, 0.0) if is_faster else (1e6, 1.0)
        return [
            type(t)(t.shape, t.kernels, t.tile_columns, 1000.0, ours, ours)
            for t in real(*args, seconds=0.01)
        ]

    monkeypatch.setattr(calibrate, "measure", measure)
    file = Interpreter(path, delegate="auto", delegate_options=options)
    assert file.sparse_count == is_faster


@is_here
def test_without_a_measurement_shipped_costs_decide(file_to_measure, monkeypatch, caplog):
    path, options, folder = file_to_measure
    monkeypatch.setattr(calibrate, "measure", lambda *args: [])  # too busy
    file = Interpreter(path, delegate="auto", delegate_options=options)
    assert file.delegate_report.costs != "measured" and not list(folder.glob("*.txt"))
    shipped = Interpreter(path, delegate="auto", delegate_options={"cost_cache": "off"})
    assert shipped.delegate_report == file.delegate_report
    # A folder that cannot be made.
    blocked = folder.with_name("blocked")
    blocked.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        file = Interpreter(path, delegate="auto", delegate_options={"cost_cache": str(blocked)})
    assert file.delegate_report == shipped.delegate_report
    (record,) = caplog.records
    assert "costs are not measured: measured costs cannot be kept" in record.message


@is_here
def test_a_damaged_file_is_measured_anew(file_to_measure, caplog):
    path, options, folder = file_to_measure
    Interpreter(path, delegate="auto", delegate_options=options)
    (stored,) = folder.glob("*.txt")
    text = stored.read_text()
    stored.write_text(text[: len(text) // 2] + "#")
    with caplog.at_level(logging.WARNING):
        file = Interpreter(path, delegate="auto", delegate_options=options)
    assert file.delegate_report.costs == "measured"
    assert stored.read_text().count("layer ") == text.count("layer ")
    (record,) = caplog.records
    assert record.message.startswith(f"Measured costs in {stored} are ignored")


@is_here
def test_who_decides_by_options_measures_nothing(file_to_measure):
    path, options, folder = file_to_measure
    for decided in ({"force": "all"}, {"isa": "portable"}, {"layout": "groups"}):
        Interpreter(path, delegate="auto", delegate_options={**options, **decided})
    assert not folder.exists()
