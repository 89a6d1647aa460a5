"""One small model, converted once: tests of the passes start from its files."""

import pytest
from exported_models import make_examples, make_model

from tf_prune_ofa.export import calibrate, convert, quantize, sparse
from tf_prune_ofa.runtime.interpreter import Interpreter


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def float32_file(model):
    return convert.to_float32(model)


@pytest.fixture(scope="session")
def ranges(float32_file):
    return calibrate.measure_ranges(float32_file, make_examples(16))


@pytest.fixture(scope="session")
def dense_file(float32_file, ranges):
    return quantize.dense_int8(float32_file, ranges)


@pytest.fixture(scope="session")
def sparse_file(dense_file):
    return sparse.sparse_int8(dense_file)


@pytest.fixture
def run_bytes(tmp_path):
    """Run a file's bytes on inputs by name."""

    def run(content, **inputs):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tflite"
        path.write_bytes(content)
        interpreter = Interpreter(path)
        interpreter.set_inputs(inputs)
        interpreter.invoke()
        return interpreter.outputs()

    return run
