"""The delegate's costs on a device: its layers timed there, as a cost table for its processor.

The delegate takes a layer if that is faster than the runtime's dense one. Here `runtime.calibrate`
measures both in the Python runtime; on a device the same small files run in the runner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.device.job import Said
from tf_prune_ofa.runtime.costs import LayerTimes
from tf_prune_ofa.runtime.layer_chain import LayerShape

TABLE = "costs.txt"
ROUNDS, SECONDS = 40, 3.0


def unmeasured(said: Said) -> list[LayerShape]:
    """Return the layers of opened files that might gain but were never measured."""
    shapes: dict[LayerShape, None] = {}
    for event in said.opened.values():
        for line in event["unmeasured"].splitlines():
            arithmetic, *sizes = line.split()
            shapes[LayerShape(arithmetic == "static", *map(int, sizes))] = None
    return list(shapes)


def processor(said: Said) -> tuple[str, str, int] | None:
    """Return what the delegate calls the processor, its instruction set and its tile of columns."""
    words = next(
        (event["processor"].split() for event in said.opened.values() if event["processor"]), None
    )
    return None if words is None else (words[0], words[1], int(words[2]))


def an_input(shape: LayerShape) -> bytes:
    """Return an input for a chain of layers."""
    rng = np.random.default_rng(0)
    size = [1, shape.tokens, shape.columns]
    if shape.is_static:
        return rng.integers(-128, 128, size, np.int8).tobytes()
    return rng.standard_normal(size, np.float32).tobytes()


def microseconds(said: Said, count: int, threads: int) -> list[float]:
    """Return the time of each of `count` rows: of one thread the fastest, else the median."""
    middle = np.min if threads == 1 else np.median
    if len(said.opened) < count or not said.rounds:
        return [np.inf] * count
    runs = np.array([one.samples_ms for one in said.rounds])  # [rounds, rows, burst]
    return (1e3 * middle(runs, axis=(0, 2))).tolist()


def table(name: str, runtime: str, times: Sequence[LayerTimes]) -> str:
    """Return the cost table of a processor; see native/src/cost.h."""
    lines = ["# Costs of the sparse delegate, measured on the device", f"runtime {runtime}"]
    return "\n".join([*lines, f"processor {name}", *(one.line() for one in times)]) + "\n"
