"""The sparse INT8 delegate in a real runtime, on one layer; the library itself is tested in C++."""

import ctypes.util
import logging
import platform
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tflite_files
from old_runtime import needs_tflite_runtime

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate, elsewhere
from tf_prune_ofa.runtime.interpreter import Interpreter

TOKENS, INPUTS, OUTPUTS = 64, 512, 192
is_here = pytest.mark.skipif(
    not delegate.LIBRARY.is_file(), reason="the library is built where a C++ compiler is found"
)


def layer_file(path, *, is_static, zeros=0.9, seed=0):
    """One fully-connected layer: x [1, TOKENS, INPUTS] -> y [1, TOKENS, OUTPUTS]."""
    rng = np.random.default_rng(seed)
    kernel = rng.integers(-127, 128, [OUTPUTS, INPUTS]) * (rng.random([OUTPUTS, INPUTS]) > zeros)
    scales = rng.uniform(0.001, 0.01, OUTPUTS)
    file = tflite_files.FileBuilder()
    port = {"dtype": np.int8, "scales": [0.05], "zero_points": [7]}
    x = file.tensor("x", [1, TOKENS, INPUTS], **(port if is_static else {"dtype": np.float32}))
    w = file.tensor(
        "layer 0: kernel",
        kernel.shape,
        np.int8,
        data=kernel,
        scales=scales,
        zero_points=[0] * OUTPUTS,
    )
    bias = rng.integers(-999, 999, OUTPUTS) if is_static else rng.normal(size=OUTPUTS)
    quantized = {"scales": 0.05 * scales, "zero_points": [0] * OUTPUTS} if is_static else {}
    b = file.tensor("b", [OUTPUTS], np.int32 if is_static else np.float32, data=bias, **quantized)
    port["scales"], port["zero_points"] = [0.1], [-5]
    y = file.tensor("y", [1, TOKENS, OUTPUTS], **(port if is_static else {"dtype": np.float32}))
    options = tflite_files.schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    file.operator("FULLY_CONNECTED", [x, w, b], [y], version=5 if is_static else 9, options=options)
    path.write_bytes(file.finish([x], [y]))
    return path


def an_input(is_static, seed=1):
    rng = np.random.default_rng(seed)
    if is_static:
        return {"x": rng.integers(-128, 128, [1, TOKENS, INPUTS], np.int8)}
    return {"x": rng.normal(size=[1, TOKENS, INPUTS]).astype(np.float32)}


def output(file, values):
    file.set_inputs(values)
    file.invoke()
    return file.outputs()["y"]


@is_here
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("is_static", [True, False])
def test_results_are_those_of_xnnpack(tmp_path, is_static, threads):
    path = layer_file(tmp_path / "a.tflite", is_static=is_static)
    options = {"force": "all"}  # whatever it costs on the machine that tests
    plain = Interpreter(path, threads)
    file = Interpreter(path, threads, delegate="auto", delegate_options=options)
    assert (plain.sparse_count, plain.delegated_count) == (0, 1)
    assert (file.sparse_count, file.sparse_partition_count, file.delegated_count) == (1, 1, 0)
    assert plain.delegate_report is None
    assert file.delegate_report.threads == threads
    values = an_input(is_static)
    np.testing.assert_array_equal(output(file, values), output(plain, values))


@is_here
def test_it_says_which_operator_runs_where(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    file = Interpreter(path, delegate=delegate.LIBRARY, delegate_options={"force": "all"})
    (node,) = file.nodes()
    assert (node.index, node.operator, node.output) == (0, "FULLY_CONNECTED", "y")
    assert node.place == "sparse delegate"
    (layer,) = file.delegate_report.layers
    assert (layer.node, layer.name, layer.is_taken) == (0, "layer 0: kernel", True)
    assert "192x512" in layer.reason


@is_here
def test_a_layer_without_zeros_is_left_to_xnnpack(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True, zeros=0.0)
    # Costs are those of a set of kernels: of the one that every machine has.
    file = Interpreter(path, delegate="auto", delegate_options={"isa": "portable"})
    assert (file.sparse_count, file.sparse_partition_count, file.delegated_count) == (0, 0, 1)
    (layer,) = file.delegate_report.layers
    assert not layer.is_taken and layer.reason
    assert [node.place for node in file.nodes()] == ["XNNPACK"]


@needs_tflite_runtime
@is_here
def test_in_tflite_runtime(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    example = {"x": an_input(True)["x"][0][None]}
    runs = [
        elsewhere.run_file(sys.executable, path, example, "tflite_runtime", library, options)
        for library, options in ((None, None), (delegate.LIBRARY, {"force": "all"}))
    ]
    assert [(run.error, run.sparse) for run in runs] == [(None, 0), (None, 1)]
    assert [run.runtime for run in runs] == ["tflite_runtime"] * 2
    apart = np.abs(runs[0].outputs["y"].astype(int) - runs[1].outputs["y"])
    # That runtime's own kernels round halves the other way.
    assert apart.max() <= 1


@is_here
def test_an_option_that_it_does_not_know(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    with pytest.raises(UserError, match="cannot load the delegate .*unknown option speed"):
        Interpreter(path, delegate="auto", delegate_options={"speed": "high"})


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the library is for Linux on x86-64 and aarch64",
)
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler here"
)
def test_it_is_built_where_there_is_a_compiler():
    assert delegate.require() == delegate.LIBRARY


def test_without_the_library_files_run_and_the_log_says_so_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(delegate, "LIBRARY", tmp_path / "none.so")
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    with caplog.at_level(logging.WARNING):
        file = Interpreter(path, delegate="auto")
    assert (file.delegated_count, file.sparse_count, file.delegate_report) == (1, 0, None)
    (record,) = caplog.records
    assert "delegate is absent" in record.message and "\n" not in record.message
    with pytest.raises(UserError, match="delegate is absent: install .* C\\+\\+ compiler"):
        delegate.require()


@is_here
def test_a_graph_with_dynamic_shapes(tmp_path):
    file = tflite_files.FileBuilder()
    schema = tflite_files.schema
    x = file.tensor("x", [8, 4], np.float32)
    shape = file.tensor("shape", [2], np.int32)
    y = file.tensor("y", [8, 4], np.float32)
    file.operator("RESHAPE", [x, shape], [y], options=schema.ReshapeOptionsT())
    path = tmp_path / "dynamic.tflite"
    path.write_bytes(file.finish([x, shape], [y]))
    opened = Interpreter(path, delegate="auto")
    assert opened.sparse_count == 0
    values = {"x": np.arange(32).reshape(8, 4), "shape": np.array([4, 8])}
    assert output(opened, values).shape == (4, 8)


def test_a_library_that_does_not_load(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    with pytest.raises(UserError, match=r"cannot load the delegate .*broken\.so"):
        Interpreter(path, delegate=broken)
    monkeypatch.setattr(delegate, "LIBRARY", broken)
    with caplog.at_level(logging.WARNING):
        assert Interpreter(path, delegate="auto").sparse_count == 0
    (record,) = caplog.records
    assert "broken.so does not load" in record.message and "\n" not in record.message


def test_a_library_of_another_version():
    # Any library without our functions: the C library's maths.
    old = ctypes.util.find_library("m")
    if old is None:
        pytest.skip("there is no other library here")
    with pytest.raises(UserError, match="built from another version .* Install the package anew"):
        delegate.processor(old)


def test_another_library_has_no_report():
    with pytest.raises(UserError, match="has no report"):
        delegate.report(SimpleNamespace(_library=SimpleNamespace()))
