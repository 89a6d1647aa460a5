"""Measure what layers cost on this machine: dense in the runtime itself, sparse in the delegate.

Legend: T tokens, N outputs, K inputs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tf_prune_ofa.runtime.costs import LayerTimes
from tf_prune_ofa.runtime.layer_chain import LayerShape, chain, random_kernels

# Two shares of zeros tell the cost of an entry from what a layer costs whatever its zeros are. They
# lie around those where a sparse layer begins to pay, on most processors.
FEW_ZEROS, MANY_ZEROS = 0.6, 0.92
# Width of the zeros' blocks by layout.
BLOCKS: Mapping[str, int] = {"groups": 4, "columns": 1}
# Other sizes of a tile of columns that are tried beside the one that is taken by itself.
OTHER_TILES = (1024, 384)

_SECONDS = 0.25  # for each pair of shapes
_PATIENCE = 8  # times as long where other programs keep threads waiting
_MOST_ROUNDS = 60
# Share of a core that other programs may take away.
_MOST_STOLEN = 0.2
_PAIR_BYTES = 3 << 20  # about as many weights, for a cache not to hold those of all layers
_MOST_PAIRS = 4

_LOGGER = logging.getLogger(__name__)


def measure(
    module: ModuleType,
    library: Path,
    kernels: str,
    default_tile: int,
    shapes: Iterable[LayerShape],
    seconds: float = _SECONDS,
) -> list[LayerTimes]:
    """Measure layers of several shapes, each in a chain of its own.

    A layer and the one that leads back (K outputs, N inputs) are measured together.

    Args:
        module: the runtime's interpreter module, from `installed.find_runtime`.
        library: of the delegate.
        kernels: the instruction set that it takes here.
        default_tile: its largest tile of columns.
        shapes: what to measure.
        seconds: how long to take turns for each pair of shapes.

    Returns:
        For each shape, and the one that leads back, one entry for each size of a tile of columns;
        none where the machine was too busy to measure, which is logged in one line.
    """
    times: list[LayerTimes] = []
    done: set[LayerShape] = set()
    for shape in shapes:
        if shape in done:
            continue
        done |= {shape, shape.turned()}
        race = LayerRace(shape, default_tile)
        opened = [_open(module, library, shape.threads, *file) for file in race.files()]
        measured = race.times(_race(opened, shape.threads, seconds), kernels)
        if not measured:
            _LOGGER.warning(
                "The machine is too busy to measure layers with %d threads; the sparse delegate "
                "leaves %d x %d to the runtime for now.",
                *(shape.threads, shape.rows, shape.columns),
            )
        times += measured
    return times


class LayerRace:
    """Files of one pair of shapes that run in turns, and what their times say of its layers.

    Args:
        shape: a layer's, which is measured with the one that leads back.
        default_tile: the delegate's largest tile of columns.
    """

    def __init__(self, shape: LayerShape, default_tile: int) -> None:
        self.shape = shape
        weights = 2 * shape.rows * shape.columns
        self.pairs = max(1, min(_MOST_PAIRS, round(_PAIR_BYTES / weights)))
        self.tiles = [default_tile]
        for tile in OTHER_TILES:
            if self._tiles(tile) not in map(self._tiles, self.tiles):
                self.tiles.append(tile)
        rng = np.random.default_rng(0)
        self._kernels = {
            (layout, zeros): random_kernels(rng, shape, self.pairs, zeros, block)
            for layout, block in BLOCKS.items()
            for zeros in (FEW_ZEROS, MANY_ZEROS)
        }
        self._dense = random_kernels(rng, shape, self.pairs, 0, 1)
        # (layout, share of zeros, largest tile)
        self._forms = [
            (layout, zeros, tile)
            for layout, zeros in self._kernels
            for tile in self.tiles
            if tile == default_tile or zeros == MANY_ZEROS
        ]

    def files(self) -> Iterator[tuple[bytes, dict[str, str] | None]]:
        """Yield each file, and the options that the delegate runs it with; None for without."""
        yield chain(self.shape, self._dense), None
        for layout, zeros, tile in self._forms:
            options = {"force": "all", "num_threads": str(self.shape.threads)}
            options |= {"layout": layout, "tile_columns": str(tile)}
            yield chain(self.shape, self._kernels[layout, zeros]), options

    def times(self, microseconds: Sequence[float], kernels: str) -> list[LayerTimes]:
        """Return what both shapes' layers take, or nothing if no run was undisturbed.

        Args:
            microseconds: of one run of each of `files`; infinite where all were disturbed.
            kernels: the instruction set that the delegate took.
        """
        dense, *sparse = microseconds
        if not np.isfinite(dense):
            return []
        layers = 2 * self.pairs
        us = dict(zip(self._forms, sparse, strict=True))
        # By layout: what an entry costs does not depend on the tile.
        entry = {}
        for layout in BLOCKS:
            few, many = ((layout, zeros, self.tiles[0]) for zeros in (FEW_ZEROS, MANY_ZEROS))
            more = self._entries(*few) - self._entries(*many)
            entry[layout] = max(0.0, (us[few] - us[many]) / more)
        found: list[Any] = []
        for tile in self.tiles:
            costs = {}
            for layout in BLOCKS:
                key = (layout, MANY_ZEROS, tile)
                fixed = (us[key] - entry[layout] * self._entries(*key)) / layers
                costs[layout] = (max(0.0, fixed), entry[layout])
            for shape in dict.fromkeys((self.shape, self.shape.turned())):
                times = LayerTimes(
                    shape, kernels, _tile(shape.columns, tile), dense / layers, **costs
                )
                if times.tile_columns not in [t.tile_columns for t in found if t.shape == shape]:
                    found.append(times)
        return found

    def _tiles(self, largest: int) -> tuple[int, int]:
        return _tile(self.shape.columns, largest), _tile(self.shape.rows, largest)

    def _entries(self, layout: str, zeros: float, tile: int) -> int:
        return sum(
            count_entries(kernel, layout, _tile(kernel.shape[1], tile))
            for kernel in self._kernels[layout, zeros]
        )


def count_entries(kernel: np.ndarray, layout: str, tile: int) -> int:
    """Return how many fours of weights a kernel [N, K] has in a layout.

    Args:
        kernel: int8.
        layout: "groups", live ones of four neighbours, or "columns", fours of any nonzero ones.
        tile: columns that are packed for themselves.
    """
    live = np.pad(kernel != 0, [(0, 0), (0, -kernel.shape[1] % 4)])
    if layout == "groups":
        return int(live.reshape(len(live), -1, 4).any(axis=2).sum())
    starts = range(0, live.shape[1], tile)
    return int(sum((-(-live[:, k : k + tile].sum(axis=1) // 4)).sum() for k in starts))


def _open(
    module: ModuleType, library: Path, threads: int, file: bytes, options: dict[str, str] | None
) -> Any:
    """Open a file in the runtime, with the delegate if there are options for it."""
    delegates = [] if options is None else [module.load_delegate(str(library), options)]
    opened = module.Interpreter(
        model_content=file, num_threads=threads, experimental_delegates=delegates
    )
    opened.allocate_tensors()
    return opened


def _tile(columns: int, largest: int) -> int:
    """The tile that the library takes: as equal ones as possible, none above `largest`."""
    tiles = -(-columns // largest)
    return 4 * -(-columns // (4 * tiles))


def _race(opened: Sequence[Any], threads: int, seconds: float) -> list[float]:
    """Return microseconds of an undisturbed run of each, which run in turns.

    One thread's own time does not see what else runs on the machine, and the fastest run counts. Of
    several threads the clock counts, and only while other programs leave as many cores free; then
    the median does, as threads of the runtime's and of the delegate's may be in each other's way.
    """
    clock, middle = (time.thread_time, np.min) if threads == 1 else (time.perf_counter, np.median)
    for interpreter in opened:
        interpreter.invoke()
    end = time.perf_counter() + _PATIENCE * seconds
    while time.perf_counter() < end:
        runs: list[list[float]] = []
        before = _usage()
        for _ in range(_MOST_ROUNDS):
            runs.append([])
            for interpreter in opened:
                start = clock()
                interpreter.invoke()
                runs[-1].append(1e6 * (clock() - start))
            passed, others = np.subtract(_usage(), before)
            if passed >= seconds:
                break
        if threads == 1 or passed * os.cpu_count() - others >= passed * (threads - _MOST_STOLEN):
            return middle(runs, axis=0).tolist()
    return [np.inf] * len(opened)


def _usage() -> tuple[float, float]:
    """Seconds by the clock, and of all cores together that other programs have used.

    Zero where the system does not tell.
    """
    used = 0.0
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, *interrupts_and_stolen = map(int, words)
        ticks = user + nice + system + sum(interrupts_and_stolen)
        used = ticks / os.sysconf("SC_CLK_TCK") - time.process_time()
    return time.perf_counter(), used
