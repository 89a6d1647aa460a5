"""The delegate in LiteRT's CompiledModel."""

import importlib.metadata

import numpy as np
import pytest
from test_delegate import INPUTS, TOKENS, an_input, layer_file, output

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import compiled_model, delegate
from tf_prune_ofa.runtime.compiled_model import CompiledModel
from tf_prune_ofa.runtime.interpreter import Interpreter

pytestmark = pytest.mark.skipif(
    not delegate.LIBRARY.is_file()
    or tuple(map(int, importlib.metadata.version("ai-edge-litert").split(".")[:2])) < (2, 3),
    reason="needs the library, and LiteRT 2.3",
)


@pytest.mark.parametrize("is_static", [True, False])
def test_results_are_those_of_the_interpreter(tmp_path, is_static):
    path = layer_file(tmp_path / "a.tflite", is_static=is_static)
    with CompiledModel(path, {"force": "all"}) as model:
        (layer,) = model.delegate_report.layers
        assert layer.is_taken
        for seed in (1, 2):
            values = an_input(is_static, seed)
            np.testing.assert_array_equal(model.run(values)["y"], output(Interpreter(path), values))


def test_what_does_not_pay_is_left_to_xnnpack(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True, zeros=0.1)
    with CompiledModel(path) as model:
        assert not model.delegate_report.layers[0].is_taken
        values = an_input(True)
        np.testing.assert_array_equal(model.run(values)["y"], output(Interpreter(path), values))


def test_wrong_inputs_and_options_are_refused(tmp_path):
    path = layer_file(tmp_path / "a.tflite", is_static=True)
    with pytest.raises(UserError, match="cannot run .*unknown option speed"):
        CompiledModel(path, {"speed": "high"})
    with CompiledModel(path) as model:
        with pytest.raises(UserError, match="has the inputs x; given were y"):
            model.run({"y": np.zeros([1, TOKENS, INPUTS], np.int8)})
        with pytest.raises(UserError, match="takes x of shape"):
            model.run({"x": np.zeros([1, TOKENS, 1], np.int8)})
    with pytest.raises(UserError, match="does not exist"):
        CompiledModel(tmp_path / "none.tflite")


def test_a_runtime_without_the_interface(monkeypatch):
    monkeypatch.setattr(compiled_model.ctypes, "CDLL", lambda path: object())
    with pytest.raises(UserError, match="from ai-edge-litert 2.3.0 on"):
        compiled_model._library()
