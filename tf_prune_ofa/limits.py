"""What a number of a recipe may be, said beside the setting, in the metadata of its field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

_KEY = "limit"
NEWER = "newer"


@dataclass(frozen=True)
class Limit:
    """What is allowed in words, and the test of it. NaN and infinity pass no test."""

    words: str
    allows: Callable[[float], bool]


def between(low: float, high: float) -> Limit:
    """A limit of numbers from `low` to `high`, both included."""
    return Limit(f"from {low:,} to {high:,}", lambda x: low <= x <= high)


def above_0(high: float) -> Limit:
    """A limit of numbers above 0, at most `high`."""
    return Limit(f"above 0 and at most {high:,}", lambda x: 0 < x <= high)


SHARE = Limit("in [0, 1)", lambda x: 0 <= x < 1)
PROBABILITY = Limit("in [0, 1]", lambda x: 0 <= x <= 1)
INNER_SHARE = Limit("in (0, 1)", lambda x: 0 < x < 1)
SPEEDUP_OR_RULES = Limit("0, or above 1 and at most 100", lambda x: x == 0 or 1 < x <= 100)
# Beyond the largest there is, and far from what would exhaust memory or overflow.
SEED = between(0, 2**32 - 1)
COUNT_OR_ALL = between(0, 1_000_000_000)
TOKENS = between(1, 100_000)
TOKENS_OR_SAME = between(0, 100_000)
BATCH = between(1, 65_536)
COUNT = between(1, 1_000_000)
FEW = between(1, 10_000)
WEIGHT = between(0, 1_000_000)
RATE = between(0, 1_000_000)
POSITIVE = above_0(1_000_000)


def limited(default: Any, limit: Limit, *, is_newer: bool = False) -> Any:
    """A field of a dataclass of settings whose numbers, in a list or mapping too, are limited.

    Args:
        default: of the field.
        limit: of its numbers.
        is_newer: the setting came with a later version: where it is at its default, runs of before
            are found again (`plain_values.digest`).
    """
    metadata = {_KEY: limit, NEWER: is_newer}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def required(limit: Limit) -> Any:
    """A field without a default whose number is limited."""
    return field(metadata={_KEY: limit})


@cache
def limits_of(cls: type) -> dict[str, Limit]:
    """The limits of a dataclass's fields, by name."""
    return {one.name: one.metadata[_KEY] for one in fields(cls) if _KEY in one.metadata}


def check(value: float, limit: Limit | None) -> str:
    """What a number must be and is not, in words; "" where it is allowed."""
    # An int is finite, and may be too large to be asked.
    is_finite = isinstance(value, int) or math.isfinite(value)
    if is_finite and (limit is None or limit.allows(value)):
        return ""
    return limit.words if limit else "a finite number"
