"""The process that measures: `python -m tf_prune_ofa.bench.worker JOB RESULT`, started by `host`.

It is a process of its own so that it holds nothing but one runtime: no TensorFlow, no training
threads, no second runtime with clashing symbols, and a memory peak that belongs to one file.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.runtime import flatbuffer, interpreter

# Fewer rounds than this give no percentiles worth printing, so they are run whatever the time limit.
MINIMUM_ROUNDS = 5

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def measure_load(path: str, *, seed: int, **options: Any) -> dict[str, float | int]:
    """Opens one file in this fresh process and runs it once.

    Args:
        path: the `.tflite` file.
        seed: of the inputs.
        options: `threads`, `runtime` and `xnnpack` of `interpreter.open_file`.

    Returns:
        `load_ms` (open, delegate, allocate; the file is in the page cache), `first_run_ms`, and
        `peak_memory_bytes`: the highest resident memory of the process above what it was with the
        runtime imported and no file open. Pages of the file that the runtime touches count.
    """
    model = flatbuffer.read_model(path)  # also brings the file into the page cache
    example = make_inputs(model, seed=seed)
    del model
    interpreter.import_runtime(options["runtime"])
    before = _reset_peak_memory()
    start = time.perf_counter()
    opened = interpreter.open_file(path, **options)
    loaded = time.perf_counter()
    opened.run(example)
    finished = time.perf_counter()
    return {
        "load_ms": 1e3 * (loaded - start),
        "first_run_ms": 1e3 * (finished - loaded),
        "peak_memory_bytes": _peak_memory() - before,
    }


def measure_latency(
    paths: list[str],
    *,
    runs: int,
    burst: int,
    warmup: int,
    seconds: float,
    seed: int,
    **options: Any,
) -> dict[str, Any]:
    """Runs all files in turns, so that every file meets the same moods of the machine.

    One turn of a file is a run that is not counted, because it pays for the caches that the file
    before it left behind, and `burst` runs that are. The order of the files moves on by one place
    each round.

    Args:
        paths: the `.tflite` files.
        runs: counted runs per file.
        burst: counted runs per turn.
        warmup: runs per file before the first round.
        seconds: stop after this long, but not before `MINIMUM_ROUNDS` rounds.
        seed: of the inputs.
        options: `threads`, `runtime` and `xnnpack` of `interpreter.open_file`.

    Returns:
        `runtime` (name and version), and `files`: for each its `inputs` (name, shape, type), its
        `delegation`, `samples_ms` [rounds, burst] and `first_of_turn_ms` [rounds].
    """
    files = []
    for path in paths:
        example = make_inputs(flatbuffer.read_model(path), seed=seed)
        files.append((interpreter.open_file(path, **options), example))
    for opened, example in files:
        for _ in range(warmup):
            opened.run(example)
    samples: list[list[list[float]]] = [[] for _ in files]
    first: list[list[float]] = [[] for _ in files]
    deadline = time.perf_counter() + seconds
    rounds = max(MINIMUM_ROUNDS, -(-runs // burst))
    # disable=None: no bar where the output is no terminal.
    for turn in tqdm(range(rounds), desc="benchmark", unit="round", leave=False, disable=None):
        if turn >= MINIMUM_ROUNDS and time.perf_counter() > deadline:
            break
        for i in rotated(len(files), turn):
            first[i].append(_timed_run(*files[i]))
            samples[i].append([_timed_run(*files[i]) for _ in range(burst)])
    return {"first": first, "samples": samples}


def rotated(count: int, turn: int) -> list[int]:
    """0 to count - 1, begun at `turn` and wrapped around: each place follows each other in turn.

    >>> rotated(3, 1)
    [1, 2, 0]
    """
    return [(turn + place) % count for place in range(count)]
