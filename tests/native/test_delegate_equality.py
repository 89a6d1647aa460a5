"""The delegate's results are XNNPACK's, bit for bit: random single layers, and whole models."""

import shutil
import subprocess

import numpy as np
import pytest
import tflite_files
from exported_models import CONFIG, make_examples, make_model

from tf_prune_ofa.conversion import calibrate, convert, int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.places import SPARSE
from tf_prune_ofa.tflite import sparse

pytestmark = pytest.mark.skipif(
    not delegate.LIBRARY.is_file(), reason="the library is built where a C++ compiler is found"
)

INSTRUCTION_SETS = (
    "avx512vnni",
    "avx512vnni_shifts",
    "avxvnni",
    "avx2",
    "i8mm",
    "neondot",
    "neon",
    "portable",
)
# None, ReLU, ReLU6.
ACTIVATIONS = (0, 1, 3)
DENSE_LAYERS = 6 * CONFIG.num_layers + 2


def random_layer(rng, *, is_static):
    """A file with one layer of random size, scales, zeros and activation, and an input."""
    tokens, inputs = int(rng.integers(1, 140)), int(rng.integers(1, 300))
    outputs = int(rng.integers(1, 90))
    kernel = rng.integers(-127, 128, [outputs, inputs])
    kernel[rng.random(kernel.shape) < rng.choice([0.5, 0.8, 0.95])] = 0
    is_per_tensor = rng.random() < 0.3
    scales = rng.uniform(0.001, 0.01, 1 if is_per_tensor else outputs).astype(np.float32)
    input_port, output_port = {"dtype": np.float32}, {"dtype": np.float32}
    bias = {"dtype": np.float32, "data": rng.normal(size=outputs)}
    values = rng.normal(rng.normal(), 1, [1, tokens, inputs]).astype(np.float32)
    if is_static:
        for port, most in ((input_port, 0.1), (output_port, 0.4)):
            port |= {"dtype": np.int8, "scales": [rng.uniform(0.01, most)]}
            port["zero_points"] = [rng.integers(-128, 128)]
        bias = {"dtype": np.int32, "data": rng.integers(-5000, 5000, outputs)}
        bias |= {"scales": input_port["scales"] * scales, "zero_points": 0 * scales}
        values = rng.integers(-128, 128, values.shape).astype(np.int8)

    file = tflite_files.FileBuilder()
    x = file.tensor("x", values.shape, **input_port)
    w = file.tensor("w", kernel.shape, np.int8, data=kernel, scales=scales, zero_points=0 * scales)
    b = file.tensor("b", [outputs], **bias) if rng.random() < 0.8 else -1
    y = file.tensor("y", [1, tokens, outputs], **output_port)
    options = tflite_files.schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    options.fusedActivationFunction = int(rng.choice(ACTIVATIONS))
    file.operator("FULLY_CONNECTED", [x, w, b], [y], version=5 if is_static else 9, options=options)
    return file.finish([x], [y]), values


def outputs_of(interpreter, values):
    interpreter.set_inputs(values)
    interpreter.invoke()
    return interpreter.outputs()


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_random_layers(tmp_path, isa):
    rng = np.random.default_rng(0)
    options = {"force": "all", "isa": isa}
    for number in range(12):
        content, values = random_layer(rng, is_static=number % 2 == 0)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(content)
        expected = outputs_of(Interpreter(path, runtime="litert"), {"x": values})
        try:
            file = Interpreter(
                path, 1 + number % 3, "litert", delegate="auto", delegate_options=options
            )
        except UserError as error:
            assert "no kernels called" in str(error)
            pytest.skip(f"this machine does not run {isa}")
        assert file.sparse_count == 1
        np.testing.assert_array_equal(outputs_of(file, {"x": values})["y"], expected["y"])


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """A small sparse BERT: name -> path of a file, of each kind that has INT8 layers."""
    folder = tmp_path_factory.mktemp("files")
    float32 = convert.to_float32(make_model())
    dense = int8.dense_int8(float32, calibrate.measure_ranges(float32, make_examples(16)))
    contents = {
        "dynamic_int8": int8.dynamic_int8(float32),
        "dense_int8": dense,
        "sparse_int8": sparse.sparse_int8(dense),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["dynamic_int8", "dense_int8", "sparse_int8"])
def test_whole_models(model_files, kind, threads):
    path = model_files[kind]
    plain = Interpreter(path, threads)
    file = Interpreter(path, threads, delegate="auto", delegate_options={"force": "all"})
    taken = [node.operator for node in file.nodes() if node.place == SPARSE]
    assert taken.count("FULLY_CONNECTED") + taken.count("CONV_2D") == DENSE_LAYERS
    # The weights' and the image's other names go with their layer.
    left = {node.operator for node in file.nodes() if node.place != SPARSE}
    assert not left & {"FULLY_CONNECTED", "CONV_2D", "DENSIFY"}
    for example in make_examples(4):
        expected, found = outputs_of(plain, example), outputs_of(file, example)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def two_layers_with_a_reshape_between():
    """x [1, 24, 64] -> [1, 24, 32] -> RESHAPE to the shape that is an input -> [24, 64]."""
    rng = np.random.default_rng(0)
    file = tflite_files.FileBuilder()
    x, shape = file.tensor("x", [1, 24, 64], np.float32), file.tensor("shape", [2], np.int32)
    middle = file.tensor("middle", [1, 24, 32], np.float32)
    reshaped = file.tensor("reshaped", [24, 32], np.float32)
    y = file.tensor("y", [24, 64], np.float32)
    options = tflite_files.schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    weights = []
    for outputs, inputs in ((32, 64), (64, 32)):
        kernel = rng.integers(-127, 128, [outputs, inputs]) * (rng.random([outputs, inputs]) > 0.9)
        quantized = {"scales": [0.01] * outputs, "zero_points": [0] * outputs}
        name = f"w{len(weights)}"
        weights.append(file.tensor(name, kernel.shape, np.int8, data=kernel, **quantized))
    file.operator("FULLY_CONNECTED", [x, weights[0], -1], [middle], version=9, options=options)
    file.operator(
        "RESHAPE", [middle, shape], [reshaped], options=tflite_files.schema.ReshapeOptionsT()
    )
    file.operator("FULLY_CONNECTED", [reshaped, weights[1], -1], [y], version=9, options=options)
    return file.finish([x, shape], [y])


def test_a_graph_with_a_tensor_of_unknown_shape(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(two_layers_with_a_reshape_between())
    values = {"x": np.random.default_rng(1).normal(size=[1, 24, 64]), "shape": np.array([24, 32])}
    file = Interpreter(path, delegate="auto", delegate_options={"force": "all"})
    expected = outputs_of(Interpreter(path), values)["y"]
    np.testing.assert_array_equal(outputs_of(file, values)["y"], expected)


@pytest.mark.parametrize("is_static", [True, False])
def test_an_input_that_is_resized_later(is_static):
    module = pytest.importorskip("ai_edge_litert.interpreter")
    content, values = random_layer(np.random.default_rng(3), is_static=is_static)
    loaded = delegate.load(module, "auto", {"force": "all"})
    results = []
    for delegates in ([], [loaded]):
        interpreter = module.Interpreter(model_content=content, experimental_delegates=delegates)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        longer = np.repeat(values, 3, axis=1)
        interpreter.resize_tensor_input(source, longer.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, longer)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert results[1].shape[1] == 3 * values.shape[1]
    np.testing.assert_array_equal(results[1], results[0])


def test_the_library_needs_no_symbol_of_tflite():
    if shutil.which("nm") is None:
        pytest.skip("nm lists symbols and is not here")
    command = ["nm", "--dynamic", "--undefined-only", delegate.LIBRARY]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert listed and "tflite" not in listed.lower()
