"""What was measured on a device, as the JSON and the table of every benchmark here."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tf_prune_ofa.bench.host import SCHEMA
from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference
from tf_prune_ofa.device import throttle
from tf_prune_ofa.device.measure import DeviceSettings, Measured, RowSpec
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.ports import plain_name
from tf_prune_ofa.tflite import flatbuffer

_LOAD_FIGURES = ("load_ms", "first_run_ms", "peak_memory_bytes")


def to_result(
    name: str, measured: Measured, settings: DeviceSettings, reference: Path | None = None
) -> dict[str, Any]:
    """Return the result of a device in the form of `bench.host.benchmark_rows`, and more.

    Args:
        name: of the target.
        measured: what came back from it.
        settings: how it was measured.
        reference: the file that the others are compared with, without the delegate, with the first
            number of threads; None for no ratios.

    Returns:
        `bench.host`'s keys, where `machine` has `cores`, `cores_used`, `temperature` (before,
        highest and after, degrees Celsius), `clock_ghz` (before, during: the medians of the first
        and the last third, after), `battery_celsius_after`; `target`; `throttled`: what shows that
        the device slowed itself down; then `files` is empty, and the figures stand in
        `throttled_files`; `refused`: label and error of each row that the runtime does not run;
        `cost_table` of the delegate.
    """
    said = measured.said
    why = throttle.find(said.rounds, said.start.get("cooling", 0))
    entries = [
        _entry(measured, place, settings)
        for place in range(len(measured.rows))
        if place in said.opened
    ]
    by_row = {(e["path"], e["delegate"], e["threads"]): e for e in entries}
    base = None
    if reference is not None:
        base = by_row.get((str(reference), False, settings.threads[0]))
    files = [_with_statistics(entry, base, by_row) for entry in entries]
    facts = measured.machine.facts() | _during(measured)
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "target": name,
        "reference": base["file"] if base else None,
        "runtime": {
            "name": "tflite_c",
            "version": said.runtime,
            "threads": settings.threads[0],
            "xnnpack": True,
        },
        "machine": facts,
        "settings": asdict(settings),
        "warnings": _warnings(measured, settings),
        "throttled": why,
        "refused": [
            {"file": measured.rows[place].label, "error": error}
            for place, error in sorted(said.refused.items())
        ],
        "cost_table": measured.cost_table,
        "files": [] if why else files,
        "throttled_files": files if why else [],
    }


def outputs_of(measured: Measured, place: int) -> dict[str, np.ndarray]:
    """Return the outputs of a row by name, each [examples, ...]."""
    try:
        return read_outputs(measured.said.opened[place], measured.outputs[place])
    except UserError as error:
        raise UserError(f"{measured.rows[place].label}: {error}. Start again.") from None


def read_outputs(event: Mapping[str, Any], content: bytes) -> dict[str, np.ndarray]:
    """Return the outputs that the runner wrote, by name, each [examples, ...].

    Args:
        event: its "open" of the file.
        content: of the file with the outputs.

    Raises:
        UserError: it is not as long as it must be.
    """
    specs = [(one["name"], np.dtype(one["dtype"]), tuple(one["shape"])) for one in event["outputs"]]
    size = sum(dtype.itemsize * int(np.prod(shape)) for _, dtype, shape in specs)
    if len(content) != size * event["examples"]:
        raise UserError(
            f"{len(content)} bytes of outputs came back instead of {size * event['examples']}"
        )
    found: dict[str, list[np.ndarray]] = {}
    at = 0
    for _ in range(event["examples"]):
        for name, dtype, shape in specs:
            count = int(np.prod(shape))
            values = np.frombuffer(content, dtype, count, at).reshape(shape)
            found.setdefault(plain_name(name), []).append(values)
            at += count * dtype.itemsize
    return {name: np.stack(values) for name, values in found.items()}


def _entry(measured: Measured, place: int, settings: DeviceSettings) -> dict[str, Any]:
    row, said = measured.rows[place], measured.said
    data = row.path.read_bytes()
    model = flatbuffer.parse_model(data, name=str(row.path))
    graph = model.subgraphs[0]
    names = [plain_name(flatbuffer.text(graph.tensors[i].name)) for i in graph.inputs]
    inputs = zip(names, make_inputs(model, seed=settings.seed), strict=True)
    turns = [(one, one.rows.index(place)) for one in said.rounds if place in one.rows]
    loads = said.loads[place]
    return {
        "file": row.label,
        "path": str(row.path),
        "delegate": row.is_sparse,
        "threads": row.threads,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "runtime": {"name": "tflite_c", "version": said.runtime},
        "inputs": [
            {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
            for name, value in inputs
        ],
        "delegation": _delegation(said.opened[place], len(graph.operators), row),
        **{key: median(load[key] for load in loads) for key in _LOAD_FIGURES},
        "samples": np.array([one.samples_ms[i] for one, i in turns]),
        "cpu_samples": np.array([one.cpu_ms[i] for one, i in turns]),
        "first_of_turn_ms": median(one.first_ms[i] for one, i in turns),
        "outputs": outputs_of(measured, place),
    }


def _delegation(opened: dict[str, Any], operators: int, row: RowSpec) -> dict[str, int]:
    left, pieces = opened["left"], opened["pieces"]
    found = {
        "operators": operators,
        "delegated": left[0] - left[1],
        "partitions": pieces[1] - pieces[0],
    }
    if row.is_sparse:
        found |= {"sparse": operators - left[0], "sparse_partitions": pieces[0]}
    return found


def _with_statistics(
    entry: dict[str, Any],
    base: dict[str, Any] | None,
    by_row: dict[tuple[str, bool, int], dict[str, Any]],
) -> dict[str, Any]:
    kept = {k: v for k, v in entry.items() if k not in ("samples", "cpu_samples", "outputs")}
    samples, cpu = entry["samples"], entry["cpu_samples"]
    stock = by_row.get((entry["path"], False, entry["threads"]))
    difference = None
    if entry["delegate"] and stock is not None:
        difference = {"to": stock["file"], "max_abs": _largest(entry["outputs"], stock["outputs"])}
    return kept | {
        "latency_ms": latency_summary(samples),
        "cpu_ms": float(np.median(cpu)),
        "ratio": ratio_to_reference(samples, base["samples"]) if base else None,
        "cpu_ratio": ratio_to_reference(cpu, base["cpu_samples"]) if base else None,
        "difference": difference,
    }


def _largest(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(first[n].astype(float) - second[n]).max()) for n in first)


def _during(measured: Measured) -> dict[str, Any]:
    said, rounds = measured.said, measured.said.rounds
    third = max(1, len(rounds) // 3)

    def clock(readings: Sequence[Sequence[float]]) -> float | None:
        means = [float(np.mean(one)) for one in readings if len(one)]
        return round(median(means) / 1e6, 3) if means else None

    before = said.start.get("temperature", [])
    return {
        "cores_used": measured.cores or None,
        "zones": said.start.get("zones", []),
        "temperature": {
            "before": max(before) / 1000 if before else None,
            "highest": throttle.hottest(rounds),
            "after": throttle.hottest(rounds[-1:]),
        },
        "clock_ghz": {
            "before": clock([said.start.get("clock_khz", [])]),
            "first_third": clock([one.clock_khz for one in rounds[:third]]),
            "last_third": clock([one.clock_khz for one in rounds[-third:]]),
        },
        "battery_celsius_after": measured.after.battery_celsius,
        "load_average_after": measured.after.load,
    }


def _warnings(measured: Measured, settings: DeviceSettings) -> list[str]:
    found, used = [], max(settings.threads)
    load, count = measured.machine.load, len(measured.machine.cores)
    if load is not None and count and count - load < used - 0.5:
        found.append(
            f"The device was busy: load average {load:.2f} on {count} cores at the start. Times "
            "are too high; ratios suffer less."
        )
    here = [c for c in measured.machine.cores if not measured.cores or c.number in measured.cores]
    if here and used > len(here):
        found.append(f"{used} threads shared {len(here)} cores.")
    rounds = measured.said.rounds
    if rounds and not rounds[0].clock_khz:
        found.append(
            "The clock cannot be read here: a throttled run is known by its slowing down only."
        )
    highest = max((core.max_khz for core in here), default=0)
    clocks = [float(np.max(one.clock_khz)) for one in rounds if one.clock_khz]
    if clocks and highest and median(clocks) < 0.9 * highest:
        found.append(
            f"The clock was {median(clocks) / 1e6:.2f} GHz of {highest / 1e6:.2f}: something holds "
            "it back (a governor that saves power, or heat from before)."
        )
    return found
