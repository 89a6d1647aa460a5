"""What a benchmark's figures say: ratios to a reference, and what makes them doubtful."""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_prune_ofa.bench.machine import busy_warning
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference


def with_statistics(entry: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, Any]:
    """The entry with figures instead of single timings."""
    kept = {k: v for k, v in entry.items() if k not in ("samples_ms", "cpu_samples_ms")}
    samples, cpu_samples = np.array(entry["samples_ms"]), np.array(entry["cpu_samples_ms"])
    figures = {"latency_ms": latency_summary(samples), "cpu_ms": float(np.median(cpu_samples))}
    ratios: dict[str, Any] = {"ratio": None, "cpu_ratio": None}
    if reference is not None:
        ratios = {
            "ratio": ratio_to_reference(samples, np.array(reference["samples_ms"])),
            "cpu_ratio": ratio_to_reference(cpu_samples, np.array(reference["cpu_samples_ms"])),
        }
    return kept | figures | ratios


def warnings_of(
    entries: list[dict[str, Any]],
    reference: dict[str, Any] | None,
    machine: dict[str, Any],
    settings: BenchSettings,
) -> list[str]:
    """What makes the figures of a benchmark doubtful, each as a sentence."""
    warnings = [
        f"{entry['file']} has the signatures {', '.join(entry['signatures'])}; its first graph was "
        "run."
        for entry in entries
        if len(entry["signatures"]) > 1
    ]
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
