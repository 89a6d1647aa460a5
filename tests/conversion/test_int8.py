import numpy as np
import pytest
from exported_models import CONFIG, make_examples

from tf_prune_ofa.conversion import convert, int8, integers
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.tflite.graph import Graph

# x [1, 2] @ KERNEL + BIAS; numbers are whole steps of the scales that the ranges give.
KERNEL = np.array([[1.27, -0.5], [0.0, 1.27]], np.float32)  # scale 0.01 for both channels
BIAS = np.array([0.5, -0.25], np.float32)
RANGES = {"before": (-1.28, 1.27), "layer": (-2.56, 2.54)}  # scales 0.01 and 0.02, both around 0


def small_model(activation=None, use_bias=True, behind=None):
    x = keras.Input([2], batch_size=1, name="x")
    y = keras.layers.Activation("linear", name="before")(x)
    layer = keras.layers.Dense(2, activation=activation, use_bias=use_bias, name="layer")
    y = layer(y)
    layer.set_weights([KERNEL, BIAS] if use_bias else [KERNEL])
    if behind:
        y = keras.layers.Activation(behind, name="behind")(y)
    return keras.Model({"x": x}, {"y": y})


@pytest.fixture(scope="module")
def small_file():
    return convert.to_float32(small_model())


def operators(content):
    graph = Graph(content)
    return [graph.op_name(operator) for operator in graph.operators]


def test_a_layer_by_hand(small_file, run_bytes):
    content = int8.dense_int8(small_file, RANGES)
    assert operators(content) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    # 0.9 * 1.27 + 0.5 = 1.643, and 0.9 * -0.5 + 0.2 * 1.27 - 0.25 = -0.446; outputs are steps of
    # 0.02, and neither is near the middle of two.
    found = run_bytes(content, x=np.float32([[0.9, 0.2]]))["y"][0]
    np.testing.assert_allclose(found, [1.64, -0.44], atol=1e-6)
    # The input ends at 1.27: 1.27 * 1.27 + 0.5 = 2.113, and 1.27 * -0.5 - 0.25 = -0.885.
    found = run_bytes(content, x=np.float32([[9.0, 0.0]]))["y"][0]
    np.testing.assert_allclose(found, [2.12, -0.88], atol=1e-6)


def test_the_numbers_in_the_file(small_file):
    layer = int8.int8_layers(int8.dense_int8(small_file, RANGES))["layer"]
    np.testing.assert_array_equal(layer.kernel, [[127, 0], [-50, 127]])
    np.testing.assert_allclose(layer.weight_scales, [0.01, 0.01], rtol=1e-6)
    np.testing.assert_array_equal(layer.bias, [5000, -2500])  # steps of 0.01 * 0.01
    assert (layer.input_scale, layer.input_zero_point) == (pytest.approx(0.01), 0)
    assert (layer.output_scale, layer.output_zero_point) == (pytest.approx(0.02), 0)
    assert layer.factor == 1


def test_ranges_of_a_whole_model_are_in_the_file(dense_file, ranges):
    layers = int8.int8_layers(dense_file)
    assert len(layers) == 6 * CONFIG.num_layers + 2
    for name, layer in layers.items():
        # The converter made the query 1/4 as large; its integers stay what they were.
        factor = 0.25 if name.endswith("query") else 1.0
        expected = integers.activation_params(*(factor * end for end in ranges[name]))
        assert (layer.output_scale, layer.output_zero_point) == expected
    query, value = (layers[f"encoder_00/attention/{part}"] for part in ("query", "value"))
    source = integers.activation_params(*ranges["encoder_00/attention/input"])
    assert (query.input_scale, query.input_zero_point) == source
    assert (value.input_scale, value.input_zero_point) == source


def test_the_integers_are_those_of_the_keras_kernels(model, dense_file):
    kernels = dense_kernels(model)
    for name, layer in int8.int8_layers(dense_file).items():
        kernel = kernels[name].numpy().T
        # 1/4 is a power of two: scaling the query changed no digit.
        scales = integers.weight_scales(kernel)
        np.testing.assert_array_equal(layer.kernel, integers.quantize_weights(kernel, scales))
        assert not layer.kernel[kernel == 0].any()


def test_layers_that_share_an_input_quantize_it_once(dense_file):
    # Attention input, context, feed-forward input and activation in each layer; pooler, classifier.
    assert operators(dense_file).count("QUANTIZE") == 4 * CONFIG.num_layers + 2


def test_static_and_float_logits_are_close(float32_file, dense_file, run_bytes):
    step = int8.int8_layers(dense_file)["classifier"].output_scale
    for example in make_examples(4):
        expected = run_bytes(float32_file, **example)["logits"]
        found = run_bytes(dense_file, **example)["logits"]
        # The scale is 255 steps of the logits' range; errors of a few per cent come from eight bits
        # in fourteen layers. A wrong scale or zero point anywhere gives tens of per cent.
        assert np.abs(found - expected).max() < 20 * step


def test_without_a_range_a_layer_stays_float(float32_file, ranges):
    some = {k: v for k, v in ranges.items() if k not in ("pooler", "encoder_00/ffn/activation")}
    reasons = int8.float_layers(float32_file, some)
    assert reasons == {
        "pooler": "no range for pooler",
        "encoder_00/ffn/output": "no range for encoder_00/ffn/activation",
    }
    layers = int8.int8_layers(int8.dense_int8(float32_file, some))
    assert set(reasons).isdisjoint(layers)
    assert len(layers) == 6 * CONFIG.num_layers


def test_an_activation_inside_the_layer_keeps_it_float():
    content = convert.to_float32(small_model(activation="tanh"))
    reasons = int8.float_layers(content, RANGES)
    assert "activation of its own" in reasons["layer"]
    with pytest.raises(UserError, match="nothing would be INT8"):
        int8.dense_int8(content, RANGES)


def test_a_relu_behind_the_layer_is_kept(run_bytes):
    content = convert.to_float32(small_model(behind="relu"))
    content = int8.dense_int8(content, RANGES)
    found = run_bytes(content, x=np.float32([[1.0, 0.2]]))["y"][0]
    assert found[0] == pytest.approx(1.77, abs=0.0101)
    assert found[1] == 0


def test_a_layer_without_bias(run_bytes):
    content = convert.to_float32(small_model(use_bias=False))
    content = int8.dense_int8(content, RANGES)
    found = run_bytes(content, x=np.float32([[1.0, 0.2]]))["y"][0]
    # 1.27 and -0.5 + 0.254 = -0.246, half a step of 0.02 more or less, float rounding besides.
    np.testing.assert_allclose(found, [1.27, -0.246], atol=0.0101)


def test_ranges_of_another_model_are_refused(small_file):
    with pytest.raises(UserError, match="nor an attention's scores: encoder_07/key"):
        int8.dense_int8(small_file, RANGES | {"encoder_07/key": (0, 1)})


def test_no_ranges_are_refused(small_file):
    with pytest.raises(UserError, match="nothing would be INT8"):
        int8.dense_int8(small_file, {})


def test_dynamic_weights_are_int8_and_activations_float(small_file, run_bytes):
    content = int8.dynamic_int8(small_file)
    graph = Graph(content)
    assert operators(content) == ["FULLY_CONNECTED"]
    (operator,) = graph.operators
    assert graph.op_version(operator) == 12
    np.testing.assert_array_equal(graph.constant(operator.inputs[1]), [[127, 0], [-50, 127]])
    assert graph.dtype(operator.inputs[0]) == np.float32
    found = run_bytes(content, x=np.float32([[1.0, 0.2]]))["y"][0]
    # The input's own range [0, 1] in 255 steps, times a sum of weights below 2: 0.004.
    np.testing.assert_allclose(found, [1.77, -0.496], atol=0.004)


def test_dynamic_quantization_takes_all_layers(float32_file, run_bytes):
    content = int8.dynamic_int8(float32_file)
    graph = Graph(content)
    kernels = [op.inputs[1] for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    assert all(graph.dtype(kernel) == np.int8 for kernel in kernels)
    for example in make_examples(2):
        expected = run_bytes(float32_file, **example)["logits"]
        found = run_bytes(content, **example)["logits"]
        # Logits are near 1; eight bits in fourteen layers cost a few per cent.
        assert np.abs(found - expected).max() < 0.2
