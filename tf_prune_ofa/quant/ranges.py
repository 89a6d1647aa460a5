"""The activation ranges that quantization-aware training learns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.keras_compat import QuantizeWrapper, keras
from tf_prune_ofa.models.bert import base_layer

Ranges = dict[str, tuple[float, float]]


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


def save_ranges(path: str | Path, ranges: Ranges) -> None:
    """Write ranges as JSON."""
    write_json(path, {name: list(values) for name, values in ranges.items()})


def load_ranges(path: str | Path) -> Ranges:
    """Read what `save_ranges` wrote.

    Raises:
        UserError: missing or damaged.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: (float(low), float(high)) for name, (low, high) in data.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a readable range file: {error}") from error


def _tail(variable: Any) -> str:
    return variable.name.split("/")[-1].split(":")[0]
