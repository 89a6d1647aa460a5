import sys

import numpy as np
import pytest
from exported_models import CONFIG, make_examples
from old_runtime import needs_tflite_runtime

from tf_prune_ofa.conversion import int8, watch
from tf_prune_ofa.runtime.elsewhere import run_file
from tf_prune_ofa.tflite import flatbuffer, sparse
from tf_prune_ofa.tflite.graph import Graph


def random_kernel(outputs, inputs, sparsity, seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.integers(1, 128, [outputs, inputs]) * rng.choice([-1, 1], [outputs, inputs])
    kernel[rng.random(kernel.shape) < sparsity] = 0
    return kernel.astype(np.int8)


def decode(encoding, shape):
    """By the definition: row by row, place by place."""
    outputs, inputs = shape
    places = np.zeros([outputs * encoding.width, inputs // encoding.width], np.int8)
    for place, (start, end) in enumerate(
        zip(encoding.segments[:-1], encoding.segments[1:], strict=True)
    ):
        places[place, encoding.columns[start:end]] = encoding.values[start:end]
    return places.reshape(shape)


def test_an_encoding_by_hand():
    encoding = sparse.encode(np.array([[0, 5, 0, 0], [0, 0, 0, 0], [-7, 0, 0, 9]], np.int8))
    assert encoding.width == 1
    np.testing.assert_array_equal(encoding.values, [5, -7, 9])
    np.testing.assert_array_equal(encoding.columns, [1, 0, 3])
    np.testing.assert_array_equal(encoding.segments, [0, 1, 1, 3])
    assert encoding.size_bytes == 3 + 3 + 4


@pytest.mark.parametrize(
    "inputs, width",
    [
        (256, 1),  # columns 0 to 255: one byte
        (384, 2),  # two places of 192
        (768, 3),  # three of 256
        (3072, 12),
        (257, 1),  # a prime: 257 places of one channel would cost more than columns of two bytes
    ],
)
def test_columns_take_one_byte_where_the_size_divides(inputs, width):
    kernel = random_kernel(64, inputs, 0.9)
    encoding = sparse.encode(kernel)
    assert encoding.width == width
    assert encoding.columns.dtype == (np.uint16 if inputs == 257 else np.uint8)
    np.testing.assert_array_equal(decode(encoding, kernel.shape), kernel)


# The sizes of MiniLM-L6 and BERT-Base. One byte for a value, one for its column, and two or four
# for where each place starts, against one for each weight: at worst 1 / (0.1 * 2 + 4 / 192) = 4.5.
@pytest.mark.parametrize("shape", [(384, 384), (1536, 384), (384, 1536), (768, 768), (3072, 768)])
@pytest.mark.parametrize("sparsity, smaller", [(0.9, 4.4), (0.85, 3.0), (0.6, 1.2)])
def test_how_much_smaller(shape, sparsity, smaller):
    kernel = random_kernel(*shape, sparsity)
    assert kernel.nbytes / sparse.encode(kernel).size_bytes > smaller


def test_results_are_equal_bit_for_bit(dense_file, sparse_file, run_bytes):
    dense, encoded = (watch.watch_int8_layers(file) for file in (dense_file, sparse_file))
    for example in make_examples(4):
        expected, found = run_bytes(dense, **example), run_bytes(encoded, **example)
        assert len(expected) == 6 * CONFIG.num_layers + 2
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


@needs_tflite_runtime
def test_results_are_equal_in_the_oldest_runtime(dense_file, sparse_file, tmp_path):
    rows = list(make_examples(4))
    examples = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    outputs = []
    for name, file in (("dense", dense_file), ("sparse", sparse_file)):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(watch.watch_int8_layers(file))
        run = run_file(sys.executable, path, examples, "tflite_runtime")
        assert run.error is None
        assert run.runtime == "tflite_runtime"
        outputs.append(run.outputs)
    for name in outputs[0]:
        # Its kernels for the two operators round alike on the machines that were tried, but one
        # is free to round in another place: one step, two would be another number.
        steps = np.abs(outputs[0][name].astype(int) - outputs[1][name])
        assert steps.max() <= 1


def test_only_layers_that_get_smaller_are_changed(dense_file, sparse_file):
    dense, encoded = sparse.stored_layers(dense_file), sparse.stored_layers(sparse_file)
    changed = {name for name, (_, is_sparse) in encoded.items() if is_sparse}
    # Attention kernels are 32 x 32 = 1024 bytes, no more than the operators that would be added.
    assert changed == {
        f"encoder_{layer:02d}/ffn/{part}"
        for layer in range(2)
        for part in ("intermediate", "output")
    }
    for name in dense:
        assert (encoded[name][0] < dense[name][0]) == (name in changed)
        assert not dense[name][1]
    assert len(sparse_file) < len(dense_file)


def test_the_integers_are_the_same(dense_file, sparse_file):
    dense, encoded = int8.int8_layers(dense_file), int8.int8_layers(sparse_file)
    assert dense.keys() == encoded.keys()
    for name in dense:
        np.testing.assert_array_equal(encoded[name].kernel, dense[name].kernel)
        np.testing.assert_array_equal(encoded[name].weight_scales, dense[name].weight_scales)
        assert encoded[name].output_scale == dense[name].output_scale


def test_the_form_is_densify_before_a_convolution(sparse_file):
    graph = Graph(sparse_file)
    convolutions = [op for op in graph.operators if graph.op_name(op) == "CONV_2D"]
    assert len(convolutions) == 4
    unpacked = {int(op.outputs[0]) for op in graph.operators if graph.op_name(op) == "DENSIFY"}
    assert {int(op.inputs[1]) for op in convolutions} == unpacked
    output = next(op for op in convolutions if "ffn/output" in graph.name(int(op.inputs[1])))
    # 512 inputs as two places of 256 channels.
    assert graph.shape(int(output.inputs[1])) == [32, 1, 2, 256]
    assert graph.shape(int(output.inputs[0])) == [1, 8, 2, 256]


def test_a_second_pass_changes_nothing(sparse_file):
    assert sparse.sparse_int8(sparse_file) == sparse_file


def test_the_runtime_reads_the_encoding_as_we_do(dense_file, sparse_file):
    graph = Graph(sparse_file)
    dense = int8.int8_layers(dense_file)
    for tensor in graph.tensors:
        if tensor.sparsity is not None:
            name = flatbuffer.text(tensor.name).removesuffix("/kernel")
            values = flatbuffer.tensor_values(graph.model, tensor)
            np.testing.assert_array_equal(values.reshape(len(values), -1), dense[name].kernel)


def test_float_layers_stay_as_they_are(float32_file):
    assert sparse.sparse_int8(float32_file) == Graph(float32_file).to_bytes()
