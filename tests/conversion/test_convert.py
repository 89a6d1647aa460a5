import numpy as np
import pytest
from exported_models import CONFIG, LENGTH, make_examples, make_model

from tf_prune_ofa.conversion import convert
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import (
    Classification,
    EncoderConfig,
    MaskedLM,
    SpanQA,
    build_model,
)
from tf_prune_ofa.tflite import dense_layers
from tf_prune_ofa.tflite.graph import Graph

# float32 rounds each sum once more or less often, in another order: 1e-6 of numbers near 1, times
# the few hundred summands of a layer, of which a fraction adds up.
FLOAT_TOLERANCE = 2e-5


def op_counts(content):
    graph = Graph(content)
    names = [graph.op_name(operator) for operator in graph.operators]
    return {name: names.count(name) for name in set(names)}


def test_the_file_computes_what_keras_does(model, float32_file, run_bytes):
    for example in make_examples(4):
        expected = model({name: value[None] for name, value in example.items()})["logits"]
        found = run_bytes(float32_file, **example)["logits"]
        np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE)


def test_inputs_and_outputs_have_their_names_in_a_fixed_order(float32_file):
    graph = Graph(float32_file)
    inputs, outputs = graph.signature()
    assert list(inputs) == ["input_word_ids", "input_mask", "input_type_ids"]
    assert list(outputs) == ["logits"]
    for name, tensor in (inputs | outputs).items():
        assert graph.name(tensor) == name
    for tensor in inputs.values():
        assert graph.shape(tensor) == [1, LENGTH]
        assert graph.dtype(tensor) == np.int32


def test_operators_are_builtin_and_gelu_is_one_of_them(float32_file):
    counts = op_counts(float32_file)
    assert counts["GELU"] == CONFIG.num_layers
    assert counts["SOFTMAX"] == CONFIG.num_layers
    assert counts["FULLY_CONNECTED"] == 6 * CONFIG.num_layers + 2
    assert counts["GATHER"] == 2  # words and types; positions are a constant summand
    assert set(counts) <= {
        "ADD",
        "BATCH_MATMUL",
        "CAST",
        "FULLY_CONNECTED",
        "GATHER",
        "GELU",
        "MEAN",
        "MUL",
        "RESHAPE",
        "RSQRT",
        "SOFTMAX",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "TANH",
        "TRANSPOSE",
    }


def test_the_tanh_form_of_gelu_is_builtin_too(run_bytes):
    config = EncoderConfig("bert", 20, 16, 1, 2, 32, activation="gelu_tanh").without_dropout()
    model = make_model(config, length=4)
    content = convert.to_float32(model)
    assert op_counts(content)["GELU"] == 1
    example = next(make_examples(1, length=4, vocab_size=20))
    expected = model({name: value[None] for name, value in example.items()})["logits"]
    np.testing.assert_allclose(
        run_bytes(content, **example)["logits"], expected, atol=FLOAT_TOLERANCE
    )


def test_every_dense_layer_is_found(model, float32_file):
    stamps = dense_layers.read_stamps(Graph(float32_file))
    assert set(stamps) == {
        layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)
    }
    query = stamps["encoder_01/attention/query"]
    assert query.input_name == "encoder_01/attention/input"
    assert query.factor == 0.25  # 1 / sqrt(16)
    assert stamps["encoder_01/ffn/output"].input_name == "encoder_01/ffn/activation"
    assert all(stamp.factor == 1 for name, stamp in stamps.items() if "query" not in name)


def test_embedding_tables_have_names(model, float32_file):
    graph = Graph(float32_file)
    named = {graph.name(t): t for t in range(len(graph.tensors)) if graph.is_constant(t)}
    word = graph.constant(named["embeddings/word/embeddings"])
    np.testing.assert_array_equal(word, model.get_layer("embeddings/word").embeddings)
    position = graph.constant(named["embeddings/position/embeddings"])
    assert position.shape[-2:] == (LENGTH, CONFIG.hidden_size)
    assert "embeddings/type/embeddings" in named


def test_distilbert_has_two_inputs(run_bytes):
    config = EncoderConfig("distilbert", 20, 16, 1, 2, 32).without_dropout()
    model = make_model(config, Classification(3), length=4)
    content = convert.to_float32(model)
    assert list(Graph(content).signature()[0]) == ["input_word_ids", "input_mask"]
    inputs = {"input_word_ids": np.int32([2, 3, 4, 0]), "input_mask": np.int32([1, 1, 1, 0])}
    expected = model({name: value[None] for name, value in inputs.items()})["logits"]
    np.testing.assert_allclose(
        run_bytes(content, **inputs)["logits"], expected, atol=FLOAT_TOLERANCE
    )


def test_a_span_head_has_two_outputs(run_bytes):
    config = EncoderConfig("bert", 20, 16, 1, 2, 32).without_dropout()
    model = make_model(config, SpanQA(), length=4)
    example = next(make_examples(1, length=4, vocab_size=20))
    expected = model({name: value[None] for name, value in example.items()})
    found = run_bytes(convert.to_float32(model), **example)
    assert set(found) == {"start_logits", "end_logits"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=FLOAT_TOLERANCE)


def test_an_open_shape_is_refused():
    model = build_model(CONFIG, Classification(2))
    with pytest.raises(UserError, match=r"has the open shape \[None, None\].*batch_size=1"):
        convert.to_float32(model)


def test_open_positions_of_a_language_model_are_refused():
    model = build_model(CONFIG, MaskedLM(), sequence_length=LENGTH, batch_size=1)
    with pytest.raises(UserError, match=r"positions has the open shape \[1, None\]"):
        convert.to_float32(model)


def test_other_weights_than_float32_are_refused():
    x = keras.Input([4], batch_size=1, name="x")
    model = keras.Model({"x": x}, {"y": keras.layers.Dense(2, dtype="float64", name="d")(x)})
    with pytest.raises(UserError, match="2 weights are not float32, first d/kernel"):
        convert.to_float32(model)


def test_operators_without_a_builtin_form_are_listed_with_their_layers():
    x = keras.Input([4], batch_size=1, name="x")
    y = keras.layers.Lambda(tf.math.digamma, name="encoder_00/odd")(x)
    y = keras.layers.Lambda(tf.math.digamma, name="odd/other")(y)
    with pytest.raises(UserError, match="no builtin TFLite form") as raised:
        convert.to_float32(keras.Model({"x": x}, {"y": y}))
    assert "Digamma in encoder_00/odd" in str(raised.value)
    assert "Digamma in odd/other" in str(raised.value)
