"""The activation ranges that quantization-aware training learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import QuantizeWrapper, keras
from tf_prune_ofa.models.bert import base_layer
from tf_prune_ofa.quant.activations import OutlierScales, Ranges

# A channel is outlying if its largest value is so many times that of the median channel. Below,
# a power of two would win less than the clipping of later values could lose.
OUTLYING = 4.0
# How the names of the layers end whose outputs are added to the residual stream.
RESIDUAL = "/output"
# And those of the points in front of dense layers: behind LayerNorms, and behind GELU.
INPUTS = ("/input", "/activation")


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Set how slowly ranges move, in [0, 1]; 1 freezes them."""
    for layer in model.layers:
        for variable in layer.weights:
            if _tail(variable) == "output_momentum":
                variable.assign(momentum)


def calibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set the first ranges from a few batches: the mean of the batches' ranges."""
    for count, inputs in enumerate(batches):
        set_momentum(model, count / (count + 1))
        model(inputs, training=True)


def outlier_scales_of(model: keras.Model, batches: Iterable[Any]) -> OutlierScales:
    """Find the outlying output channels of dense layers that feed the residual stream.

    A few channels of BERT's feed-forward outputs are a hundred times larger than the rest
    (Bondarenko et al. 2021), and with one INT8 step for the whole tensor little is left of the
    others. Such a channel is divided by a power of two in front of the rounding and multiplied
    back behind it; in the file this changes no weight integer, only scales.

    Args:
        model: the float model.
        batches: inputs to look at.

    Returns:
        Scales [channels], powers of two >= 1, of the layers that have an outlying channel.
    """
    outputs = {
        layer.name: layer.output
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense) and feeds_residual(layer)
    }
    watched = keras.Model(model.inputs, outputs)
    largest: dict[str, np.ndarray] = {}
    for inputs in batches:
        for name, value in watched(inputs, training=False).items():
            seen = np.abs(value.numpy()).max(axis=(0, 1))
            largest[name] = np.maximum(seen, largest.get(name, 0.0))
    return outlier_scales(largest)


def outlier_scales(
    largest: Mapping[str, np.ndarray], ends: tuple[str, ...] = (RESIDUAL,)
) -> OutlierScales:
    """Return outlier scales of those layers that have an outlying channel.

    Args:
        largest: largest magnitude of each channel [channels] by layer name.
        ends: how the names end of layers that get any: those that feed the residual stream, and
            after training `INPUTS`, too.
    """
    found = {}
    for name, size in largest.items():
        if not name.endswith(ends):
            continue
        excess = size / max(OUTLYING * float(np.median(size)), np.finfo(np.float32).tiny)
        scales = np.exp2(np.ceil(np.log2(np.maximum(excess, 1.0)))).astype(np.float32)
        if np.any(scales > 1):
            found[name] = scales
    return found


def feeds_residual(layer: keras.layers.Layer) -> bool:
    """Return whether a Dense layer's output is added to the residual stream."""
    return layer.name.endswith(RESIDUAL)


def assign_outlier_scales(model: keras.Model, scales: OutlierScales) -> None:
    """Put outlier scales into a model that emulates INT8; layers without keep 1."""
    for layer in model.layers:
        name = base_layer(layer).name
        for variable in layer.weights:
            if _tail(variable) == "output_outlier_scales" and name in scales:
                variable.assign(scales[name])


def trained_ranges(model: keras.Model) -> Ranges:
    """Return (min, max) by layer name: of dense outputs and of the points before dense layers."""
    ranges = {}
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            values = {_tail(v): float(v.numpy()) for v in layer.weights if v.shape.rank == 0}
            if "output_min" in values:
                ranges[base_layer(layer).name] = (values["output_min"], values["output_max"])
    return ranges


def assign_ranges(model: keras.Model, ranges: Ranges) -> None:
    """Put saved ranges into a model that emulates INT8, and freeze them.

    Raises:
        UserError: the model has a range that is not among them.
    """
    missing = set(trained_ranges(model)) - set(ranges)
    if missing:
        raise UserError(
            f"no saved range for {', '.join(sorted(missing))}; quantize the model again"
        )
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            low, high = ranges.get(base_layer(layer).name, (0.0, 0.0))
            values = {"output_min": low, "output_max": high, "output_momentum": 1.0}
            for variable in layer.weights:
                if _tail(variable) in values:
                    variable.assign(values[_tail(variable)])


def _tail(variable: Any) -> str:
    return variable.name.split("/")[-1].split(":")[0]
