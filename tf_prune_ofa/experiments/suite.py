"""Fixed sets of files that show what sparsity buys on a runtime, without any training.

Latency depends on sizes and on where the zeros are, not on what the weights are, so a suite's files
have random weights. What a suite is made of is said here; `suite_files` makes the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tf_prune_ofa.bench.host import benchmark_rows
from tf_prune_ofa.bench.rows import Row
from tf_prune_ofa.bench.settings import BenchSettings
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
class SuiteRow:
    """One line of a suite: a model file in a runtime with its options.

    Attributes:
        label: how tables name it.
        row: the file, its runtime and options.
        series: which line of the plot it belongs to, such as "64x32".
        sparsity: share of the encoder's weights that are 0.
        same_as: label of the row that computes the same function; its outputs are compared.
    """

    label: str
    row: Row
    series: str
    sparsity: float = 0.0
    same_as: str | None = None

    @property
    def path(self) -> Path:
        """The model file."""
        return self.row.path


def find_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in SUITES:
        raise UserError(f"There is no suite '{name}'. There are: {', '.join(SUITES)}.")
    return SUITES[name]


def select(rows: Sequence[SuiteRow], pattern: str) -> list[SuiteRow]:
    """Return the rows whose label a regular expression finds, and those they are compared with.

    Raises:
        UserError: the expression is none, or finds nothing.
    """
    try:
        found = {row.label for row in rows if re.search(pattern, row.label)}
    except re.error as error:
        raise UserError(f"'{pattern}' is no regular expression: {error}.") from error
    if not found:
        labels = ", ".join(row.label for row in rows)
        raise UserError(f"No row of the suite matches '{pattern}'. There are: {labels}.")
    found |= {row.same_as for row in rows if row.label in found and row.same_as} | {REFERENCE}
    return [row for row in rows if row.label in found]


def measure(
    name: str, rows: Sequence[SuiteRow], settings: BenchSettings, threads: Sequence[int]
) -> dict[str, Any]:
    """Measure all rows of a suite in turns, once for each number of threads.

    Args:
        name: of the suite.
        rows: one of them labelled `REFERENCE`.
        settings: how to measure; their `threads` are not used, and their `runtime` only by rows
            that do not say theirs.
        threads: numbers of threads.

    Returns:
        Plain JSON values: `schema`, `suite`, its sizes, and `runs`: for each number of threads a
        result of `host.benchmark_rows` whose files also have `label`, `series` and `sparsity`.
    """
    labels = [row.label for row in rows]
    same_as = {i: labels.index(row.same_as) for i, row in enumerate(rows) if row.same_as}
    asked = [
        replace(
            row.row,
            label=row.label,
            runtime=settings.runtime if row.row.runtime == "auto" else row.row.runtime,
        )
        for row in rows
    ]
    runs = []
    for count in threads:
        result = benchmark_rows(
            asked,
            replace(settings, threads=count),
            reference=labels.index(REFERENCE),
            same_as=same_as,
        )
        for entry, row in zip(result["files"], rows, strict=True):
            entry |= {"label": row.label, "series": row.series, "sparsity": row.sparsity}
        runs.append(result)
    return {"schema": SCHEMA, "suite": name, **asdict(find_suite(name)), "runs": runs}


def describe(result: Mapping[str, Any]) -> str:
    """Return a table of ratios to the reference first, then times and sizes."""
    runs = result["runs"]
    counts = [run["runtime"]["threads"] for run in runs]
    are_compared = any(file["difference"] for file in runs[0]["files"])
    header = (
        "row",
        *(f"ratio, {_threads(count)}" for count in counts),
        *(f"CPU ratio, {count}" for count in counts),
        *(f"ms, {count}" for count in counts),
        "load ms",
        "peak MB",
        "file MB",
        "delegated",
        *(["off float"] if are_compared else []),
    )
    rows = []
    for entries in zip(*(run["files"] for run in runs), strict=True):
        first = entries[0]
        rows.append(
            [
                first["label"],
                *(f"{entry['ratio']['ratio']:.3f}" for entry in entries),
                *(f"{entry['cpu_ratio']['ratio']:.3f}" for entry in entries),
                *(f"{entry['latency_ms']['median']:.2f}" for entry in entries),
                "-" if first["load_ms"] is None else f"{first['load_ms']:.0f}",
                megabytes(first["peak_memory_bytes"]),
                megabytes(first["size_bytes"]),
                _delegated_share(first["delegation"]),
                *([_difference_text(first["difference"])] if are_compared else []),
            ]
        )
    run = runs[0]
    load = run["machine"]["load_average"]
    versions = {f"{f['runtime']['name']} {f['runtime']['version']}" for f in run["files"]}
    lines = [
        f"Suite {result['suite']}: ratios to {REFERENCE}, random weights, batch 1.",
        text_table(header, rows),
        "CPU ratio: of the processor time of all threads, which suffers less on a busy machine."
        + (" off float: largest difference of a logit to the float32 row." if are_compared else ""),
        f"{', '.join(sorted(versions))} on {run['machine']['cpu']}; load average "
        f"{'unknown' if load is None else load[0]} on {run['machine']['usable_cores']} cores at "
        f"the start; measured {run['created']}.",
        *(f"Warning: {warning}" for run in runs for warning in run["warnings"]),
    ]
    return "\n\n".join(lines)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _delegated_share(delegation: Mapping[str, int] | None) -> str:
    if delegation is None:
        return "-"
    delegated = delegation["delegated"] + delegation.get("sparse", 0)
    return f"{delegated / delegation['operators']:.1%}"


def _difference_text(difference: Mapping[str, Any] | None) -> str:
    return "-" if difference is None else f"{difference['max_abs']:.1e}"
