"""What each layer of the encoder becomes, given to TFMOT's `quantize_apply`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.keras_compat import (
    QuantizeConfig,
    QuantizeLayoutTransform,
    QuantizeRegistry,
    QuantizeScheme,
    keras,
    quantize_annotate_layer,
    quantize_apply,
    quantize_scope,
)
from tf_prune_ofa.models import bert
from tf_prune_ofa.models import layers as model_layers
from tf_prune_ofa.pruning.rules import match_layers
from tf_prune_ofa.quant.quantizers import (
    ChannelWeights,
    EmbeddingRows,
    MovingRange,
    ScaledMovingRange,
    SymmetricMovingRange,
    UnitRange,
)
from tf_prune_ofa.quant.ranges import feeds_residual


class _Config(QuantizeConfig):
    """Base: quantizes nothing."""

    def get_weights_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def set_quantize_weights(self, layer: keras.layers.Layer, quantize_weights: list[Any]) -> None:
        return None

    def set_quantize_activations(self, layer: keras.layers.Layer, activations: list[Any]) -> None:
        return None

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {}


@keras.utils.register_keras_serializable("tf_prune_ofa")
class DenseInt8(_Config):
    """INT8 kernel, one scale an output channel; INT8 output with a trained range."""

    def get_weights_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the kernel and its quantizer."""
        return [(layer.kernel, ChannelWeights())]

    def set_quantize_weights(self, layer: keras.layers.Layer, quantize_weights: list[Any]) -> None:
        """Put the rounded kernel in place for this call."""
        layer.kernel = quantize_weights[0]

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the output's quantizer."""
        return [ScaledMovingRange() if feeds_residual(layer) else MovingRange()]


@keras.utils.register_keras_serializable("tf_prune_ofa")
class OperandInt8(DenseInt8):
    """As `DenseInt8`, with zero point 0: keys and values of INT8 attention."""

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the output's quantizer."""
        return [SymmetricMovingRange()]


@keras.utils.register_keras_serializable("tf_prune_ofa")
class ProbabilitiesInt8(_Config):
    """INT8 attention probabilities, in steps of 1/255."""

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the output's quantizer."""
        return [UnitRange()]


@keras.utils.register_keras_serializable("tf_prune_ofa")
class RangeOnly(_Config):
    """An INT8 tensor with a trained range: the input of dense layers, attention scores."""

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the output's quantizer."""
        return [MovingRange()]


@keras.utils.register_keras_serializable("tf_prune_ofa")
class EmbeddingInt8(_Config):
    """INT8 table, one scale a row."""

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Return the rows' quantizer."""
        return [EmbeddingRows()]


class _NoTransform(QuantizeLayoutTransform):
    def apply(
        self, model: keras.Model, layer_quantize_map: dict[str, Any]
    ) -> tuple[keras.Model, dict[str, Any]]:
        return model, layer_quantize_map


class _NoDefaults(QuantizeRegistry):
    """Every quantized layer carries its own config; TFMOT adds nothing, e.g. on int32 inputs."""

    def supports(self, layer: keras.layers.Layer) -> bool:
        return False

    def get_quantize_config(self, layer: keras.layers.Layer) -> QuantizeConfig:
        raise ValueError(f"layer {layer.name} was annotated without a config")


class Int8Scheme(QuantizeScheme):
    """Static INT8 dense layers and embeddings; no change of the layout."""

    def get_layout_transformer(self) -> QuantizeLayoutTransform:
        """Return the transform that changes nothing."""
        return _NoTransform()

    def get_quantize_registry(self) -> QuantizeRegistry:
        """Return the registry that adds nothing."""
        return _NoDefaults()


@dataclass(frozen=True)
class PlannedLayer:
    """One row of the table that is shown before training."""

    layer: str
    type: str
    becomes: str
    reason: str


# Attention is INT8 where these are.
_AROUND = ("query", "key", "value", "output")

_FLOAT_REASONS: dict[type, str] = {
    keras.layers.LayerNormalization: "float: means and variances need more than 8 bits",
    model_layers.MaskedSoftmax: "float: XNNPACK has no INT8 softmax",
    model_layers.Gelu: "float: XNNPACK has no INT8 GELU",
    model_layers.AttentionScores: "float: small beside the dense layers, and feeds the softmax",
    model_layers.AttentionContext: "float: small beside the dense layers, behind the softmax",
    model_layers.TiedDecoder: "float: used in training only",
    keras.layers.Activation: "float: small beside the dense layers",
    keras.layers.Add: "float: keeps the residual stream exact",
}


def plan(
    model: keras.Model, float_layers: Iterable[str] = (), *, int8_attention: bool = False
) -> list[PlannedLayer]:
    """Say for each layer of a float model what it becomes, or why it stays float.

    Args:
        model: built by `models.bert.build_model`, not wrapped.
        float_layers: patterns of Dense layers to leave float.
        int8_attention: as of `apply`.

    Raises:
        UserError: a pattern matches no Dense layer.
    """
    kept_float = _float_dense_layers(model, float_layers)
    rows = []
    for layer in model.layers:
        config = _config_of(layer, kept_float, int8_attention)
        if isinstance(config, OperandInt8):
            becomes, reason = "INT8", "kernel INT8 per channel, output INT8 with symmetric range"
        elif isinstance(layer, model_layers.AttentionScores) and config:
            becomes, reason = "INT8", "products of INT8, with trained range"
        elif isinstance(config, ProbabilitiesInt8):
            becomes, reason = "float", "float: XNNPACK has no INT8 softmax; rounded to INT8 behind"
        elif isinstance(config, DenseInt8):
            becomes, reason = "INT8", "kernel INT8 per channel, output INT8 with trained range"
        elif isinstance(config, RangeOnly):
            becomes, reason = "INT8", "input of dense layers, with trained range"
        elif isinstance(config, EmbeddingInt8):
            becomes, reason = "INT8", "table INT8, one scale a row"
        elif isinstance(layer, keras.layers.Dense):
            becomes, reason = "float", "float: asked by float_layers"
        elif is_range_point(layer):
            becomes, reason = "float", "float: in front of float_layers"
        elif isinstance(layer, keras.layers.InputLayer | model_layers.Dropout):
            continue
        else:
            becomes, reason = "float", _FLOAT_REASONS.get(type(layer), "float: moves data only")
        rows.append(PlannedLayer(layer.name, type(layer).__name__, becomes, reason))
    return rows


def apply(
    config: bert.EncoderConfig,
    head: bert.Head | None,
    weights: keras.Model,
    float_layers: Iterable[str] = (),
    *,
    int8_attention: bool = False,
    float_tables: Iterable[str] = (),
    hidden_states: bool = False,
    attention_scores: bool = False,
) -> keras.Model:
    """Return a model that emulates INT8, with the weights of a float model.

    Args:
        config: the encoder.
        head: the task head.
        weights: float model of the same encoder and head.
        float_layers: patterns of Dense layers to leave float.
        int8_attention: round what the products inside attention read and write, wherever the dense
            layers around are INT8.
        float_tables: embeddings that are not rounded.
        hidden_states: see `models.bert.build_model`.
        attention_scores: likewise.
    """
    kept_float = _float_dense_layers(weights, float_layers)

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in float_tables:
            return layer
        quantize_config = _config_of(layer, kept_float, int8_attention)
        return quantize_annotate_layer(layer, quantize_config) if quantize_config else layer

    annotated = bert.build_model(
        config, head, wrap=wrap, hidden_states=hidden_states, attention_scores=attention_scores
    )
    bert.copy_parameters(weights, annotated)
    configs = (DenseInt8, OperandInt8, RangeOnly, ProbabilitiesInt8, EmbeddingInt8)
    with quantize_scope({cls.__name__: cls for cls in configs}):
        return quantize_apply(annotated, scheme=Int8Scheme())


def _float_dense_layers(model: keras.Model, patterns: Iterable[str]) -> set[str]:
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    return {name for matched in match_layers(patterns, names).values() for name in matched}


def _config_of(
    layer: keras.layers.Layer, kept_float: set[str], int8_attention: bool
) -> _Config | None:
    prefix, _, kind = layer.name.rpartition("/")
    is_int8 = int8_attention and not kept_float & {f"{prefix}/{name}" for name in _AROUND}
    if isinstance(layer, keras.layers.Dense):
        if layer.name in kept_float:
            return None
        return OperandInt8() if is_int8 and kind in ("key", "value") else DenseInt8()
    if isinstance(layer, model_layers.AttentionScores):
        return RangeOnly() if is_int8 else None
    if isinstance(layer, model_layers.MaskedSoftmax):
        return ProbabilitiesInt8() if is_int8 else None
    if isinstance(layer, keras.layers.Embedding | model_layers.PositionEmbedding):
        return EmbeddingInt8()
    if is_range_point(layer) and not _all_consumers_float(layer, kept_float):
        return RangeOnly()
    return None


def is_range_point(layer: keras.layers.Layer) -> bool:
    """Return whether the layer is an identity in front of dense layers (`bert.Graph.point`)."""
    return bool(
        isinstance(layer, keras.layers.Activation)
        and re.fullmatch(r".*/(input|context|activation)", layer.name)
    )


def _all_consumers_float(layer: keras.layers.Layer, kept_float: set[str]) -> bool:
    """Return whether every dense layer behind this point stays float."""
    prefix = layer.name.rpartition("/")[0]
    if prefix in kept_float:
        return True
    consumers = {
        "attention/input": ("attention/query", "attention/key", "attention/value"),
        "attention/context": ("attention/output",),
        "ffn/input": ("ffn/intermediate",),
        "ffn/activation": ("ffn/output",),
    }
    for point, dense_layers in consumers.items():
        if layer.name.endswith(point):
            stem = layer.name.removesuffix(point)
            return all(stem + name in kept_float for name in dense_layers)
    return False
