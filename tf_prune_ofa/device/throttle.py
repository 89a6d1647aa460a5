"""Whether a device slowed itself down while it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Fewer rounds have no beginning and no end that could be told apart.
_FEWEST = 9
_DROP = 0.10
# Runs that are shorter than this, in ms, differ by the clock they are read with.
_SHORTEST_MS = 0.01
# How much warmer, in degrees, goes with a slowdown that comes from heat.
_WARMER = 3.0


@dataclass(frozen=True)
class Round:
    """One turn of every row, and what the sensors said after it.

    Attributes:
        rows: places of the rows in the job.
        first_ms: for each, the run right after another row's.
        samples_ms, cpu_ms: for each, [burst].
        clock_khz: of the cores that were used; empty where it cannot be read.
        temperature: of each zone, degrees Celsius.
        cooling: steps by which the kernel held processors back.
    """

    rows: tuple[int, ...]
    first_ms: tuple[float, ...]
    samples_ms: tuple[tuple[float, ...], ...]
    cpu_ms: tuple[tuple[float, ...], ...]
    clock_khz: tuple[float, ...]
    temperature: tuple[float, ...]
    cooling: float


def find(rounds: Sequence[Round], cooling_before: float) -> list[str]:
    """Return what shows that the device was throttled; nothing if it was not.

    Args:
        rounds: of the measurement, in their order.
        cooling_before: `Round.cooling` before it began.
    """
    most = max((one.cooling for one in rounds), default=0)
    found = []
    if most > cooling_before:
        found.append(f"the kernel held the processor back ({most:g} steps)")
    if len(rounds) < _FEWEST:
        return found
    third = len(rounds) // 3
    begin, end = rounds[:third], rounds[-third:]
    before, after = (
        _middle([float(np.mean(r.clock_khz)) for r in part if r.clock_khz]) for part in (begin, end)
    )
    if before is not None and after is not None and after < (1 - _DROP) * before:
        found.append(f"the clock fell from {before / 1e6:.2f} to {after / 1e6:.2f} GHz")
    slowdown = min(_slowdowns(begin, end), default=0.0)
    warmer = _warmer(begin, end)
    is_blind = before is None and warmer is None
    if slowdown > _DROP and (is_blind or (warmer or 0) >= _WARMER):
        heat = "" if warmer is None else f" and it got {warmer:.0f} degrees warmer"
        found.append(f"every file became {slowdown:.0%} slower or more{heat}")
    return found


def hottest(rounds: Sequence[Round]) -> float | None:
    """Return the highest temperature of any zone; None where there is none."""
    return max((max(r.temperature) for r in rounds if r.temperature), default=None)


def _slowdowns(begin: Sequence[Round], end: Sequence[Round]) -> list[float]:
    """By processor time: what other programs take away on a busy machine is not heat."""
    times = [[_processor_ms(part, i) for part in (begin, end)] for i in range(len(begin[0].rows))]
    return [last / first - 1 for first, last in times if first >= _SHORTEST_MS]


def _warmer(begin: Sequence[Round], end: Sequence[Round]) -> float | None:
    first, last = (
        _middle([max(r.temperature) for r in part if r.temperature]) for part in (begin, end)
    )
    return None if first is None or last is None else last - first


def _processor_ms(rounds: Sequence[Round], row: int) -> float:
    return float(np.median([np.median(one.cpu_ms[row]) for one in rounds]))


def _middle(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None
