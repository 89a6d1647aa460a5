import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.bench import runners
from tf_prune_ofa.errors import UserError

INPUTS = {
    "input_word_ids": np.array([[0, 1, 2, 9]], np.int32),
    "input_mask": np.ones([1, 4], np.int32),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.classifier())
    return str(path)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_the_compiled_model_computes_what_the_interpreter_does(path, xnnpack):
    results = []
    for runtime in ("litert", "compiled_model"):
        opened = runners.open_file(path, runtime, 1, {"xnnpack": xnnpack})
        assert opened.runtime_name == runtime and opened.runtime_version
        opened.set_inputs(INPUTS)
        opened.invoke()
        results.append(opened.outputs())
    assert list(results[0]) == list(results[1])
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-6)


def test_a_file_that_the_compiled_model_refuses(tmp_path):
    path = tmp_path / "no.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match="compiled_model cannot load .*no.tflite"):
        runners.open_file(str(path), "compiled_model", 1, {})


def test_runtimes_that_are_not_there():
    with pytest.raises(UserError, match="no runtime 'onnx'.*onnxruntime"):
        runners.prepare("onnx")
    with pytest.raises(UserError, match="deepsparse is not installed here.*make_peers"):
        runners.prepare("deepsparse")
