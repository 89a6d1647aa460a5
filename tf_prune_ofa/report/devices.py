"""What devices measured of a run's files, for the page."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_prune_ofa.bench import show
from tf_prune_ofa.device.show import facts_of
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.collect import Run


@dataclass(frozen=True)
class DeviceTimes:
    """A device's result, as the page shows it.

    Attributes:
        title: of the device.
        facts: its circumstances as (what, value).
        rows: of its table, under `bench.show.FILE_HEADER`; none of a throttled run.
        notes: what a reader must know: throttled, refused files, files of other runs.
    """

    title: str
    facts: list[tuple[str, str]]
    rows: list[tuple[str, ...]]
    notes: list[str]


def read_device(path: str | os.PathLike[str], run: Run) -> DeviceTimes:
    """Read what tools/benchmark_device.py wrote for a device.

    Args:
        path: the JSON file.
        run: whose files the page is about; others are said to be others.

    Raises:
        UserError: it is no such file.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        machine = result["machine"]
        known = {entry["sha256"] for entry in run.exported}
        others = [one["file"] for one in result["files"] if one["sha256"] not in known]
        notes = [f"Throttled, so no figures: {'; '.join(result['throttled'])}."] * bool(
            result["throttled"]
        )
        notes += [f"{one['file']} does not run there: {one['error']}." for one in result["refused"]]
        if others:
            notes.append(f"Not files of this run: {', '.join(dict.fromkeys(others))}.")
        has_figures = result["files"] and not result["throttled"]
        facts = show.facts(result) if has_figures else []
        rows = [tuple(row) for row in show.file_rows(result)] if has_figures else []
        return DeviceTimes(_title(machine), facts_of(machine) + facts, rows, notes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no result of a device ({error!r}). Give a file that "
            "tools/benchmark_device.py --out wrote."
        ) from error


def _title(machine: dict[str, Any]) -> str:
    return " · ".join(str(one) for one in (machine.get("device"), machine.get("cpu")) if one)
