"""The table of a comparison: methods against tasks, mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text


@dataclass(frozen=True)
class Outcome:
    """What one run of a comparison came to.

    Attributes:
        method, task, seed: which run.
        sparsity: that was asked for; None where the recipe prunes nothing.
        metric: the task's main score, by name.
        value: of that score; None where the run failed or is not done.
        scores: all of the task's scores.
        measured_sparsity: share of zeros in the pruned layers.
        seconds: of all stages, those shared with other runs included.
        error: why the run failed; "" where it did not.
        recipe: digest of the settings that it was run with.
    """

    method: str
    task: str
    seed: int
    sparsity: float | None = None
    metric: str = ""
    value: float | None = None
    scores: dict[str, float] | None = None
    measured_sparsity: float | None = None
    seconds: float = 0.0
    error: str = ""
    recipe: str = ""


def comparison_table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table.

    A row is a method at a sparsity, a column a task. A cell is the mean over seeds in percent, ±
    their standard deviation (of the sample, n - 1), and how many seeds there are. A row of which
    nothing has been run is left out.
    """
    tasks = list(dict.fromkeys(o.task for o in outcomes))
    metrics = {o.task: o.metric for o in outcomes if o.metric}
    begun = [o for o in outcomes if o.value is not None or o.error]
    rows = list(dict.fromkeys((o.sparsity, o.method) for o in begun))
    shares = {row: _share(row, begun) for row in rows}
    # Dense first, then by sparsity; within one, in the order of the plan.
    rows.sort(key=lambda row: shares[row])
    titles = [f"{task}, {metrics[task]}" if task in metrics else task for task in tasks]
    lines = [
        "| " + " | ".join(["method", "sparsity", *titles, "minutes a run"]) + " |",
        "|" + "---|" * (len(tasks) + 3),
    ]
    for sparsity, method in rows:
        of_row = [o for o in outcomes if (o.sparsity, o.method) == (sparsity, method)]
        cells = [_cell([o for o in of_row if o.task == task]) for task in tasks]
        times = [o.seconds / 60 for o in of_row if o.value is not None]
        share = shares[sparsity, method]
        shown = f"{100 * share:g} %" if share else "dense"
        minutes = f"{statistics.mean(times):.0f}" if times else "–"
        lines.append("| " + " | ".join([method, shown, *cells, minutes]) + " |")
    return "\n".join(lines) + "\n"


def _share(row: tuple[float | None, str], begun: Sequence[Outcome]) -> float:
    """Return a row's sparsity: what was asked for, or what its start has already."""
    sparsity, method = row
    if sparsity is not None:
        return sparsity
    found = [o.measured_sparsity or 0.0 for o in begun if (o.sparsity, o.method) == row]
    return round(statistics.mean(found), 2)


def _cell(outcomes: Sequence[Outcome]) -> str:
    values = [100 * o.value for o in outcomes if o.value is not None]
    failed = sum(bool(o.error) for o in outcomes)
    parts = []
    if len(values) > 1:
        parts.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}")
    elif values:
        parts.append(f"{values[0]:.1f}")
    if values:
        parts.append(f"({len(values)})")
    if failed:
        parts.append(f"{failed} failed")
    return " ".join(parts) or "–"


def write_between_markers(path: Path, name: str, text: str) -> None:
    """Put a text into a Markdown file, in place of what stood there under the same name.

    Where the file or the markers are missing, they are added at the end.

    Raises:
        UserError: only one of the two markers is there, or they are in the wrong order.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if (begin in before, end in before) == (False, False):
        separator = "\n" if before else ""
        write_text(path, f"{before}{separator}## {name}\n\n{begin}\n{text}{end}\n")
        return
    head, found, rest = before.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise UserError(f"{path} needs the line '{begin}' and after it '{end}'; it has one only")
    write_text(path, f"{head}{begin}\n{text}{end}{tail}")
