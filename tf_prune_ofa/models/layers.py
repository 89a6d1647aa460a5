"""Small layers that the encoder needs beside Keras's own Dense, Embedding and LayerNormalization.

Legend: B batch · S sequence · H hidden · A heads · D = H/A · V vocabulary · P predicted positions.

Each layer does one step of the graph, so that pruning and quantization can name it, and so that no
layer holds another one (TFMOT accepts only flat functional models).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tf_prune_ofa.keras_compat import keras, tf

# Added to the scores of padding before the softmax. exp(-1e4) is exactly 0 in float32, and the
# value is still small enough for float16 and for an INT8 range, unlike float32's lowest number.
PADDING_SCORE = -1e4


@keras.utils.register_keras_serializable("tf_prune_ofa")
class PositionEmbedding(keras.layers.Layer):
    """Learned absolute positions: [B, S] ids -> [1, S, H]."""

    def __init__(
        self,
        max_positions: int,
        hidden_size: int,
        embeddings_initializer: Any = "uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_positions = max_positions
        self.hidden_size = hidden_size
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, input_shape: Any) -> None:
        """Create the table [max_positions, H]."""
        self.embeddings = self.add_weight(
            "embeddings",
            shape=[self.max_positions, self.hidden_size],
            initializer=self.embeddings_initializer,
        )
        super().build(input_shape)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the first S rows of the table."""
        length = ids.shape[1] if ids.shape[1] is not None else tf.shape(ids)[1]
        table = tf.convert_to_tensor(self.embeddings)
        return tf.cast(table[None, :length], self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "max_positions": self.max_positions,
            "hidden_size": self.hidden_size,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


@keras.utils.register_keras_serializable("tf_prune_ofa")
class AttentionScores(keras.layers.Layer):
    """Scaled dot products of queries and keys: 2 x [B, S, H] -> [B, A, S, S]; no softmax yet."""

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return query · key / sqrt(D) for every head and pair of tokens."""
        query, key = (split_heads(x, self.num_heads) for x in inputs)
        head_size = query.shape[-1]
        # Scaling the query (S·D numbers a head) is cheaper than scaling the scores (S·S).
        return tf.matmul(query * head_size**-0.5, key, transpose_b=True)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class MaskedSoftmax(keras.layers.Layer):
    """Attention probabilities: scores [B, A, S, S], mask [B, S] (1 token, 0 padding)."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return probabilities over the last axis; padding gets 0."""
        scores, mask = inputs
        padding = (1.0 - tf.cast(mask, scores.dtype)) * PADDING_SCORE  # [B, S]
        return tf.nn.softmax(scores + padding[:, None, None, :])


@keras.utils.register_keras_serializable("tf_prune_ofa")
class AttentionContext(keras.layers.Layer):
    """Weighted sum of values: [B, A, S, S] and [B, S, H] -> [B, S, H]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return the heads' contexts, side by side."""
        probabilities, value = inputs
        heads = split_heads(value, probabilities.shape[1])  # [B, A, S, D]
        context = tf.transpose(tf.matmul(probabilities, heads), [0, 2, 1, 3])  # [B, S, A, D]
        return tf.reshape(context, _leading_shape(value) + [value.shape[-1]])


@tf.custom_gradient
def _trained_gelu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return gelu(x) in its erf form, x Φ(x), and its gradient from x alone.

    TensorFlow's own keeps three tensors of the size of x for the backward pass, the largest in an
    encoder; one is enough, for computing erf again takes hardly any time beside the products.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        cumulative = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))
        density = tf.exp(-0.5 * tf.square(x)) * (1.0 / math.sqrt(2.0 * math.pi))
        return upstream * (cumulative + x * density)

    return tf.nn.gelu(x, approximate=False), gradient


@keras.utils.register_keras_serializable("tf_prune_ofa")
class Gelu(keras.layers.Layer):
    """GELU in its erf form (what published BERT checkpoints use) or its tanh approximation."""

    def __init__(self, approximate: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approximate = approximate

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return gelu(x)."""
        if training is True and not self.approximate:
            return _trained_gelu(x)
        return tf.nn.gelu(x, approximate=self.approximate)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "approximate": self.approximate}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class Dropout(keras.layers.Layer):
    """Dropout whose randomness is a function of a seed and of a counter in the checkpoint.

    Keras's own dropout keeps its random state inside an op, where no checkpoint sees it; a resumed
    run would then differ from an unbroken one.
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        """Create the counter of training calls."""
        self.calls = self.add_weight(
            "calls", shape=[], dtype=tf.int32, initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return x with `rate` of its values dropped and the rest scaled up, when training."""
        if not training:
            return x
        step = self.calls.assign_add(1)
        return tf.nn.experimental.stateless_dropout(x, self.rate, seed=[self.seed, step])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class FirstToken(keras.layers.Layer):
    """The [CLS] token's vector: [B, S, H] -> [B, H]."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x[:, 0]."""
        # As a SLICE and a RESHAPE; the STRIDED_SLICE of x[:, 0] is no operator that XNNPACK takes.
        return tf.reshape(x[:, :1], [-1, x.shape[-1]])


@keras.utils.register_keras_serializable("tf_prune_ofa")
class SelectLast(keras.layers.Layer):
    """One entry of the last axis: [B, S, N] -> [B, S]."""

    def __init__(self, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x[..., index]."""
        return x[..., self.index]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "index": self.index}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class GatherPositions(keras.layers.Layer):
    """Vectors at chosen positions: [B, S, H] and int32 [B, P] -> [B, P, H]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return x[b, positions[b, p]]."""
        x, positions = inputs
        return tf.gather(x, positions, batch_dims=1)


class TiedDecoder(keras.layers.Layer):
    """Vocabulary logits through the transposed word embedding: [B, P, H] -> [B, P, V].

    Only the bias is this layer's own. The embedding is reached through a closure, so that Keras
    counts, saves and prunes it once, at the embedding layer.
    """

    def __init__(self, word_embedding: keras.layers.Embedding, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._table = lambda: word_embedding.embeddings
        self.vocabulary_size = word_embedding.input_dim

    def build(self, input_shape: Any) -> None:
        """Create the bias [V]."""
        self.bias = self.add_weight("bias", shape=[self.vocabulary_size], initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x · embeddingᵀ + bias."""
        # One matmul over rows [B·P, H]: TensorFlow's batched matmul would copy the table B times.
        rows = tf.reshape(x, [-1, x.shape[-1]])
        logits = tf.matmul(rows, tf.cast(self._table(), x.dtype), transpose_b=True) + self.bias
        return tf.reshape(logits, _leading_shape(x) + [self.vocabulary_size])


def split_heads(x: tf.Tensor, num_heads: int) -> tf.Tensor:
    """Return [B, S, H] as [B, A, S, D]."""
    heads = tf.reshape(x, _leading_shape(x) + [num_heads, x.shape[-1] // num_heads])
    return tf.transpose(heads, [0, 2, 1, 3])


def _leading_shape(x: tf.Tensor) -> list[Any]:
    """Return [B, S], static where it is known: a static shape keeps the exported graph static."""
    dynamic = tf.shape(x)
    return [size if size is not None else dynamic[axis] for axis, size in enumerate(x.shape[:2])]
