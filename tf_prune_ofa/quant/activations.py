"""Ranges and channel factors of a model's activations: one thing, in one file.

A range is that of the values divided by their layer's factors. One without the other clips values
without a word, so they are never apart.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json

Ranges = dict[str, tuple[float, float]]
Factors = dict[str, np.ndarray]

_VERSION = 2
_MOST_CHANNELS = 1 << 20


@dataclass(frozen=True)
class Activations:
    """What static INT8 needs to know of activations.

    Attributes:
        ranges: (min, max) by layer name: of dense outputs, of the points before dense layers, and
            of attention's scores.
        factors: divisors [channels] of dense outputs that have outlying channels, by layer name;
            powers of two, 1 but for those channels.
    """

    ranges: Ranges
    factors: Factors = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write both as JSON; of factors, the channels whose factor is not 1."""
        write_json(
            path,
            {
                "version": _VERSION,
                "ranges": {name: list(ends) for name, ends in self.ranges.items()},
                "factors": {
                    name: {
                        "channels": len(values),
                        "factors": {str(i): float(values[i]) for i in np.flatnonzero(values != 1)},
                    }
                    for name, values in self.factors.items()
                },
            },
        )


def load_activations(path: str | Path, factors: str | Path | None = None) -> Activations:
    """Read what `Activations.save` wrote, or the two files of an older run.

    Args:
        path: the file of the ranges.
        factors: the file of the factors, where `path` is of an older run and they are not beside
            it.

    Raises:
        UserError: missing or damaged; ranges of an older run without their factors; or factors
            given beside a file that has its own.
    """
    path = Path(path)
    data = _read(path)
    if isinstance(data, dict) and "version" in data:
        if data["version"] != _VERSION:
            raise UserError(
                f"{path} is of version {data['version']!r}; this package reads {_VERSION}. Update "
                "the package, or run the quantize stage again."
            )
        if factors is not None:
            raise UserError(f"{path} has factors of its own; leave {factors} out.")
        return Activations(_ranges(data.get("ranges"), path), _factors(data.get("factors"), path))
    ranges = _ranges(data, path)
    beside = path.with_name(paths.OLD_FACTORS) if factors is None else Path(factors)
    if not beside.is_file():
        raise UserError(
            f"{path} holds ranges of an older run, which mean nothing without the channel factors "
            f"of that run: there is no {beside}. Put that stage's {paths.OLD_FACTORS} there, or "
            "run the quantize stage again."
        )
    return Activations(ranges, _factors(_read(beside), beside))


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


def _factors(data: Any, path: Path) -> Factors:
    found = {}
    try:
        for name, entry in data.items():
            channels = entry["channels"]
            if type(channels) is not int or not 0 < channels <= _MOST_CHANNELS:
                raise ValueError(f"'{name}' has {channels!r} channels")
            found[name] = np.ones(channels, np.float32)
            for channel, factor in entry["factors"].items():
                if not _is_number(factor) or factor < 1 or math.frexp(factor)[0] != 0.5:
                    raise ValueError(f"'{name}' has the factor {factor!r}, no power of two >= 1")
                if not channel.isdecimal():
                    raise ValueError(f"'{name}' has a channel {channel!r}")
                found[name][int(channel)] = factor
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable file of channel factors: {error}. Run the quantize stage "
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
