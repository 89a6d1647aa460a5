"""Whole encoder layers in the delegate: equal to the stock runtime, bit for bit, part by part.

Equality in float holds for the runtime whose order of additions the kernels follow (LiteRT 2.3).
XNNPACK takes the best instructions that the processor has, and kernels for lesser ones follow it
there; what it does where there are no better ones shows on an emulated processor. For aarch64 see
tests/device/test_emulated.py.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from encoder_files import EncoderFile, run_there

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate
from tf_prune_ofa.runtime.interpreter import Interpreter

INSTRUCTION_SETS = ("avx512vnni", "avx512vnni_shifts", "avxvnni", "avx2")
pytestmark = pytest.mark.skipif(
    not delegate.LIBRARY.is_file() or "avx" not in delegate.processor(delegate.LIBRARY)[1],
    reason="these need AVX2; for aarch64 there is tests/device/test_emulated.py",
)


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request):
    """Kernels that the delegate is told to take, if this machine runs them."""
    try:
        delegate.load(litert, delegate.AUTO, {"isa": request.param})
    except UserError as error:
        assert "no kernels called" in str(error)
        pytest.skip(f"this machine does not run {request.param}")
    return request.param


def run(path, values, threads=1, **options):
    """Outputs in the file's order, and what the delegate took beside layers (None without it)."""
    if not options:
        file = Interpreter(path, threads, "litert")
    else:
        file = Interpreter(
            path, threads, "litert", delegate="auto", delegate_options={"force": "all"} | options
        )
    file.set_inputs(values)
    file.invoke()
    report = file.delegate_report
    return list(file.outputs().values()), report and report.beside_layers


def counts(beside):
    return tuple(int(number) for number in re.findall(r"(\d+) ", beside))


@pytest.fixture
def write(tmp_path):
    def written(encoder):
        path = tmp_path / "encoder.tflite"
        path.write_bytes(encoder.content)
        return path

    return written


@pytest.mark.parametrize("seed", range(8))
def test_every_part_is_equal(write, isa, seed):
    encoder = EncoderFile(seed, shows_all=seed % 2 == 1)
    path, values = write(encoder), encoder.values(is_padded_behind=seed % 3 != 0)
    expected, _ = run(path, values)
    found, beside = run(path, values, 1 + seed % 3, isa=isa, live_tokens="never")
    layers = encoder.layers
    assert counts(beside) == (layers, 1 + 2 * layers, layers)
    assert np.std(expected[0]) > 0.3
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("seed", range(8))
def test_live_tokens_are_equal_and_the_others_0(write, isa, seed):
    encoder = EncoderFile(seed)
    path, values = write(encoder), encoder.values(is_padded_behind=seed % 3 != 0)
    (expected,), _ = run(path, values)
    (found,), beside = run(path, values, isa=isa, live_tokens="always")
    assert beside.endswith("live tokens alone")
    places = np.flatnonzero(encoder.live)
    live = places[-1] + 1 if len(places) else encoder.tokens
    np.testing.assert_array_equal(found[:, :live], expected[:, :live])
    assert not found[:, live:].any()


def test_outputs_that_show_all_tokens_have_all(write):
    # Seed 1 pads behind: masked tokens would be 0 if they were left out.
    encoder = EncoderFile(1)
    path, values = write(encoder), encoder.values()
    assert not encoder.live.all()
    (expected,), _ = run(path, values)
    (found,), beside = run(path, values, live_tokens="unseen")
    assert beside.endswith("all tokens")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1, 2])
def test_gelu_in_the_middle_of_two_steps(write, isa, ratio):
    # With such steps many results lie in the middle, where the last bit decides.
    encoder = EncoderFile(3, shows_all=True)
    graph = encoder.file.graph
    writers = {int(operator.outputs[0]): operator for operator in graph.operators}
    for operator in graph.operators:
        if type(operator.builtinOptions).__name__ != "GeluOptionsT":
            continue
        source = graph.tensors[int(writers[int(operator.inputs[0])].inputs[0])].quantization
        (quantized,) = (o.outputs[0] for o in graph.operators if operator.outputs[0] in o.inputs)
        graph.tensors[quantized].quantization.scale = source.scale * np.float32(ratio)
    encoder.content = encoder.file.finish(encoder.inputs, graph.outputs)
    path, values = write(encoder), encoder.values()
    expected, _ = run(path, values)
    found, beside = run(path, values, isa=isa, live_tokens="never")
    assert counts(beside)[2] == encoder.layers
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(b, a)


def test_exact_takes_layers_alone(write):
    encoder = EncoderFile(2)
    path, values = write(encoder), encoder.values()
    (expected,), _ = run(path, values)
    (found,), beside = run(path, values, exact="1")
    assert beside == ""
    np.testing.assert_array_equal(found, expected)


def change_softmax(encoder):
    graph = encoder.file.graph
    first = next(o for o in graph.operators if type(o.builtinOptions).__name__ == "SoftmaxOptionsT")
    first.builtinOptions.beta = 0.5


def change_activation(encoder):
    graph = encoder.file.graph
    for operator in graph.operators:
        if type(operator.builtinOptions).__name__ == "SubOptionsT":
            operator.builtinOptions.fusedActivationFunction = 1


def change_scale_of_probabilities(encoder):
    for tensor in encoder.file.graph.tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.zeroPoint[0] == -128:
            quantization.zeroPoint = np.array([-100], np.int64)


@pytest.mark.parametrize(
    "change", [change_softmax, change_activation, change_scale_of_probabilities]
)
def test_what_it_does_not_know_is_left(write, change):
    encoder = EncoderFile(4)
    whole = (encoder.layers, 1 + 2 * encoder.layers, encoder.layers)
    change(encoder)
    encoder.content = encoder.file.finish(encoder.inputs, encoder.file.graph.outputs)
    path, values = write(encoder), encoder.values()
    (expected,), _ = run(path, values)
    (found,), beside = run(path, values, live_tokens="never")
    assert beside == "" or counts(beside) < whole
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="no qemu-x86_64 (Debian: qemu-user)")
def test_a_processor_without_avx512_has_its_own_rounding(tmp_path):
    """There XNNPACK adds up exponentials, and begins reciprocal roots, in another way."""
    python = ["qemu-x86_64", "-cpu", "Haswell", sys.executable]
    variables = {"PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)}
    is_other = False
    for seed, stock, found in run_there(python, delegate.LIBRARY, tmp_path, range(8), variables):
        here = Interpreter(tmp_path / f"{seed}.tflite", 1, "litert")
        here.set_inputs(dict(np.load(tmp_path / f"{seed}.npz")))
        here.invoke()
        for name, value in here.outputs().items():
            np.testing.assert_array_equal(found[name], stock[name])
            is_other |= not np.array_equal(value, stock[name])
    assert is_other or "avx512" not in delegate.processor(delegate.LIBRARY)[1]
