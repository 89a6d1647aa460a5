"""Build the HTML page of a run: one file that needs nothing beside it."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tf_prune_ofa.bench import show
from tf_prune_ofa.files import write_bytes, write_text
from tf_prune_ofa.report import plots
from tf_prune_ofa.report.beside import beside
from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.report.devices import DeviceTimes, read_device
from tf_prune_ofa.report.rows import columns, duration, model_rows, ratio_interval
from tf_prune_ofa.report.summary import (
    cards,
    headline,
    number,
    pruned_layers_note,
    stage_rows,
    words,
)
from tf_prune_ofa.report.verdicts import failure, verdict_table

_TEMPLATE_FOLDER = Path(__file__).parent
_WORST_LAYERS = 12


def build_report(
    source: Run | str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    out_html: str | os.PathLike[str],
    *,
    devices: Sequence[str | os.PathLike[str]] = (),
    other: Run | None = None,
) -> Path:
    """Writes the page of a run, and its plots as PNG files into `plots/` beside it.

    The page holds its style and its plots itself; the PNG files are for slides and papers. What a
    stage has not written yet is said to be missing.

    Args:
        source: a run, or what `collect.collect_run` takes.
        out_html: the page to write.
        devices: results of tools/benchmark_device.py to show, too.
        other: a run to put beside it.

    Returns:
        The path of the page.

    Raises:
        UserError: the run cannot be read, or the page cannot be written.
    """
    run = source if isinstance(source, Run) else collect_run(source)
    out_html = Path(out_html)
    measured = [read_device(path, run) for path in devices]
    drawn = plots.all_plots(run)
    for plot in drawn.values():
        write_bytes(out_html.parent / "plots" / f"{plot.key}.png", plot.png)
    write_text(out_html, _render(run, drawn, measured, other))
    return out_html


def _render(
    run: Run, drawn: dict[str, plots.Plot], devices: list[DeviceTimes], other: Run | None
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        base64=lambda png: base64.b64encode(png).decode("ascii"), duration=duration, number=number
    )
    finished = [stage for stage in run.stages if stage.result]
    bench, verify = run.detail("bench"), run.detail("verify") or {}
    layers = verify.get("layers") or []
    # Verdicts, and notes on them, have a table of their own.
    figures_of_files = [
        {key: value for key, value in entry.items() if key not in ("verdict", "note")}
        for entry in verify.get("files") or []
    ]
    return environment.get_template("template.html").render(
        title=_title(run),
        about=[(key, value) for key, value in run.about.items() if value and key != "title"],
        headline=headline(run),
        cards=cards(run),
        columns=columns(run),
        rows=model_rows(run),
        interval=ratio_interval,
        plots=drawn,
        loss_plots=[plot for key, plot in drawn.items() if key.startswith("loss_")],
        pruned_layers_note=pruned_layers_note(run),
        stages=stage_rows(run),
        total_seconds=sum(stage.result.get("seconds") or 0 for stage in run.stages),
        bench_facts=show.facts(bench) if bench else [],
        bench_files=_bench_table(bench) if bench else None,
        bench_meanings=show.COLUMN_MEANINGS,
        bench_warnings=bench["warnings"] if bench else [],
        failure=failure(verify),
        verdicts=verdict_table(verify),
        verify_files=_turned(_table(figures_of_files)),
        verify_layers=_table(layers[:_WORST_LAYERS]),
        verify_layer_count=len(layers),
        devices=[(one, _plain(list(show.FILE_HEADER), one.rows)) for one in devices],
        other=None if other is None else (_title(other), _plain(*beside(run, other))),
        configs=_configs(finished),
        environment=_environment(finished),
    )


def _title(run: Run) -> str:
    return run.about.get("title") or run.name


def _bench_table(bench: dict[str, Any]) -> dict[str, Any]:
    return _plain(list(show.FILE_HEADER), show.file_rows(bench))


def _plain(header: list[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"header": header, "rows": rows, "words": {0}}


def _table(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of JSON objects as a table; nested values have no place in one.

    Returns:
        `header`, `rows` of cells as text, and the positions of columns that hold `words`.
    """
    keys = list(dict.fromkeys(key for entry in entries for key in entry if _is_plain(entry[key])))
    return {
        "header": [words(key) for key in keys],
        "rows": [[number(entry.get(key)) for key in keys] for entry in entries],
        "words": {
            i for i, key in enumerate(keys) if any(isinstance(e.get(key), str) for e in entries)
        },
    }


def _turned(table: dict[str, Any]) -> dict[str, Any]:
    """The table with rows for columns: a few things with many figures each are read better so."""
    if not table["rows"]:
        return table
    header, *rows = zip(table["header"], *table["rows"], strict=True)
    return {"header": header, "rows": rows, "words": {0}}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _environment(stages: list[Stage]) -> list[tuple[str, str]]:
    """Commit, seed and package versions; several values where the stages differ in them."""
    found: dict[str, list[str]] = {}
    for stage in stages:
        result = stage.result
        pairs = {"git commit": result.get("git_commit"), "seed": result.get("seed")}
        for what, value in {**pairs, **(result.get("versions") or {})}.items():
            if value is not None and str(value) not in found.setdefault(what, []):
                found[what].append(str(value))
    return [(what, ", ".join(values)) for what, values in found.items() if values]


def _configs(stages: list[Stage]) -> list[tuple[str, str]]:
    """Settings as JSON: first the sections that all stages share, then those of each stage."""
    if not stages:
        return []
    first = stages[0].config
    shared = {
        section: value
        for section, value in first.items()
        if len(stages) > 1 and all(stage.config.get(section) == value for stage in stages)
    }
    own = [(s.name, {k: v for k, v in s.config.items() if k not in shared}) for s in stages]
    named = [("all stages", shared), *own] if shared else own
    return [(name, json.dumps(value, indent=2, ensure_ascii=False)) for name, value in named]
