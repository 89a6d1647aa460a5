"""What a file must hold, from the model and its activation ranges.

Names and order of layers, and what feeds what, come from the Keras model; the numbers from its
weights. Nothing depends on what head the model has.

Legend: H hidden · D size of a head · S sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.layers import PADDING_SCORE, AttentionScores, Gelu, PositionEmbedding
from tf_prune_ofa.verification.arithmetic import Grid
from tf_prune_ofa.verification.shared_rows import SharedRows

WORDS = "embeddings/word"
Ranges = Mapping[str, tuple[float, float]]
# Of GELU where a converter writes it out, and of masks; nothing else is a number of its own.
_SCALARS = (1.0, 0.5, 2.0, 3.0, 0.5**0.5, 2**0.5, 0.044715, (2 / np.pi) ** 0.5, PADDING_SCORE)


@dataclass(frozen=True)
class Dense:
    """A dense layer in a file.

    Attributes:
        name: of the Keras layer.
        kernel: float32 [out, in], with `factor` in it.
        bias: float32 [out], likewise; None if the layer has none.
        factor: what the file's output is larger by than the Keras layer's.
        is_rectified: whether a ReLU may be fused into it.
        feeds: names of the layers and inputs that its input is computed from.
        source: grid of its input in static files; None if it stays float there.
        result: grid of its output, likewise.
        outlier_scales: of its output's channels [out] in static files, or None.
    """

    name: str
    kernel: np.ndarray
    bias: np.ndarray | None
    factor: float
    is_rectified: bool
    feeds: frozenset[str]
    source: Grid | None = None
    result: Grid | None = None
    outlier_scales: np.ndarray | None = None


@dataclass(frozen=True)
class Expected:
    """What all files of a model must hold.

    Attributes:
        dense: by name.
        vectors: weights and biases [H] of the norms, in the order in which they are computed.
        tables: embeddings [rows, H] by layer, positions up to S.
        scalars: numbers that may stand alone in a file.
        outputs: name of each output -> layers and inputs that it is computed from.
        inputs: names.
        scores: grid of the scores of each attention that is INT8 in static files, by its prefix.
        tanh_gelu: whether GELU is in its tanh form.
        vocabulary: pieces by id.
        tokenizer: the content of the model's tokenizer.json where that is of another kind than
            WordPiece, and files hold it in place of the vocabulary; or None.
        labels: names of the classes, or None.
        settings: how texts become ids and logits answers; None if the files do not say.
        sequence_length: S.
        int4_words: whether the table of words is INT4 in all files but the float one.
        shared: which words share rows of that table in the same files; None: each has its own.
    """

    dense: dict[str, Dense]
    vectors: list[tuple[str, np.ndarray]]
    tables: dict[str, np.ndarray]
    scalars: np.ndarray
    outputs: dict[str, frozenset[str]]
    inputs: tuple[str, ...]
    scores: dict[str, Grid]
    tanh_gelu: bool
    sequence_length: int
    vocabulary: Sequence[str]
    labels: Sequence[str] | None
    settings: Mapping[str, Any] | None
    tokenizer: Mapping[str, Any] | None = None
    int4_words: bool = False
    shared: SharedRows | None = None


def expect(
    model: keras.Model,
    ranges: Ranges | None,
    outlier_scales: Mapping[str, np.ndarray] | None,
    *,
    sequence_length: int,
    vocabulary: Sequence[str],
    labels: Sequence[str] | None,
    settings: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    kept: np.ndarray | None = None,
    int4_words: bool = False,
    shared: SharedRows | None = None,
) -> Expected:
    """Return what the files of a float model must hold.

    Args:
        model: the float model, without dropout.
        ranges: of activations by layer name; None if no file is static.
        outlier_scales: divisors of outlying channels by layer name.
        sequence_length: S of the files.
        vocabulary: pieces by id.
        labels: names of the classes, or None.
        settings: how texts become ids and logits answers, as the files say it.
        tokenizer: the content of a tokenizer.json of another kind than WordPiece.
        kept: ids of the words that the files have, in order; None for all.
        int4_words: whether the words are to be INT4 in quantized files.
        shared: which words are to share rows in quantized files; None for none.
    """
    ranges = ranges or {}
    upstream = _Upstream(model)
    layers = {layer.name: layer for layer in model.layers}
    scaled = {
        layer.input[0]._keras_history.layer.name: int(layer.input[0].shape[-1]) // layer.num_heads
        for layer in layers.values()
        if isinstance(layer, AttentionScores)
    }
    dense = {
        name: _dense(layer, upstream, scaled.get(name), ranges, outlier_scales or {})
        for name, layer in layers.items()
        if isinstance(layer, keras.layers.Dense)
    }
    scores = _int8_attention(dense, ranges)
    for prefix in scores:
        for name in (f"{prefix}/key", f"{prefix}/value"):
            dense[name] = _with(dense[name], result=Grid.around_zero(*ranges[name]))
    norms = [layer for layer in layers.values() if _is_norm(layer)]
    return Expected(
        dense=dense,
        vectors=[
            (f"{layer.name}/{part}", getattr(layer, part).numpy())
            for layer in norms
            for part in ("gamma", "beta")
        ],
        tables={
            name: _rows(layer, sequence_length, kept)
            for name, layer in layers.items()
            if hasattr(layer, "embeddings")
        },
        scalars=np.array(
            [*_SCALARS, *(layer.epsilon for layer in norms), *(d**-0.5 for d in scaled.values())],
            np.float32,
        ),
        outputs={name: upstream.of(tensor) for name, tensor in _named(model.output).items()},
        inputs=tuple(tensor._keras_history.layer.name for tensor in model.inputs),
        scores=scores,
        tanh_gelu=any(layer.approximate for layer in layers.values() if isinstance(layer, Gelu)),
        sequence_length=sequence_length,
        vocabulary=vocabulary,
        labels=labels,
        settings=settings,
        tokenizer=tokenizer,
        int4_words=int4_words,
        shared=shared,
    )


class _Upstream:
    """Which dense layers, tables and inputs a tensor of the Keras model is computed from.

    A dense layer or table ends the way back; norms, sums and the like are passed through.
    """

    def __init__(self, model: keras.Model) -> None:
        self._found: dict[str, frozenset[str]] = {}
        for layer in model.layers:  # in order of execution
            self._found[layer.name] = self._behind(layer)

    def of(self, tensor: Any) -> frozenset[str]:
        """Return names of layers and inputs."""
        return self._found[tensor._keras_history.layer.name]

    def before(self, layer: keras.layers.Layer) -> frozenset[str]:
        """Return what a layer's inputs are computed from."""
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        return frozenset().union(*(self.of(tensor) for tensor in inputs))

    def _behind(self, layer: keras.layers.Layer) -> frozenset[str]:
        if isinstance(layer, keras.layers.InputLayer):
            return frozenset([layer.name])
        if isinstance(layer, keras.layers.Dense | PositionEmbedding):
            return frozenset([layer.name])
        own = frozenset([layer.name]) if hasattr(layer, "embeddings") else frozenset()
        return own | self.before(layer)


def _dense(
    layer: keras.layers.Dense,
    upstream: _Upstream,
    head_size: int | None,
    ranges: Ranges,
    outlier_scales: Mapping[str, np.ndarray],
) -> Dense:
    name, point = layer.name, layer.input._keras_history.layer.name
    factor = np.float32(1.0) if head_size is None else np.float32(head_size**-0.5)
    is_static = name in ranges and point in ranges
    return Dense(
        name=name,
        kernel=layer.kernel.numpy().T * factor,
        bias=None if layer.bias is None else layer.bias.numpy() * factor,
        factor=float(factor),
        is_rectified=any(
            getattr(node.outbound_layer, "activation", None) is keras.activations.relu
            for node in layer._outbound_nodes
        ),
        feeds=upstream.before(layer),
        source=Grid.of_range(*ranges[point]) if is_static else None,
        result=Grid.of_range(*(float(factor) * end for end in ranges[name])) if is_static else None,
        outlier_scales=outlier_scales.get(name) if is_static else None,
    )


def _int8_attention(dense: Mapping[str, Dense], ranges: Ranges) -> dict[str, Grid]:
    """Return the grids of the scores of attentions that are INT8: so are all layers around."""
    found = {}
    for name, bounds in ranges.items():
        prefix, _, last = name.rpartition("/")
        around = [dense.get(f"{prefix}/{part}") for part in ("query", "key", "value", "output")]
        if last == "scores" and all(one is not None and one.source for one in around):
            found[prefix] = Grid.of_range(*bounds)
    return found


def _with(dense: Dense, **changes: Any) -> Dense:
    return Dense(**{**vars(dense), **changes})


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.LayerNormalization)


def _rows(layer: keras.layers.Layer, sequence_length: int, kept: np.ndarray | None) -> np.ndarray:
    """Return the rows of a table that a file has."""
    table = layer.embeddings.numpy()
    if isinstance(layer, PositionEmbedding):
        return table[:sequence_length]
    return table if kept is None or layer.name != WORDS else table[kept]


def _named(outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return outputs
    return {tensor._keras_history.layer.name: tensor for tensor in outputs}
