"""BERT and DistilBERT encoders as one flat functional graph of plain layers.

Legend: B batch · S sequence · H hidden · A heads · F feed-forward · V vocabulary · P predicted
positions.

Layer names are stable: weights, masks, quantization ranges and rules in recipes refer to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tf_prune_ofa.architectures import find_family
from tf_prune_ofa.architectures.family import Family
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.limits import PROBABILITY, SHARE, between, limited, required
from tf_prune_ofa.models import layers
from tf_prune_ofa.models.head_kinds import (  # noqa: F401, for whoever builds models
    Classification,
    Head,
    MaskedLM,
    SpanQA,
    TokenClassification,
)
from tf_prune_ofa.models.sizes import check_sizes

Wrap = Callable[[keras.layers.Layer], keras.layers.Layer]
Tensors = dict[str, tf.Tensor]
Precision = Literal["float32", "bfloat16"]

# Weights that a layer of this package can have; what TFMOT's wrappers add has other names.
PARAMETER_NAMES = ("kernel", "bias", "gamma", "beta", "embeddings")


# Config


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and forms of an encoder.

    `architecture` is one of `architectures.FAMILIES`. `embedding_size` is the width of the
    embeddings where a projection to the hidden size follows (ELECTRA), 0 where they are as wide.
    `activation` is the GELU's form: "gelu_erf" (Hugging Face's "gelu") or "gelu_tanh" ("gelu_new").
    """

    architecture: str
    vocab_size: int = required(between(1, 1_000_000))
    hidden_size: int = required(between(1, 16_384))
    num_layers: int = required(between(1, 256))
    num_heads: int = required(between(1, 1_024))
    intermediate_size: int = required(between(1, 65_536))
    max_positions: int = limited(512, between(1, 1_000_000))
    type_vocab_size: int = limited(2, between(1, 1_000))
    activation: Literal["gelu_erf", "gelu_tanh"] = "gelu_erf"
    layer_norm_epsilon: float = limited(1e-12, PROBABILITY)
    dropout: float = limited(0.1, SHARE)
    attention_dropout: float = limited(0.1, SHARE)
    embedding_size: int = limited(0, between(0, 65_536))

    def __post_init__(self) -> None:
        find_family(self.architecture)
        check_sizes(self)

    @property
    def family(self) -> Family:
        """All that is particular to the architecture."""
        return find_family(self.architecture)

    @property
    def word_size(self) -> int:
        """Width of the embeddings."""
        return self.embedding_size or self.hidden_size

    def without_dropout(self) -> EncoderConfig:
        """Return the same encoder with both dropout rates 0."""
        return replace(self, dropout=0.0, attention_dropout=0.0)


# Graph


def build_model(
    config: EncoderConfig,
    head: Head | None = None,
    *,
    wrap: Wrap | None = None,
    sequence_length: int | None = None,
    batch_size: int | None = None,
    hidden_states: bool = False,
    attention_scores: bool = False,
    precision: Precision = "float32",
    seed: int = 0,
) -> keras.Model:
    """Build encoder and head.

    Args:
        config: the encoder's sizes.
        head: task head, or None for `sequence_output` [B, S, H] and, for BERT, `pooled_output`
            [B, H].
        wrap: called with every layer that has weights and with every point where a quantization
            range can sit (named `.../input`, `.../context`, `.../activation`, and attention's
            `.../scores` and `.../softmax`); returns the layer, or its pruning or quantization
            wrapper.
        sequence_length: fixed S for export; None leaves it open.
        batch_size: fixed B for export; None leaves it open.
        hidden_states: also output `hidden_states/00` (embeddings) to `hidden_states/NN`, each
            [B, S, H].
        attention_scores: also output `attention_scores/00`..., each [B, A, S, S], before mask and
            softmax.
        precision: of the encoder's dense layers' products; "bfloat16" halves what they read, and
            processors with AVX512-BF16 or AMX, GPUs and TPUs multiply faster. Weights, their
            gradients and all between the products stay float32.
        seed: of the dropout and of new weights.

    Returns:
        Model from {input name: int32 tensor} to {output name: float tensor}. Inputs:
        `input_word_ids`, `input_mask` (1 token, 0 padding) and, where there are token types,
        `input_type_ids`, each [B, S];
        and what the head adds. Outputs are the head's; see `models.head_kinds`.

    Raises:
        UserError: more positions are asked for than there are, or NSP of an encoder without pooler.
    """
    if sequence_length is not None and sequence_length > config.max_positions:
        raise UserError(
            f"sequence length {sequence_length} is longer than the encoder's "
            f"{config.max_positions} positions; choose at most {config.max_positions}"
        )
    if head is not None:
        head.check(config.family)
    graph = Graph(config, wrap or (lambda layer: layer), seed, precision)
    names = ["input_word_ids", "input_mask"]
    if config.family.token_types:
        names.append("input_type_ids")
    inputs = {
        name: keras.Input([sequence_length], batch_size=batch_size, dtype=tf.int32, name=name)
        for name in names
    }
    outputs: Tensors = {}
    x = graph.embeddings(inputs)
    if hidden_states:
        outputs["hidden_states/00"] = x
    for index in range(config.num_layers):
        x, scores = graph.encoder_layer(x, inputs["input_mask"], f"encoder_{index:02d}")
        if hidden_states:
            outputs[f"hidden_states/{index + 1:02d}"] = x
        if attention_scores:
            outputs[f"attention_scores/{index:02d}"] = scores
    if head is not None:
        inputs |= head.inputs(batch_size)
        outputs |= head.outputs(graph, x, inputs)
    else:
        outputs["sequence_output"] = x
        if config.family.has_pooler:
            outputs["pooled_output"] = graph.pooled(x)
    return keras.Model(inputs, outputs, name=config.architecture)


class Graph:
    """Builds the parts of one model; holds what they share."""

    def __init__(
        self, config: EncoderConfig, wrap: Wrap, seed: int, precision: Precision = "float32"
    ) -> None:
        self.config = config
        self.precision = precision
        self.wrap = wrap
        self.seed = seed
        self._initializers = 0

    # Layers

    def _initializer(self) -> keras.initializers.Initializer:
        self._initializers += 1
        return keras.initializers.TruncatedNormal(
            stddev=0.02, seed=self.seed * 10_000 + self._initializers
        )

    def dense(self, units: int, name: str, **kwargs: Any) -> keras.layers.Layer:
        """Return a Dense layer with new weights."""
        # A head's few products cost nothing, and what comes out of it is compared and averaged.
        if self.precision == "bfloat16" and name.startswith("encoder_"):
            kwargs["dtype"] = keras.mixed_precision.Policy("mixed_bfloat16")
        layer = keras.layers.Dense(
            units, name=name, kernel_initializer=self._initializer(), **kwargs
        )
        return self.wrap(layer)

    def embedding(self, rows: int, name: str) -> keras.layers.Layer:
        """Return an embedding table with new weights."""
        layer = keras.layers.Embedding(
            rows, self.config.word_size, name=name, embeddings_initializer=self._initializer()
        )
        return self.wrap(layer)

    def norm(self, name: str) -> keras.layers.Layer:
        """Return a LayerNorm."""
        epsilon = self.config.layer_norm_epsilon
        return self.wrap(keras.layers.LayerNormalization(epsilon=epsilon, name=name))

    def point(self, name: str) -> keras.layers.Layer:
        """Return an identity in front of dense layers, where an INT8 input range can sit."""
        return self.wrap(keras.layers.Activation("linear", name=name))

    def dropout(self, x: tf.Tensor, name: str, rate: float | None = None) -> tf.Tensor:
        """Return a tensor behind dropout, if there is any."""
        rate = self.config.dropout if rate is None else rate
        if rate == 0:
            return x
        # Every dropout layer needs its own stream; the name is what distinguishes them for good.
        seed = sum(ord(c) * 31**i for i, c in enumerate(name)) % 2**30 + self.seed
        return layers.Dropout(rate, seed=seed, name=name)(x)

    def gelu(self, name: str) -> keras.layers.Layer:
        """Return the encoder's GELU."""
        return layers.Gelu(self.config.activation == "gelu_tanh", name=name)

    # Parts

    def embeddings(self, inputs: Tensors) -> tf.Tensor:
        """Build the embeddings: ids to [B, S, H]."""
        config, ids = self.config, inputs["input_word_ids"]
        self.word_embedding = self.embedding(config.vocab_size, "embeddings/word")
        position = layers.PositionEmbedding(
            config.max_positions,
            config.word_size,
            name="embeddings/position",
            embeddings_initializer=self._initializer(),
        )
        x = [self.word_embedding(ids), self.wrap(position)(ids)]
        if config.family.token_types:
            types = self.embedding(config.type_vocab_size, "embeddings/type")
            x.append(types(inputs["input_type_ids"]))
        x = keras.layers.Add(name="embeddings/sum")(x)
        x = self.dropout(self.norm("embeddings/norm")(x), "embeddings/dropout")
        if config.word_size == config.hidden_size:
            return x
        return self.dense(config.hidden_size, "embeddings/project")(
            self.point("embeddings/project/input")(x)
        )

    def encoder_layer(
        self, x: tf.Tensor, mask: tf.Tensor, name: str
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Post-norm Transformer layer: [B, S, H] -> [B, S, H] and its scores [B, A, S, S]."""
        config, hidden = self.config, self.config.hidden_size
        shared = self.point(f"{name}/attention/input")(x)
        query = self.dense(hidden, f"{name}/attention/query")(shared)
        key = self.dense(hidden, f"{name}/attention/key")(shared)
        value = self.dense(hidden, f"{name}/attention/value")(shared)
        products = layers.AttentionScores(config.num_heads, name=f"{name}/attention/scores")
        scores = self.wrap(products)([query, key])
        softmax = layers.MaskedSoftmax(name=f"{name}/attention/softmax")
        probabilities = self.wrap(softmax)([scores, mask])
        probabilities = self.dropout(
            probabilities, f"{name}/attention/probability_dropout", config.attention_dropout
        )
        context = layers.AttentionContext(name=f"{name}/attention/values")([probabilities, value])
        context = self.point(f"{name}/attention/context")(context)
        attention = self.dense(hidden, f"{name}/attention/output")(context)
        attention = self.dropout(attention, f"{name}/attention/dropout")
        x = keras.layers.Add(name=f"{name}/attention/sum")([x, attention])
        x = self.norm(f"{name}/attention/norm")(x)

        ffn = self.point(f"{name}/ffn/input")(x)
        ffn = self.dense(config.intermediate_size, f"{name}/ffn/intermediate")(ffn)
        ffn = self.gelu(f"{name}/ffn/gelu")(ffn)
        ffn = self.point(f"{name}/ffn/activation")(ffn)
        ffn = self.dense(hidden, f"{name}/ffn/output")(ffn)
        ffn = self.dropout(ffn, f"{name}/ffn/dropout")
        x = keras.layers.Add(name=f"{name}/ffn/sum")([x, ffn])
        return self.norm(f"{name}/ffn/norm")(x), scores

    def pooled(self, x: tf.Tensor) -> tf.Tensor:
        """Build the pooler on the first token: [B, S, H] to [B, H]."""
        first = self.point("pooler/input")(layers.FirstToken(name="first_token")(x))
        pooled = self.dense(self.config.hidden_size, "pooler")(first)
        return keras.layers.Activation("tanh", name="pooler/tanh")(pooled)

    def classifier(self, x: tf.Tensor, num_labels: int) -> tf.Tensor:
        """Build a classifier on the first token: [B, S, H] to [B, labels]."""
        kind = self.config.family.first_token
        if kind == "pooler":
            x = self.pooled(x)
        else:
            first = self.point("classifier/pre/input")(layers.FirstToken(name="first_token")(x))
            x = self.dense(self.config.hidden_size, "classifier/pre")(first)
            # GELU has two forms; it is the exact one in every head of transformers.
            x = (
                layers.Gelu(False, name="classifier/gelu")(x)
                if kind == "gelu"
                else keras.layers.Activation(kind, name=f"classifier/{kind}")(x)
            )
        x = self.dropout(x, "classifier/dropout")
        return self.dense(num_labels, "classifier")(self.point("classifier/input")(x))

    def mlm(self, x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Build the words at positions: [B, S, H] to [B, P, V]."""
        x = layers.GatherPositions(name="mlm/positions")([x, positions])  # [B, P, H]
        words = getattr(self.config, self.config.family.mlm_size) or self.config.hidden_size
        x = self.dense(words, "mlm/transform")(x)
        x = self.norm("mlm/norm")(self.gelu("mlm/gelu")(x))
        return layers.TiedDecoder(base_layer(self.word_embedding), name="mlm/decoder")(x)


# Access by name


def base_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the layer inside TFMOT's pruning or quantization wrapper, or the layer itself."""
    while isinstance(getattr(layer, "layer", None), keras.layers.Layer):
        layer = layer.layer
    return layer


def parameters(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the model's own weights by stable name, e.g. `encoder_00/ffn/output/kernel`.

    Works through TFMOT's wrappers; leaves out masks, thresholds, ranges and counters.
    """
    found = {}
    for layer in model.layers:
        name = base_layer(layer).name
        for variable in layer.weights:
            tail = variable.name.split("/")[-1].split(":")[0]
            if tail in PARAMETER_NAMES:
                found[f"{name}/{tail}"] = variable
    return found


def dense_kernels(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the kernels [in, out] of all Dense layers by layer name."""
    suffix = "/kernel"
    return {
        name.removesuffix(suffix): variable
        for name, variable in parameters(model).items()
        if name.endswith(suffix)
    }


def copy_parameters(source: keras.Model, target: keras.Model) -> None:
    """Copy all weights from one model to another of the same names, wrapped or not.

    Raises:
        UserError: a weight of `target` is missing in `source`, or has another shape.
    """
    values = parameters(source)
    for name, variable in parameters(target).items():
        if name not in values or values[name].shape != variable.shape:
            raise UserError(
                f"weight {name} {tuple(variable.shape)} has no counterpart of the same shape in "
                f"model '{source.name}'"
            )
        variable.assign(values[name])


def layer_names(names: Iterable[str]) -> list[str]:
    """Return the distinct layer names of weight names, in order."""
    return list(dict.fromkeys(name.rpartition("/")[0] for name in names))
