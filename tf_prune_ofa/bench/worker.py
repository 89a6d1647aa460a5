"""The process that measures: `-m tf_prune_ofa.bench.worker JOB ANSWER LOG`, started by `host`.

It is a process of its own so that it holds nothing but one runtime: no TensorFlow, no training
threads, no second runtime with clashing symbols, and a memory peak that belongs to one file.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.runtime import flatbuffer
from tf_prune_ofa.runtime.interpreter import Interpreter, find_runtime

# Fewer rounds give no percentiles worth printing, so these are run whatever the time limit is.
MINIMUM_ROUNDS = 5

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def measure_load(path: str, *, seed: int, **options: Any) -> dict[str, float | int]:
    """Opens one file in this fresh process and runs it once.

    Args:
        path: the `.tflite` file.
        seed: of the inputs.
        options: `threads`, `runtime` and `xnnpack` of `Interpreter`.

    Returns:
        `load_ms` (open, delegate, allocate; the file is in the page cache), `first_run_ms`, and
        `peak_memory_bytes`: the highest resident memory of the process above what it was with the
        runtime imported and no file open. Pages of the file that the runtime touches count.
    """
    model = flatbuffer.read_model(path)  # also brings the file into the page cache
    example = make_inputs(model, seed=seed)
    del model
    find_runtime(options["runtime"])
    before = _reset_peak_memory()
    start = time.perf_counter()
    opened = Interpreter(path, check=False, **options)  # checked above; reading it costs memory
    loaded = time.perf_counter()
    _run_first(opened, example)
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
    progress: Callable[[range], Iterable[int]] = iter,
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
        progress: wraps the loop over rounds, to show how far it is.
        options: `threads`, `runtime` and `xnnpack` of `Interpreter`.

    Returns:
        `runtime` (name and version), and `files`: for each its `inputs` (name, shape, type), its
        `delegation`, `samples_ms` [rounds, burst] and `first_of_turn_ms` [rounds].
    """
    models = [flatbuffer.read_model(path) for path in paths]
    examples = [make_inputs(model, seed=seed) for model in models]
    files = [Interpreter(path, check=False, **options) for path in paths]
    for file, example in zip(files, examples, strict=True):
        _run_first(file, example)
        for _ in range(warmup):
            file.invoke()
    samples: list[list[list[float]]] = [[] for _ in paths]
    first: list[list[float]] = [[] for _ in paths]
    deadline = time.perf_counter() + seconds
    rounds = max(MINIMUM_ROUNDS, -(-runs // burst))
    for turn in progress(range(rounds)):
        if turn >= MINIMUM_ROUNDS and time.perf_counter() > deadline:
            break
        for i in rotated(len(paths), turn):
            first[i].append(_timed_run(files[i]))
            samples[i].append([_timed_run(files[i]) for _ in range(burst)])
    return {
        "runtime": {"name": files[0].runtime_name, "version": files[0].runtime_version},
        "files": [
            {
                "inputs": [
                    {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
                    for name, value in _by_name(file, example).items()
                ],
                "delegation": {
                    "operators": file.node_count,
                    "delegated": file.delegated_count,
                    "partitions": file.partition_count,
                },
                "samples_ms": samples[i],
                "first_of_turn_ms": first[i],
            }
            for i, (file, example) in enumerate(zip(files, examples, strict=True))
        ],
    }


def rotated(count: int, turn: int) -> list[int]:
    """0 to count - 1, begun at `turn` and wrapped around.

    >>> rotated(3, 1)
    [1, 2, 0]
    """
    return [(turn + place) % count for place in range(count)]


def _by_name(file: Interpreter, example: list[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(file.input_names, example, strict=True))


def _run_first(file: Interpreter, example: list[np.ndarray]) -> None:
    file.set_inputs(_by_name(file, example))
    try:
        file.invoke()
    except RuntimeError as error:
        raise UserError(
            f"{file.runtime_name} {file.runtime_version} loads {file.path} but cannot run it: "
            f"{error}. Use a newer runtime, or another variant of this model."
        ) from error


def _timed_run(file: Interpreter) -> float:
    start = time.perf_counter()
    file.invoke()
    return 1e3 * (time.perf_counter() - start)


def _reset_peak_memory() -> int:
    """Sets the process's memory peak back to its present memory, and gives that in bytes."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")  # see proc(5): resets VmHWM
    return _peak_memory()


def _peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(job_file: str, answer_file: str, log_file: str) -> None:
    """Does the job described in one file and writes what it measured, or an error, to another.

    What the runtime says on the way goes to `log_file`; the terminal is for the progress bar.
    """
    terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w")
    # The runtime writes from native code, so it is the file descriptor that has to be moved.
    with open(log_file, "w") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    # disable=None: no bar where the output is no terminal.
    bar = partial(tqdm, desc="benchmark", unit="round", leave=False, disable=None, file=terminal)
    try:
        if job["task"] == "load":
            answer = measure_load(job["paths"][0], **job["options"])
        else:
            answer = measure_latency(job["paths"], progress=bar, **job["options"])
    except UserError as error:
        answer = {"error": str(error)}
    write_json(answer_file, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
