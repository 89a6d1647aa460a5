"""The process that measures: `-m tf_prune_ofa.bench.worker`, started and told what to do by `host`.

It is a process of its own so that it holds nothing but one runtime: no TensorFlow, no training
threads, no second runtime with clashing symbols, and a memory peak that belongs to one file. It may
be another Python than the host's, with other packages; so only light modules are imported here.

Questions and answers are lines of JSON on standard input and output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.bench import runners
from tf_prune_ofa.errors import UserError

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Worker:
    """Opens files and runs them when asked.

    Every question is the name of a method and its arguments, every answer a JSON object.
    """

    def __init__(self) -> None:
        self.files: list[runners.Runner] = []

    def open(
        self,
        path: str,
        runtime: str,
        options: Mapping[str, Any],
        threads: int,
        inputs: Mapping[str, Any],
        warmup: int = 0,
    ) -> dict[str, Any]:
        """Open a file, run it once, and `warmup` times more.

        Args:
            path: the model file.
            runtime: one of `runners.NAMES`.
            options: for the runtime.
            threads: of the runtime.
            inputs: from `encoded`.
            warmup: how often to run it before it is measured.

        Returns:
            Runtime's `name` and `version`, the `delegation`, and figures of a first use in this
            process: `load_ms` (open, delegate, allocate; the file should be in the page cache),
            `first_run_ms`, and `peak_memory_bytes`: the highest resident memory of the process
            above what it was with the runtime imported and the file not open. Pages of the file
            that the runtime touches count.
        """
        runners.prepare(runtime)
        before = reset_peak_memory()
        start = time.perf_counter()
        file = runners.open_file(path, runtime, threads, options)
        loaded = time.perf_counter()
        file.set_inputs(decoded(inputs))
        try:
            file.invoke()
        except RuntimeError as error:
            raise UserError(
                f"{file.runtime_name} {file.runtime_version} loads {path} but cannot run it: "
                f"{error}. Use a newer runtime, or another variant of this model."
            ) from error
        finished = time.perf_counter()
        memory = peak_memory() - before
        for _ in range(warmup):
            file.invoke()
        self.files.append(file)
        return {
            "name": file.runtime_name,
            "version": file.runtime_version,
            "delegation": file.delegation,
            "load_ms": 1e3 * (loaded - start),
            "first_run_ms": 1e3 * (finished - loaded),
            "peak_memory_bytes": memory,
        }

    def turn(self, file: int, burst: int) -> dict[str, Any]:
        """Run a file once for the caches, which is not counted, and `burst` times that are.

        Returns:
            `first_ms`, `samples_ms` [burst] by the clock, and `cpu_ms` [burst]: processor time of
            all threads of this process.
        """
        run = self.files[file].invoke
        first, _ = timed(run)
        samples = [timed(run) for _ in range(burst)]
        return {
            "first_ms": first,
            "samples_ms": [sample for sample, _ in samples],
            "cpu_ms": [cpu for _, cpu in samples],
        }

    def outputs(self, file: int, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run a file on other inputs, and answer with what comes out, `encoded`."""
        self.files[file].set_inputs(decoded(inputs))
        self.files[file].invoke()
        return encoded(self.files[file].outputs())


def encoded(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as JSON values: exact, as JSON's decimals name every float."""
    texts = {name: value.astype(str) for name, value in arrays.items() if value.dtype.kind in "SO"}
    return {
        name: {"dtype": str(value.dtype), "values": value.tolist()}
        for name, value in {**arrays, **texts}.items()
    }


def decoded(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `encoded` was given."""
    return {
        name: np.array(value["values"], np.dtype(value["dtype"])) for name, value in arrays.items()
    }


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of one run by the clock and on all processors together."""
    cpu, start = time.process_time(), time.perf_counter()
    run()
    stop, cpu_stop = time.perf_counter(), time.process_time()
    return 1e3 * (stop - start), 1e3 * (cpu_stop - cpu)


def reset_peak_memory() -> int:
    """Sets the process's memory peak back to its present memory, and gives that in bytes."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")  # see proc(5): resets VmHWM
    return peak_memory()


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def serve(worker: Any) -> None:
    """Answer questions with a worker's methods until standard input ends.

    What a runtime prints must not get between the answers, so standard output goes where standard
    error goes. Runtimes write from native code, so it is the file descriptor that has to be moved.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(worker, question.pop("do"))(**question)
        except UserError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Worker())
