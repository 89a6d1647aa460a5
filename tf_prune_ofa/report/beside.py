"""Two runs side by side: their models and files, row by row."""

from __future__ import annotations

from tf_prune_ofa.report.collect import Run
from tf_prune_ofa.report.rows import ModelRow, milliseconds, model_rows, score_name
from tf_prune_ofa.text_table import megabytes

Table = tuple[list[str], list[list[str]]]


def beside(run: Run, other: Run) -> Table:
    """Return header and rows of a table of two runs, the other's values behind this one's.

    A row is a model or a file that either has. Scores of two different kinds are not compared.
    """
    mine = {row.model: row for row in model_rows(run)}
    theirs = {row.model: row for row in model_rows(other)}
    is_same = score_name(run) == score_name(other)
    header = ["model", "sparsity", "other"]
    if is_same:
        header += [score_name(run), "other", "difference"]
    header += ["MB", "other", "latency ms", "other"]
    rows = []
    for model in dict.fromkeys((*mine, *theirs)):
        one, two = mine.get(model, ModelRow(model)), theirs.get(model, ModelRow(model))
        cells = [model, _share(one), _share(two)]
        if is_same:
            cells += [_score(one), _score(two), _difference(one, two)]
        cells += [megabytes(one.size_bytes), megabytes(two.size_bytes)]
        rows.append([*cells, _latency(one), _latency(two)])
    return header, rows


def _share(row: ModelRow) -> str:
    return "-" if row.sparsity is None else f"{100 * row.sparsity:.1f} %"


def _score(row: ModelRow) -> str:
    return "-" if row.score is None else f"{row.score:.3f}"


def _difference(one: ModelRow, two: ModelRow) -> str:
    if one.score is None or two.score is None:
        return "-"
    return f"{two.score - one.score:+.3f}"


def _latency(row: ModelRow) -> str:
    return milliseconds(row.latency_ms["median"]) if row.latency_ms else "-"
