"""Benchmark: interleaved latency, load time and memory of the exported files."""

from __future__ import annotations

import json
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.bench.host import BenchSettings, benchmark
from tf_prune_ofa.bench.show import describe
from tf_prune_ofa.config import BenchmarkSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.jobs.context import Context


def run(settings: BenchmarkSettings, context: Context) -> dict[str, Any]:
    """Measure all files of an export stage; write bench.json; return medians and ratios."""
    folder = context.results[settings.start].folder
    manifest = json.loads((folder / paths.MANIFEST).read_text(encoding="utf-8"))
    files = {entry["variant"]: folder / entry["file"] for entry in manifest["files"]}
    if settings.reference not in files:
        raise UserError(
            f"{context.name}.reference is '{settings.reference}', which '{settings.start}' did not "
            f"export; it exported {', '.join(files)}"
        )
    result = benchmark(
        list(files.values()),
        BenchSettings(threads=settings.threads, runs=settings.runs),
        reference=files[settings.reference],
    )
    write_json(context.folder / paths.BENCHMARK, result)
    print(describe(result))
    variants = {path.name: variant for variant, path in files.items()}
    return {
        variants[entry["file"]]: {
            "latency_ms": entry["latency_ms"]["median"],
            "ratio": entry["ratio"]["ratio"],
        }
        for entry in result["files"]
    }
