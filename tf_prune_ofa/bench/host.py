"""Benchmark model files on this machine.

Load time and memory are measured in a short process for each file, latency with all files in turns:
two files measured one after the other would compare two moments of the machine. Files of different
runtimes are open in processes of their own, of which one at a time is asked to run something.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.bench.examples import Examples, examples_of
from tf_prune_ofa.bench.findings import warnings_of, with_statistics
from tf_prune_ofa.bench.machine import machine_facts
from tf_prune_ofa.bench.process import WorkerProcess
from tf_prune_ofa.bench.rounds import interleave
from tf_prune_ofa.bench.rows import Row, row_labels, with_delegate
from tf_prune_ofa.bench.settings import TFLITE_RUNTIMES, BenchSettings, check_settings
from tf_prune_ofa.bench.worker import decoded, encoded
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate as sparse_delegate
from tf_prune_ofa.tflite import flatbuffer

SCHEMA = "tf_prune_ofa.bench/1"
_LOAD_FIGURES = ("load_ms", "first_run_ms", "peak_memory_bytes")


def benchmark(
    files: Sequence[str | os.PathLike[str]],
    settings: BenchSettings | None = None,
    *,
    reference: str | os.PathLike[str] | None = None,
    delegate: bool = False,
) -> dict[str, Any]:
    """Measures `.tflite` files against each other, in one runtime.

    Args:
        files: `.tflite` files.
        settings: how to measure; the defaults of `BenchSettings` if None.
        reference: the file that the others are compared with; it is added to `files` if it is not
            one of them. Without it there are no ratios.
        delegate: also measure every file with the sparse INT8 delegate, and compare its outputs.

    Returns:
        What `benchmark_rows` returns.

    Raises:
        UserError: settings without sense, no file, or one that is missing, damaged or does not
            run, or the delegate was asked for and is not there.
    """
    settings = settings or BenchSettings()
    check_settings(settings)
    paths = _distinct_paths(files, reference)
    rows = [Row(path, settings.runtime) for path in paths]
    same_as = {}
    if delegate:
        library = str(sparse_delegate.require())
        same_as = {len(rows) + i: i for i in range(len(rows))}
        rows += [with_delegate(row, library) for row in rows]
    place = None if reference is None else paths.index(Path(reference).resolve())
    return benchmark_rows(rows, settings, reference=place, same_as=same_as)


def benchmark_rows(
    rows: Sequence[Row],
    settings: BenchSettings | None = None,
    *,
    reference: int | None = None,
    same_as: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Measures files in the runtimes that they come with, all in turns.

    Args:
        rows: what to measure. What is no `.tflite` file gets the inputs of the reference.
        settings: how to measure; their `runtime` is not used.
        reference: place in `rows` of what the others are compared with; None for no ratios.
        same_as: for some places in `rows` the place of a row whose outputs should be the same.

    Returns:
        Plain JSON values: `schema`, `created`, `reference` (its label), `runtime` (of the
        reference or the first row: name, version, threads, xnnpack), `machine`, `settings`,
        `warnings`, and `files`. Each file has `file` (its label), `path`, `runtime` (name,
        version), `size_bytes`, `sha256`, `inputs`, `delegation` (operators, delegated, partitions;
        or None), `load_ms`, `first_run_ms` and `peak_memory_bytes` (None without loads),
        `latency_ms` (median, p10, p90, p99, min, mean, runs), `cpu_ms` (median processor time of
        all threads), `first_of_turn_ms`, `ratio` and `cpu_ratio` (ratio, low, high; or None) and
        `difference` (`to`: a label, `max_abs`: the largest of any output; or None).

    Raises:
        UserError: settings without sense, or a file that is missing, damaged or does not run.
    """
    settings = settings or BenchSettings()
    check_settings(settings)
    rows = [_with_xnnpack(row, settings) for row in rows]
    rows, examples = examples_of(rows, reference, settings)
    machine = machine_facts()
    labels = row_labels(rows)
    loads = [
        [_load(row, settings, own[0]) for _ in range(settings.loads)]
        for row, own in zip(rows, examples, strict=True)
    ]
    with ExitStack() as stack:
        opened = _OpenRows(rows, settings, examples, stack)
        differences = {
            i: {"to": labels[j], "max_abs": opened.difference(i, j)}
            for i, j in (same_as or {}).items()
        }
        bar = tqdm(
            range(max(1, -(-settings.runs // settings.burst))),
            desc="benchmark",
            unit="round",
            leave=False,
            disable=None,  # no bar where the output is no terminal
        )
        turns = interleave(
            lambda i: opened.turn(i, settings.burst),
            len(rows),
            len(bar),
            settings.seconds,
            lambda numbers: bar,
        )

    entries = [
        _file_facts(row, label)
        | {
            key: median(load[key] for load in load_figures) if load_figures else None
            for key in _LOAD_FIGURES
        }
        | {
            "runtime": {"name": answer["name"], "version": answer["version"]},
            "delegation": answer["delegation"],
            "inputs": [
                {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
                for name, value in own[0].items()
            ],
            "samples_ms": [turn["samples_ms"] for turn in own_turns],
            "cpu_samples_ms": [turn["cpu_ms"] for turn in own_turns],
            "first_of_turn_ms": median(turn["first_ms"] for turn in own_turns),
        }
        for row, label, load_figures, answer, own, own_turns in zip(
            rows, labels, loads, opened.answers, examples, turns, strict=True
        )
    ]
    reference_entry = None if reference is None else entries[reference]
    shown = entries[reference or 0]
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "reference": reference_entry["file"] if reference_entry else None,
        "runtime": {**shown["runtime"], "threads": settings.threads, "xnnpack": settings.xnnpack},
        "machine": machine,
        "settings": asdict(settings),
        "warnings": warnings_of(entries, reference_entry, machine, settings),
        "files": [
            with_statistics(entry, reference_entry) | {"difference": differences.get(i)}
            for i, entry in enumerate(entries)
        ],
    }


class _OpenRows:
    """All rows, opened and warm, in one process for each runtime."""

    def __init__(
        self,
        rows: Sequence[Row],
        settings: BenchSettings,
        examples: Sequence[Examples],
        stack: ExitStack,
    ) -> None:
        processes: dict[tuple[Path | None, str], WorkerProcess] = {}
        counts: dict[WorkerProcess, int] = {}
        self._places: list[tuple[WorkerProcess, int, str]] = []
        self._examples = examples
        self.answers = []
        for row, own in zip(rows, examples, strict=True):
            key = (row.python, row.runtime)
            if key not in processes:
                processes[key] = stack.enter_context(WorkerProcess(row.python))
            process = processes[key]
            self._places.append((process, counts.get(process, 0), str(row.path)))
            counts[process] = counts.get(process, 0) + 1
            self.answers.append(_open(process, row, settings.threads, own[0], settings.warmup))

    def turn(self, row: int, burst: int) -> dict[str, Any]:
        process, file, path = self._places[row]
        return process.ask("turn", path, file=file, burst=burst)

    def difference(self, first: int, second: int) -> float:
        """Largest difference of any output of two rows, on a few inputs."""
        largest = 0.0
        for example in self._examples[first]:
            answers = []
            for process, file, path in (self._places[first], self._places[second]):
                answer = process.ask("outputs", path, file=file, inputs=encoded(example))
                answers.append(decoded(answer))
            common = set(answers[0]) & set(answers[1])
            if not common:
                raise UserError(
                    f"{self._places[first][2]} and {self._places[second][2]} have no output of the "
                    f"same name ({', '.join(answers[0])}; {', '.join(answers[1])}), so they cannot "
                    "be compared."
                )
            for name in common:
                apart = np.abs(answers[0][name].astype(float) - answers[1][name])
                largest = max(largest, float(apart.max()))
        return largest


def _open(
    process: WorkerProcess,
    row: Row,
    threads: int,
    inputs: Mapping[str, np.ndarray],
    warmup: int,
) -> dict[str, Any]:
    return process.ask(
        "open",
        str(row.path),
        path=str(row.path),
        runtime=row.runtime,
        options=dict(row.options),
        threads=threads,
        inputs=encoded(inputs),
        warmup=warmup,
    )


def _load(row: Row, settings: BenchSettings, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Load time and memory of one file in a fresh process."""
    with WorkerProcess(row.python) as process:
        answer = _open(process, row, settings.threads, inputs, 0)
    return {key: answer[key] for key in _LOAD_FIGURES}


def _with_xnnpack(row: Row, settings: BenchSettings) -> Row:
    if row.runtime not in TFLITE_RUNTIMES:
        return row
    return replace(row, options={"xnnpack": settings.xnnpack, **row.options})


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


def _file_facts(row: Row, label: str) -> dict[str, Any]:
    data = row.path.read_bytes()
    return {
        "file": label,
        "path": str(row.path),
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "signatures": _signatures(data) if row.path.suffix == ".tflite" else [],
    }


def _signatures(data: bytes) -> list[str]:
    """The names of what can be run in a file."""
    definitions = flatbuffer.parse_model(data).signatureDefs or []
    return [flatbuffer.text(definition.signatureKey) for definition in definitions]
