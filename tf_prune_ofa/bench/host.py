"""Benchmark `.tflite` files on this machine.

Load time and memory are measured in a short process for each file, latency in one process that runs
all files in turns: two files measured one after the other would compare two moments of the machine.
"""

import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import tf_prune_ofa
from tf_prune_ofa.bench.machine import busy_warning, machine_facts
from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import flatbuffer

SCHEMA = "tf_prune_ofa.bench/1"


@dataclass(frozen=True)
class BenchSettings:
    """How to measure.

    Attributes:
        threads: threads of the runtime.
        runs: counted runs of each file.
        burst: counted runs in a row before the next file has its turn.
        warmup: runs of each file before the first turn.
        seconds: stop taking turns after this long.
        loads: fresh processes for each file that measure load time and memory; the median counts.
        seed: of the inputs.
        runtime: which runtime; see `runtime.interpreter`.
        xnnpack: whether XNNPACK may take operators over.
    """

    threads: int = 1
    runs: int = 200
    burst: int = 2
    warmup: int = 5
    seconds: float = 60.0
    loads: int = 3
    seed: int = 0
    runtime: str = "auto"
    xnnpack: bool = True


def benchmark(
    files: Sequence[str | os.PathLike[str]],
    settings: BenchSettings | None = None,
    *,
    reference: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Measures files against each other.

    Args:
        files: `.tflite` files.
        settings: how to measure; the defaults of `BenchSettings` if None.
        reference: the file that the others are compared with; it is added to `files` if it is not
            one of them. Without it there are no ratios.

    Returns:
        Plain JSON values: `schema`, `created`, `reference` (file name), `runtime` (name, version,
        threads, xnnpack), `machine`, `settings`, `warnings`, and `files`. Each file has `file` (its
        name), `path`, `size_bytes`, `sha256`, `inputs`, `delegation` (operators, delegated,
        partitions), `load_ms`, `first_run_ms`, `peak_memory_bytes`, `latency_ms` (median, p10, p90,
        p99, min, mean, runs), `first_of_turn_ms` and `ratio` (ratio, low, high) or None.

    Raises:
        UserError: settings without sense, no file, or one that is missing, damaged or does not run.
    """
    settings = settings or BenchSettings()
    _check_settings(settings)
    paths = _distinct_paths(files, reference)
    for path in paths:
        flatbuffer.read_model(path)  # what is no model is refused before minutes of measuring
    machine = machine_facts()
    options = {key: getattr(settings, key) for key in ("threads", "runtime", "xnnpack", "seed")}
    loads = [
        [_in_process("load", [path], options) for _ in range(settings.loads)] for path in paths
    ]
    turns = {key: getattr(settings, key) for key in ("runs", "burst", "warmup", "seconds")}
    measured = _in_process("latency", paths, {**options, **turns})

    entries = [
        _file_facts(path, name) | _load_figures(load) | figures
        for path, name, load, figures in zip(
            paths, _names(paths), loads, measured["files"], strict=True
        )
    ]
    reference_entry = None
    if reference is not None:
        reference_entry = entries[paths.index(Path(reference).resolve())]
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "reference": reference_entry["file"] if reference_entry else None,
        "runtime": {
            **measured["runtime"],
            "threads": settings.threads,
            "xnnpack": settings.xnnpack,
        },
        "machine": machine,
        "settings": asdict(settings),
        "warnings": _warnings(entries, reference_entry, machine, settings),
        "files": [_with_statistics(entry, reference_entry) for entry in entries],
    }


def _check_settings(settings: BenchSettings) -> None:
    for name, least in (("threads", 1), ("runs", 1), ("burst", 1), ("warmup", 0), ("loads", 1)):
        value = getattr(settings, name)
        if value < least:
            raise UserError(f"--{name} is {value}; it must be at least {least}.")
    if not settings.seconds > 0:
        raise UserError(f"--seconds is {settings.seconds}; it must be more than 0.")


def _distinct_paths(
    files: Sequence[str | os.PathLike[str]], reference: str | os.PathLike[str] | None
) -> list[Path]:
    wanted = [Path(file) for file in [*files, *([] if reference is None else [reference])]]
    if not wanted:
        raise UserError("No file to measure. Name at least one .tflite file.")
    missing = [str(path) for path in wanted if not path.is_file()]
    if missing:
        raise UserError(f"No such file: {', '.join(missing)}. Give paths of .tflite files.")
    return list(dict.fromkeys(path.resolve() for path in wanted))


def _in_process(task: str, paths: list[Path], options: dict[str, Any]) -> dict[str, Any]:
    """Runs one task of `worker` in a fresh process and gives back what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        job, answer, log = (Path(folder, name) for name in ("job.json", "answer.json", "log.txt"))
        job.write_text(json.dumps({"task": task, "paths": [*map(str, paths)], "options": options}))
        # The package may be imported from a checkout that the new process does not know of.
        package_parent = str(Path(tf_prune_ofa.__file__).parent.parent)
        search_path = os.pathsep.join([package_parent, os.environ.get("PYTHONPATH", "")])
        process = subprocess.run(
            [sys.executable, "-m", "tf_prune_ofa.bench.worker", *map(str, (job, answer, log))],
            env={**os.environ, "PYTHONPATH": search_path.rstrip(os.pathsep)},
            check=False,
        )
        said = log.read_text(errors="replace") if log.is_file() else ""
        result = json.loads(answer.read_text()) if answer.is_file() else {}
    if "error" in result:
        raise UserError(result["error"])
    if process.returncode < 0:
        reason = signal.Signals(-process.returncode).name
        raise UserError(
            f"The runtime was killed ({reason}) while it ran {', '.join(map(str, paths))}. Look at "
            "the file with tools/inspect_tflite.py, or choose another --runtime. It said last: "
            + (said.strip() or "nothing").splitlines()[-1]
        )
    if process.returncode:
        raise RuntimeError(f"the measuring process ended with {process.returncode}:\n{said}")
    return result


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with their folder where two files have the same name."""
    names = [path.name for path in paths]
    return [
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        for path in paths
    ]


def _file_facts(path: Path, name: str) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "file": name,
        "path": str(path),
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _load_figures(loads: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(load[key] for load in loads) for key in loads[0]}


def _with_statistics(entry: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, Any]:
    """The entry with figures instead of single timings."""
    kept = {k: v for k, v in entry.items() if k not in ("samples_ms", "first_of_turn_ms")}
    samples = np.array(entry["samples_ms"])
    return kept | {
        "latency_ms": latency_summary(samples),
        "first_of_turn_ms": median(entry["first_of_turn_ms"]),
        "ratio": None
        if reference is None
        else ratio_to_reference(samples, np.array(reference["samples_ms"])),
    }


def _warnings(
    entries: list[dict[str, Any]],
    reference: dict[str, Any] | None,
    machine: dict[str, Any],
    settings: BenchSettings,
) -> list[str]:
    warnings = []
    busy = busy_warning(machine, settings.threads)
    if busy:
        warnings.append(busy)
    cores = machine["usable_cores"]
    if cores is not None and settings.threads > cores:
        warnings.append(f"{settings.threads} threads were asked for on {cores} usable cores.")
    for entry in entries:
        if reference is not None and _shapes(entry) != _shapes(reference):
            warnings.append(
                f"{entry['file']} has inputs of other shapes than {reference['file']}: "
                "its ratio compares different work."
            )
    return warnings


def _shapes(entry: dict[str, Any]) -> list[tuple[str, list[int]]]:
    return sorted((port["name"], port["shape"]) for port in entry["inputs"])
