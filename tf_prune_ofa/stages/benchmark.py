"""Benchmark: interleaved latency, load time and memory of the exported files."""

from __future__ import annotations

import json
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.bench.host import benchmark_rows
from tf_prune_ofa.bench.rows import DELEGATE_SUFFIX, Row, with_delegate
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.bench.show import describe
from tf_prune_ofa.config import BenchmarkSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.cards import refresh_cards
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime import delegate

# The zeros of this file lie anywhere, which only the delegate computes faster.
DELEGATED = "sparse_int8"


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
    names, rows = list(files), [Row(path) for path in files.values()]
    same_as = {}
    if settings.delegate == "auto" and DELEGATED in files and delegate.LIBRARY.is_file():
        place = names.index(DELEGATED)
        same_as[len(rows)] = place
        names.append(DELEGATED + DELEGATE_SUFFIX)
        rows.append(with_delegate(rows[place], delegate.LIBRARY))
    result = benchmark_rows(
        rows,
        BenchSettings(threads=settings.threads, runs=settings.runs),
        reference=names.index(settings.reference),
        same_as=same_as,
    )
    write_json(context.folder / paths.BENCHMARK, result)
    refresh_cards(context)
    print(describe(result))
    return {
        name: {"latency_ms": entry["latency_ms"]["median"], "ratio": entry["ratio"]["ratio"]}
        for name, entry in zip(names, result["files"], strict=True)
    }
