"""Fixed sets of files that show what sparsity buys on a runtime, without any training.

Latency depends on sizes and on where the zeros are, not on what the weights are, so a suite's files
have random weights. What a suite is made of is said here; `stages.suite` makes the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tf_prune_ofa.bench.host import BenchSettings, benchmark
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text_table import megabytes, text_table

SCHEMA = "tf_prune_ofa.suite/1"
# The fastest dense file that one can get today: what all others are compared with.
REFERENCE = "dynamic_int8"


@dataclass(frozen=True)
class Suite:
    """Sizes of the encoder whose files are measured."""

    architecture: str
    hidden_size: int
    num_layers: int
    num_heads: int
    sequence_length: int
    vocab_size: int = 30522

    @property
    def intermediate_size(self) -> int:
        """Size of the feed-forward blocks."""
        return 4 * self.hidden_size


SUITES: Mapping[str, Suite] = {
    "bert_base_s128": Suite("bert", 768, 12, 12, 128),
    "bert_base_s384": Suite("bert", 768, 12, 12, 384),
    "distilbert_s128": Suite("distilbert", 768, 6, 12, 128),
    "minilm_l6_s128": Suite("bert", 384, 6, 12, 128),
}


@dataclass(frozen=True)
class SuiteFile:
    """One file of a suite.

    Attributes:
        label: how tables name it.
        path: where it is.
        series: which line of the plot it belongs to, such as "64x32".
        sparsity: share of the encoder's weights that are 0.
    """

    label: str
    path: Path
    series: str
    sparsity: float


def find_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in SUITES:
        raise UserError(f"There is no suite '{name}'. There are: {', '.join(SUITES)}.")
    return SUITES[name]


def measure(
    name: str, files: Sequence[SuiteFile], settings: BenchSettings, threads: Sequence[int]
) -> dict[str, Any]:
    """Measure all files of a suite in turns, once for each number of threads.

    Args:
        name: of the suite.
        files: one of them in the series `REFERENCE`.
        settings: how to measure; their `threads` are not used.
        threads: numbers of threads.

    Returns:
        Plain JSON values: `schema`, `suite`, its sizes, and `runs`: for each number of threads a
        result of `host.benchmark` whose files also have `label`, `series` and `sparsity`.
    """
    reference = next(file.path for file in files if file.series == REFERENCE)
    by_path = {str(file.path.resolve()): file for file in files}
    runs = []
    for count in threads:
        result = benchmark(
            [file.path for file in files], replace(settings, threads=count), reference=reference
        )
        for entry in result["files"]:
            file = by_path[entry["path"]]
            entry |= {"label": file.label, "series": file.series, "sparsity": file.sparsity}
        runs.append(result)
    return {"schema": SCHEMA, "suite": name, **asdict(find_suite(name)), "runs": runs}


def describe(result: Mapping[str, Any]) -> str:
    """Return a table of ratios to the reference first, then times and sizes."""
    runs = result["runs"]
    counts = [run["runtime"]["threads"] for run in runs]
    header = (
        "file",
        *(f"ratio, {count} thread{'s' if count > 1 else ''}" for count in counts),
        *(f"ms, {count}" for count in counts),
        "load ms",
        "peak MB",
        "file MB",
        "delegated",
    )
    rows = []
    for entries in zip(*(run["files"] for run in runs), strict=True):
        first = entries[0]
        delegation = first["delegation"]
        rows.append(
            [
                first["label"],
                *(f"{entry['ratio']['ratio']:.3f}" for entry in entries),
                *(f"{entry['latency_ms']['median']:.2f}" for entry in entries),
                f"{first['load_ms']:.0f}",
                megabytes(first["peak_memory_bytes"]),
                megabytes(first["size_bytes"]),
                f"{delegation['delegated'] / delegation['operators']:.1%}",
            ]
        )
    run = runs[0]
    load = run["machine"]["load_average"]
    lines = [
        f"Suite {result['suite']}: ratios to {REFERENCE}, random weights, batch 1.",
        text_table(header, rows),
        f"{run['runtime']['name']} {run['runtime']['version']} on {run['machine']['cpu']}; load "
        f"average {'unknown' if load is None else load[0]} on {run['machine']['usable_cores']} "
        f"cores at the start; measured {run['created']}.",
        *(f"Warning: {warning}" for run in runs for warning in run["warnings"]),
    ]
    return "\n\n".join(lines)
