"""Frontier: score against measured latency and file size, over several runs of one task.

Each run gives its files. All of them are measured in turns in one go, with the dense
INT8 file of one run as the reference; scores are those that the runs' verify stages measured on
the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.collect import Run
from tf_prune_ofa.report.rows import by_file, model_sparsity, score_name

DENSE = "dense"
# Patterns whose block_sparse_int8 file does on the stock runtime what the delegate would do.
_LARGE_UNITS = re.compile(r"dense|heads|neurons|\d{2,}x\d{2,}")
# What the table and the plots say of a point; nothing is known of the other times of earlier ones.
_POINT_KEYS = (
    *("series", "variant", "sparsity", "score", "ratio"),
    *("latency_ms", "size_bytes", "gzip_bytes"),
)


@dataclass(frozen=True)
class Candidate:
    """One file of one run, before it is measured.

    Attributes:
        path: of the file.
        variant: as exported.
        series: which points belong together: pattern of zeros, whether the weights were
            reconstructed, and what runs them.
        sparsity: share of zeros in the pruned kernels, in [0, 1].
        score: of the file on held-out examples.
        options: of the runtime; see `bench.rows.Row`.
        size_bytes, gzip_bytes: of the file.
    """

    path: Path
    variant: str
    series: str
    sparsity: float
    score: float
    size_bytes: int
    gzip_bytes: int
    options: Mapping[str, Any] = field(default_factory=dict)


def pattern_of(run: Run) -> str:
    """Return the pattern of a run's zeros as the stage that pruned was told; `DENSE` without zeros.

    Where another run pruned, it is the sparse encoder that a transfer stage began at, or else the
    name of this run.
    """
    told = [stage.config["stage"] for stage in run.of_kind("prune", "reconstruct")]
    # Others keep a pattern: with new values of its weights, or with fewer bits of them.
    told = [
        settings.get("sparsity", settings)
        for settings in told
        if not settings.get("pattern_of") and settings.get("weights") != "int4"
    ]
    if told:
        sparsity = told[-1]
        if sparsity.get("speedup") or sparsity.get("latency_ms"):
            return "heads + neurons"
        rules = sparsity["rules"].values()
        own = [rule.get("pattern", "") for rule in rules if isinstance(rule, dict)]
        return " + ".join(dict.fromkeys(own)) or sparsity["pattern"]
    if not model_sparsity(run):
        return DENSE
    starts = [stage.config["stage"].get("start", "") for stage in run.of_kind("transfer")]
    return next(iter(starts), run.name)


def series_of(run: Run) -> str:
    """Return what the points of runs like this one are called.

    Models without pruned zeros, of fewer layers, say, go by the names of their runs.
    """
    pattern = pattern_of(run)
    if pattern == DENSE:
        return f"{DENSE}, {run.name}"
    has_values = run.of_kind("reconstruct") and pattern != run.name
    return f"{pattern}, reconstructed" if has_values else pattern


def teacher_score(runs: Sequence[Run]) -> float:
    """Return the score of the dense float model: the first that was fine-tuned without a teacher.

    Args:
        runs: the dense one first; where it began at a trained model, another run may have trained
            that.

    Raises:
        UserError: there is none.
    """
    name = score_name(runs[0])
    for run in runs:
        for stage in run.of_kind("finetune"):
            if name in stage.figures and not stage.config["stage"].get("teacher"):
                return float(stage.figures[name])
    raise UserError(
        f"none of the runs {', '.join(run.name for run in runs)} has fine-tuned a dense teacher, "
        f"so there is no {name} to compare with; name a run that has, too"
    )


def candidates(
    run: Run, folder: Path, *, variants: Sequence[str], delegate: Mapping[str, Any] | None = None
) -> list[Candidate]:
    """Return the files of a run that belong in a frontier.

    Args:
        run: what its stages wrote.
        folder: of the run.
        variants: which exported files to take.
        delegate: options that open a file with the sparse delegate; None for the stock runtime
            alone. With them the sparse file of a fine pattern is taken once more, run by it.

    Raises:
        UserError: the run has no verified files of these variants.
    """
    name, pattern, sparsity = score_name(run), pattern_of(run), model_sparsity(run) or 0.0
    verified = by_file((run.detail("verify") or {}).get("files"))
    # Of several exports in one folder, the one whose manifest and scores were read.
    exported = next((s.folder for s in reversed(run.stages) if "manifest" in s.details), folder)
    found = []
    for entry in run.exported:
        checked = verified.get(entry["file"], {})
        if entry["variant"] not in variants or name not in checked:
            continue
        path = exported / entry["file"]
        if not path.is_file():
            raise UserError(f"{folder} has no file {entry['file']}, which its manifest names")
        bits = ", INT4" if "int4" in entry["variant"] else ""
        plain = Candidate(
            path,
            entry["variant"],
            series_of(run) + bits,
            sparsity,
            checked[name],
            entry["size_bytes"],
            entry["gzip_bytes"],
        )
        found.append(plain)
        has_blocks = bool(_LARGE_UNITS.match(pattern))
        if delegate is not None and entry["variant"] == "sparse_int8" and not has_blocks:
            found.append(replace(plain, series=f"{plain.series}, delegate", options=delegate))
    if not found:
        raise UserError(
            f"{folder} has no verified file of {', '.join(variants)}; run its recipe to the end"
        )
    return found


def points(chosen: Sequence[Candidate], measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Join candidates with the figures of `bench.host.benchmark_rows`, in the same order."""
    return [
        {
            **{key: value for key, value in asdict(one).items() if key not in ("path", "options")},
            "latency_ms": timing["latency_ms"]["median"],
            "ratio": timing["ratio"]["ratio"],
            "cpu_ratio": timing["cpu_ratio"]["ratio"],
        }
        for one, timing in zip(chosen, measured["files"], strict=True)
    ]


def earlier_points(path: Path, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return points that were measured before, of runs that are gone; their series say so.

    Args:
        path: what `tools/frontier.py` wrote then.
        result: its new result; of the same task and score.

    Raises:
        UserError: no such result, or one of another task or score.
    """
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        found = [{key: point[key] for key in _POINT_KEYS} for point in before["points"]]
        same = [(before[key], result[key]) for key in ("task", "score_name")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no result of this tool ({error}). Give a JSON that tools/frontier.py wrote."
        ) from None
    for old, new in same:
        if old != new:
            raise UserError(f"{path} is about {old}, and these runs about {new}; leave it out")
    return [{**point, "series": f"{point['series']}, earlier"} for point in found]


def dominator(
    point: Mapping[str, Any], points: Sequence[Mapping[str, Any]], cost: str = "ratio"
) -> Mapping[str, Any] | None:
    """Return the best point that scores as much for less, or more for as little; None if none does.

    Args:
        point: one of `points`.
        points: of a frontier.
        cost: what is better where it is less, "ratio" or a size.

    >>> ours = {"score": 0.84, "ratio": 0.5}
    >>> dominator(ours, [ours, {"score": 0.84, "ratio": 0.4}])["ratio"]
    0.4
    """
    here = (point["score"], -point[cost])
    better = [
        other
        for other in points
        if (there := (other["score"], -other[cost])) != here
        and all(t >= h for t, h in zip(there, here, strict=True))
    ]
    return max(better, key=lambda other: (other["score"], -other[cost]), default=None)


def best_within(
    points: Sequence[Mapping[str, Any]], teacher: float, margin: float
) -> Mapping[str, Any] | None:
    """Return the fastest point that is at most `margin` below the teacher; None if there is none.

    >>> points = [{"score": 0.84, "ratio": 0.9}, {"score": 0.80, "ratio": 0.5}]
    >>> best_within(points, 0.85, 0.01)["ratio"]
    0.9
    """
    good = [point for point in points if point["score"] >= teacher - margin - 1e-9]
    return min(good, key=lambda point: point["ratio"], default=None)


def file_stem(task: str) -> str:
    """Return a task's name as part of a file name."""
    return re.sub(r"\W+", "_", task).strip("_")
