import math

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, prune_low_magnitude, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.bert import Classification, EncoderConfig, MaskedLM, SpanQA

BERT = EncoderConfig(
    "bert",
    vocab_size=30,
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    intermediate_size=16,
    max_positions=10,
    type_vocab_size=3,
)
DISTILBERT = EncoderConfig(
    "distilbert",
    vocab_size=30,
    hidden_size=12,
    num_layers=2,
    num_heads=3,
    intermediate_size=20,
    max_positions=10,
    activation="gelu_tanh",
)
BOTH = pytest.mark.parametrize("config", [BERT, DISTILBERT], ids=["bert", "distilbert"])


def batch(config, lengths=(7, 4), size=7):
    rng = np.random.default_rng(0)
    shape = len(lengths), size
    inputs = {
        "input_word_ids": rng.integers(0, config.vocab_size, shape, np.int32),
        "input_mask": np.array([[i < n for i in range(size)] for n in lengths], np.int32),
    }
    if config.architecture == "bert":
        inputs["input_type_ids"] = rng.integers(0, config.type_vocab_size, shape, np.int32)
    return inputs


def randomize(model, seed=1):
    """Give every weight values large enough to matter: fresh biases are all 0, gammas all 1."""
    rng = np.random.default_rng(seed)
    for variable in bert.parameters(model).values():
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return {name: v.numpy().astype(np.float64) for name, v in bert.parameters(model).items()}


class Reference:
    """The encoder once more, in float64 NumPy with a loop over heads, from the papers' formulas."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights

    def dense(self, x, name):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config.layer_norm_epsilon)
        return x * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def gelu(self, x):
        if self.config.activation == "gelu_erf":
            return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def encode(self, inputs):
        """Return hidden states [L + 1, B, S, H] and attention scores [L, B, A, S, S]."""
        ids, mask = inputs["input_word_ids"], inputs["input_mask"]
        x = self.weights["embeddings/word/embeddings"][ids]
        x = x + self.weights["embeddings/position/embeddings"][: ids.shape[1]]
        if "input_type_ids" in inputs:
            x = x + self.weights["embeddings/type/embeddings"][inputs["input_type_ids"]]
        x = self.norm(x, "embeddings/norm")
        states, all_scores = [x], []
        size = self.config.hidden_size // self.config.num_heads
        for layer in (f"encoder_{i:02d}" for i in range(self.config.num_layers)):
            query, key, value = (
                self.dense(x, f"{layer}/attention/{name}") for name in ("query", "key", "value")
            )
            context, scores = np.zeros_like(x), []
            for head in range(self.config.num_heads):
                part = slice(head * size, (head + 1) * size)
                score = query[..., part] @ key[..., part].transpose(0, 2, 1) / math.sqrt(size)
                weight = np.exp(score - score.max(-1, keepdims=True)) * mask[:, None, :]
                weight = weight / weight.sum(-1, keepdims=True)
                context[..., part] = weight @ value[..., part]
                scores.append(score)
            x = self.norm(
                x + self.dense(context, f"{layer}/attention/output"), f"{layer}/attention/norm"
            )
            middle = self.gelu(self.dense(x, f"{layer}/ffn/intermediate"))
            x = self.norm(x + self.dense(middle, f"{layer}/ffn/output"), f"{layer}/ffn/norm")
            states.append(x)
            all_scores.append(np.stack(scores, 1))
        return np.stack(states), np.stack(all_scores)


# A few hundred float32 roundings (6e-8 relative each) of numbers up to about 10 gather to 1e-5.
CLOSE = {"rtol": 0, "atol": 3e-5}


@BOTH
@pytest.mark.parametrize("activation", ["gelu_erf", "gelu_tanh"])
def test_hidden_states_and_scores_are_those_of_the_formulas(config, activation):
    config = bert.replace(config, activation=activation)
    model = bert.build_model(config, hidden_states=True, attention_scores=True)
    reference = Reference(config, randomize(model))
    inputs = batch(config)
    outputs = model(inputs)
    states, scores = reference.encode(inputs)
    for index in range(3):
        np.testing.assert_allclose(outputs[f"hidden_states/{index:02d}"], states[index], **CLOSE)
    for index in range(2):
        np.testing.assert_allclose(outputs[f"attention_scores/{index:02d}"], scores[index], **CLOSE)
    np.testing.assert_array_equal(outputs["sequence_output"], outputs["hidden_states/02"])
    if config.architecture == "bert":
        pooled = np.tanh(reference.dense(states[-1][:, 0], "pooler"))
        np.testing.assert_allclose(outputs["pooled_output"], pooled, **CLOSE)
    else:
        assert "pooled_output" not in outputs


@BOTH
def test_heads_are_those_of_the_formulas(config):
    inputs = batch(config)
    positions = np.array([[0, 6], [2, 2]], np.int32)
    is_bert = config.architecture == "bert"

    model = bert.build_model(config, MaskedLM(nsp=is_bert))
    reference = Reference(config, randomize(model))
    outputs = model({**inputs, "mlm_positions": positions})
    x = reference.encode(inputs)[0][-1]
    picked = x[[[0], [1]], positions]
    picked = reference.norm(reference.gelu(reference.dense(picked, "mlm/transform")), "mlm/norm")
    words = reference.weights["embeddings/word/embeddings"]
    logits = picked @ words.T + reference.weights["mlm/decoder/bias"]
    np.testing.assert_allclose(outputs["mlm_logits"], logits, **CLOSE)
    if is_bert:
        nsp = reference.dense(np.tanh(reference.dense(x[:, 0], "pooler")), "nsp")
        np.testing.assert_allclose(outputs["nsp_logits"], nsp, **CLOSE)

    model = bert.build_model(config, Classification(3))
    reference = Reference(config, randomize(model))
    first = reference.encode(inputs)[0][-1][:, 0]
    if is_bert:
        first = np.tanh(reference.dense(first, "pooler"))
    else:
        first = np.maximum(reference.dense(first, "classifier/pre"), 0)
    logits = reference.dense(first, "classifier")
    np.testing.assert_allclose(model(inputs)["logits"], logits, **CLOSE)

    model = bert.build_model(config, SpanQA())
    reference = Reference(config, randomize(model))
    span = reference.dense(reference.encode(inputs)[0][-1], "span")
    np.testing.assert_allclose(model(inputs)["start_logits"], span[..., 0], **CLOSE)
    np.testing.assert_allclose(model(inputs)["end_logits"], span[..., 1], **CLOSE)


@BOTH
def test_tokens_do_not_see_padding(config):
    model = bert.build_model(config)
    randomize(model)
    inputs = batch(config, lengths=(7, 4))
    outputs = model(inputs)["sequence_output"].numpy()
    inputs["input_word_ids"][1, 4:] = 29
    # Equal to the last bit: exp(-10000) is 0, not a small number.
    np.testing.assert_array_equal(model(inputs)["sequence_output"][1, :4], outputs[1, :4])


@pytest.mark.parametrize(
    ("config", "kernels", "published"),
    [
        (
            EncoderConfig("bert", 30522, 768, 12, 12, 3072),
            12 * (4 * 768 * 768 + 2 * 768 * 3072),
            109_482_240,
        ),
        (
            EncoderConfig("distilbert", 30522, 768, 6, 12, 3072),
            6 * (4 * 768 * 768 + 2 * 768 * 3072),
            66_362_880,
        ),
        (
            EncoderConfig("bert", 30522, 384, 6, 12, 1536),
            6 * (4 * 384 * 384 + 2 * 384 * 1536),
            22_713_216,
        ),
    ],
    ids=["bert_base", "distilbert", "minilm_l6"],
)
def test_published_sizes(config, kernels, published):
    with tf.Graph().as_default():  # a graph only describes its variables: no gigabytes
        model = bert.build_model(config)
    in_encoder = [n for n in bert.dense_kernels(model) if n.startswith("encoder_")]
    assert len(in_encoder) == 6 * config.num_layers
    shapes = [bert.dense_kernels(model)[name].shape for name in in_encoder]
    assert sum(math.prod(shape) for shape in shapes) == kernels
    hidden, vocab = config.hidden_size, config.vocab_size
    types, pooler = (2, hidden * hidden + hidden) if config.architecture == "bert" else (0, 0)
    tables = (vocab + 512 + types) * hidden + 2 * hidden  # and their norm
    # Four attention biases, two of the feed-forward part, two norms.
    small = config.num_layers * (4 * hidden + config.intermediate_size + hidden + 4 * hidden)
    total = sum(math.prod(variable.shape) for variable in bert.parameters(model).values())
    assert total == tables + kernels + small + pooler == published


def test_layer_names_are_stable():
    calls = []

    def wrap(layer):
        calls.append(layer.name)
        return layer

    bert.build_model(bert.replace(BERT, num_layers=1), Classification(2), wrap=wrap)
    # Which of two layers is made first is not part of the interface, their names are.
    assert sorted(calls) == sorted(
        [
            "embeddings/word",
            "embeddings/position",
            "embeddings/type",
            "embeddings/norm",
            "encoder_00/attention/input",
            "encoder_00/attention/query",
            "encoder_00/attention/key",
            "encoder_00/attention/value",
            "encoder_00/attention/scores",
            "encoder_00/attention/softmax",
            "encoder_00/attention/context",
            "encoder_00/attention/output",
            "encoder_00/attention/norm",
            "encoder_00/ffn/input",
            "encoder_00/ffn/intermediate",
            "encoder_00/ffn/activation",
            "encoder_00/ffn/output",
            "encoder_00/ffn/norm",
            "pooler/input",
            "pooler",
            "classifier/input",
            "classifier",
        ]
    )


@pytest.mark.parametrize(
    ("config", "head", "layers"),
    [
        (BERT, None, ["pooler"]),
        (BERT, MaskedLM(), ["mlm/transform", "mlm/norm", "mlm/decoder"]),
        (BERT, MaskedLM(nsp=True), ["mlm/transform", "mlm/norm", "mlm/decoder", "pooler", "nsp"]),
        (BERT, Classification(2), ["pooler", "classifier"]),
        (BERT, SpanQA(), ["span"]),
        (DISTILBERT, None, []),
        (DISTILBERT, MaskedLM(), ["mlm/transform", "mlm/norm", "mlm/decoder"]),
        (DISTILBERT, Classification(2), ["classifier/pre", "classifier"]),
        (DISTILBERT, SpanQA(), ["span"]),
    ],
)
def test_every_model_is_flat_and_its_head_layers_are_named(config, head, layers):
    config = bert.replace(config, num_layers=1)
    model = bert.build_model(config, head, hidden_states=True, attention_scores=True)
    for layer in model.layers:
        assert not isinstance(layer, keras.Model)
        assert [x for x in layer.submodules if isinstance(x, keras.layers.Layer)] == [], layer.name
    for kernel in bert.dense_kernels(model).values():
        assert len(kernel.shape) == 2
    names = bert.layer_names(bert.parameters(model))
    # TensorFlow sorts layers by depth in the graph: the order is not part of the interface.
    assert sorted(n for n in names if not n.startswith(("embeddings", "encoder"))) == sorted(layers)


def test_gelu_forms():
    # x·Φ(x) at 1, and its tanh approximation, to seven digits.
    for activation, value in (("gelu_erf", 0.8413447), ("gelu_tanh", 0.8411920)):
        model = bert.build_model(bert.replace(BERT, activation=activation))
        gelu = model.get_layer("encoder_01/ffn/gelu")
        assert float(gelu(tf.constant(1.0))) == pytest.approx(value, abs=1e-7)


def test_decoder_is_tied_to_the_word_embedding():
    model = bert.build_model(BERT, MaskedLM())
    assert [v.shape for v in model.get_layer("mlm/decoder").weights] == [(30,)]
    inputs = {**batch(BERT), "mlm_positions": np.array([[1], [1]], np.int32)}
    before = model(inputs)["mlm_logits"].numpy()
    table = bert.parameters(model)["embeddings/word/embeddings"]
    unused = next(i for i in range(30) if i not in inputs["input_word_ids"])
    table.assign(tf.tensor_scatter_nd_update(table, [[unused]], tf.zeros([1, 8])))
    after = model(inputs)["mlm_logits"].numpy()
    # Only this word's logit moves, to the bias, which is 0.
    np.testing.assert_array_equal(after[..., unused], 0)
    np.testing.assert_array_equal(np.delete(after, unused, -1), np.delete(before, unused, -1))


def test_new_weights_follow_the_seed():
    same, again, other = (
        bert.parameters(bert.build_model(BERT, Classification(2), seed=seed)) for seed in (3, 3, 4)
    )
    drawn = [n for n in same if n.endswith(("/kernel", "/embeddings"))]
    assert len(drawn) == 3 + 2 * 6 + 2
    for name in same:
        np.testing.assert_array_equal(same[name], again[name], err_msg=name)
    for name in drawn:
        assert np.any(same[name].numpy() != other[name].numpy()), name


def test_dropout_only_in_training_and_only_if_asked():
    model = bert.build_model(BERT, Classification(2))
    inputs = batch(BERT)
    still = model(inputs)["logits"].numpy()
    np.testing.assert_array_equal(model(inputs, training=False)["logits"], still)
    assert np.any(model(inputs, training=True)["logits"].numpy() != still)
    model = bert.build_model(BERT.without_dropout(), Classification(2))
    assert not [layer.name for layer in model.layers if "dropout" in layer.name]


@BOTH
def test_fixed_shapes_for_export(config):
    model = bert.build_model(config, Classification(2), sequence_length=6, batch_size=1)
    assert [x.shape for x in model.inputs] == [(1, 6)] * len(model.inputs)
    assert model.output["logits"].shape == (1, 2)
    for layer in model.layers:
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        assert all(None not in x.shape for x in outputs), layer.name


def test_pruning_wrappers_are_looked_through():
    def wrap(layer):
        return prune_low_magnitude(layer) if layer.name.endswith("ffn/output") else layer

    plain = bert.build_model(BERT, MaskedLM(), seed=1)
    wrapped = bert.build_model(BERT, MaskedLM(), seed=2, wrap=wrap)
    assert set(bert.parameters(wrapped)) == set(bert.parameters(plain))
    bert.copy_parameters(plain, wrapped)
    inputs = {**batch(BERT), "mlm_positions": np.array([[1], [2]], np.int32)}
    np.testing.assert_array_equal(wrapped(inputs)["mlm_logits"], plain(inputs)["mlm_logits"])


def test_decoder_reaches_a_wrapped_embedding():
    class Wrapper(keras.layers.Wrapper):
        def call(self, x):
            return self.layer(x)

    def wrap(layer):
        return Wrapper(layer) if layer.name == "embeddings/word" else layer

    model = bert.build_model(BERT, MaskedLM(), wrap=wrap)
    inputs = {**batch(BERT), "mlm_positions": np.array([[1], [2]], np.int32)}
    assert model(inputs)["mlm_logits"].shape == (2, 1, 30)


def test_copying_between_different_sizes_is_refused():
    small = bert.build_model(BERT)
    large = bert.build_model(bert.replace(BERT, intermediate_size=20))
    with pytest.raises(UserError, match=r"encoder_00/ffn/intermediate/kernel \(8, 20\)"):
        bert.copy_parameters(small, large)


def test_impossible_models_are_refused():
    with pytest.raises(UserError, match="sequence length 11 is longer than the encoder's 10"):
        bert.build_model(BERT, sequence_length=11)
    with pytest.raises(UserError, match="hidden_size 8 is not a multiple of num_heads 3"):
        bert.replace(BERT, num_heads=3)
    with pytest.raises(UserError, match="DistilBERT has no pooler"):
        bert.build_model(DISTILBERT, MaskedLM(nsp=True))
