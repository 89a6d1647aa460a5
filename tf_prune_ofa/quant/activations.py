"""Ranges and outlier scales of a model's activations: one thing, in one file.

Of a few output channels whose values are far larger than the others', each is divided by a power of
two in front of the rounding, as equalization and SmoothQuant do: that is its outlier scale. A range
is that of the values divided by their layer's scales. One without the other clips values without a
word, so they are never apart.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json

Ranges = dict[str, tuple[float, float]]
OutlierScales = dict[str, np.ndarray]

_VERSION = 3
_OLD_VERSION = 2  # says "factors" for outlier scales
_MOST_CHANNELS = 1 << 20


@dataclass(frozen=True)
class Activations:
    """What static INT8 needs to know of activations.

    Attributes:
        ranges: (min, max) by layer name: of dense outputs, of the points before dense layers, and
            of attention's scores.
        outlier_scales: divisors [channels] of dense outputs that have outlying channels, by layer
            name; powers of two, 1 but for those channels.
        weights: digest of the weights that the ranges are of (`models.checkpoint.digest_of`); ""
            in files of older runs, which do not say.
    """

    ranges: Ranges
    outlier_scales: OutlierScales = field(default_factory=dict)
    weights: str = ""

    def require_same_weights(self, digest: str, where: str) -> None:
        """Check that the ranges are of a model: layers have the same names in all of a family.

        Args:
            digest: of the model's weights.
            where: the model, for the message.

        Raises:
            UserError: they are of other weights.
        """
        if self.weights and self.weights != digest:
            raise UserError(
                f"the ranges are of other weights than {where} (digests {self.weights[:12]} and "
                f"{digest[:12]}): its values would be clipped. Give the ranges.json beside this "
                "model, or measure its ranges on texts."
            )

    def save(self, path: str | Path) -> None:
        """Write both as JSON; of scales, the channels whose scale is not 1."""
        write_json(
            path,
            {
                "version": _VERSION,
                "weights": self.weights,
                "ranges": {name: list(ends) for name, ends in self.ranges.items()},
                "outlier_scales": {
                    name: {
                        "channels": len(values),
                        "scales": {str(i): float(values[i]) for i in np.flatnonzero(values != 1)},
                    }
                    for name, values in self.outlier_scales.items()
                },
            },
        )


def load_activations(path: str | Path, outlier_scales: str | Path | None = None) -> Activations:
    """Read what `Activations.save` wrote, or the two files of an older run.

    Args:
        path: the file of the ranges.
        outlier_scales: their file, where `path` is of an older run and they are not beside it.

    Raises:
        UserError: missing or damaged; ranges of an older run without their outlier scales;
            or scales given beside a file that has its own.
    """
    path = Path(path)
    data = _read(path)
    if isinstance(data, dict) and "version" in data:
        keys = {_VERSION: ("outlier_scales", "scales"), _OLD_VERSION: ("factors", "factors")}
        if type(data["version"]) is not int or data["version"] not in keys:
            raise UserError(
                f"{path} is of version {data['version']!r}; this package reads {_VERSION}. Update "
                "the package, or run the quantize stage again."
            )
        if outlier_scales is not None:
            raise UserError(f"{path} has outlier scales of its own; leave {outlier_scales} out.")
        of_layers, of_channels = keys[data["version"]]
        if data["version"] == _OLD_VERSION:
            print(f"{path}: '{of_layers}' is now called 'outlier_scales'", file=sys.stderr)
        scales = _outlier_scales(data.get(of_layers), of_channels, path)
        weights = data.get("weights", "")
        if not isinstance(weights, str):
            raise UserError(f"{path}: 'weights' is no digest. Run the quantize stage again.")
        return Activations(_ranges(data.get("ranges"), path), scales, weights)
    ranges = _ranges(data, path)
    beside = (
        path.with_name(paths.OLD_OUTLIER_SCALES) if outlier_scales is None else Path(outlier_scales)
    )
    if not beside.is_file():
        raise UserError(
            f"{path} holds ranges of an older run, which mean nothing without the outlier scales "
            f"of that run: there is no {beside}. Put that stage's "
            f"{paths.OLD_OUTLIER_SCALES} there, or run the quantize stage again."
        )
    return Activations(ranges, _outlier_scales(_read(beside), "factors", beside))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); run the quantize stage again") from error


def _ranges(data: Any, path: Path) -> Ranges:
    problem = "" if isinstance(data, dict) and data else f"it holds {type(data).__name__}"
    for name, ends in data.items() if not problem else ():
        is_pair = isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))
        if not is_pair or ends[0] > ends[1]:
            problem = f"'{name}' is {ends!r}, not two finite numbers in order"
            break
    if problem:
        raise UserError(
            f"{path} is not a readable range file: {problem}. Run the quantize stage again."
        )
    return {name: (float(low), float(high)) for name, (low, high) in data.items()}


def _outlier_scales(data: Any, key: str, path: Path) -> OutlierScales:
    found = {}
    try:
        for name, entry in data.items():
            channels = entry["channels"]
            if type(channels) is not int or not 0 < channels <= _MOST_CHANNELS:
                raise ValueError(f"'{name}' has {channels!r} channels")
            found[name] = np.ones(channels, np.float32)
            for channel, scale in entry[key].items():
                if not _is_number(scale) or scale < 1 or math.frexp(scale)[0] != 0.5:
                    raise ValueError(f"'{name}' has the scale {scale!r}, no power of two >= 1")
                if not channel.isdecimal():
                    raise ValueError(f"'{name}' has a channel {channel!r}")
                found[name][int(channel)] = scale
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable file of outlier scales: {error}. Run the quantize stage "
            "again."
        ) from error
    return found


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def of_folder(folder: Path) -> Activations | None:
    """Return what a quantize stage left in its folder; None of other stages."""
    path = folder / paths.RANGES
    return load_activations(path) if path.exists() else None
