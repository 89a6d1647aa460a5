"""One small model, converted once: tests of the passes start from its files."""

import numpy as np
import pytest

from tf_prune_ofa.export import calibrate, convert, quantize, sparse
from tf_prune_ofa.models.bert import Classification, EncoderConfig, build_model, dense_kernels

# Heads of 16 (the query's factor is 1/4), a feed-forward size above 256 (columns need two places)
# and attention kernels so small that storing them sparsely does not pay.
CONFIG = EncoderConfig(
    "bert", vocab_size=60, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=512
).without_dropout()
LENGTH = 8
SPARSITY = 0.9


def make_model(config=CONFIG, head=None, length=LENGTH, seed=0):
    """A model whose encoder kernels are 90 % zero and whose activations stay near 1."""
    model = build_model(
        config, head or Classification(2), sequence_length=length, batch_size=1, seed=seed
    )
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = [rng.normal(0, 0.1, weight.shape) for weight in layer.get_weights()]
        if layer.name.endswith("norm"):
            weights[0] += 1
        layer.set_weights(weights)
    for name, kernel in dense_kernels(model).items():
        value = rng.normal(0, 2 * kernel.shape[0] ** -0.5, kernel.shape)
        if name.startswith("encoder"):
            value[np.abs(value) < np.quantile(np.abs(value), SPARSITY)] = 0
        kernel.assign(value)
    return model


def make_examples(count, length=LENGTH, vocab_size=CONFIG.vocab_size, seed=0):
    """Inputs by name, each [length], with padding behind the tokens."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        mask = (np.arange(length) < rng.integers(3, length + 1)).astype(np.int32)
        ids = rng.integers(0, vocab_size, length, dtype=np.int32) * mask
        yield {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(mask)}


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
    from tf_prune_ofa.runtime.interpreter import Interpreter

    def run(content, **inputs):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tflite"
        path.write_bytes(content)
        interpreter = Interpreter(path)
        interpreter.set_inputs(inputs)
        interpreter.invoke()
        return interpreter.outputs()

    return run
