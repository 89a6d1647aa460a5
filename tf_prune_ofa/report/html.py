"""Build the HTML page of a run: one file that needs nothing beside it."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from tf_prune_ofa.bench import show
from tf_prune_ofa.files import write_bytes, write_text
from tf_prune_ofa.report import plots
from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.report.rows import columns, model_rows, ratio_interval
from tf_prune_ofa.report.summary import cards, duration, headline, number, stage_rows, words

_TEMPLATE_FOLDER = Path(__file__).parent
_WORST_LAYERS = 12


def build_report(
    source: Run | str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    out_html: str | os.PathLike[str],
) -> Path:
    """Writes the page of a run, and its plots as PNG files into `plots/` beside it.

    The page holds its style and its plots itself; the PNG files are for slides and papers. What a
    stage has not written yet is said to be missing.

    Args:
        source: a run, or what `collect.collect_run` takes.
        out_html: the page to write.

    Returns:
        The path of the page.

    Raises:
        UserError: the run cannot be read, or the page cannot be written.
    """
    run = source if isinstance(source, Run) else collect_run(source)
    out_html = Path(out_html)
    drawn = plots.all_plots(run)
    for plot in drawn.values():
        write_bytes(out_html.parent / "plots" / f"{plot.key}.png", plot.png)
    write_text(out_html, _render(run, drawn))
    return out_html


def _render(run: Run, drawn: dict[str, plots.Plot]) -> str:
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
    return environment.get_template("template.html").render(
        run=run,
        headline=headline(run),
        cards=cards(run),
        columns=columns(run),
        rows=model_rows(run),
        interval=ratio_interval,
        plots=drawn,
        loss_plots=[plot for key, plot in drawn.items() if key.startswith("loss_")],
        stages=stage_rows(run),
        total_seconds=sum(stage.result.get("seconds") or 0 for stage in run.stages),
        bench_facts=show.facts(bench) if bench else [],
        bench_files=_bench_table(bench) if bench else None,
        bench_warnings=bench["warnings"] if bench else [],
        verify_facts=[(words(k), number(v)) for k, v in verify.items() if _is_plain(v)],
        verify_files=_table(verify.get("files") or []),
        verify_layers=_table(layers[:_WORST_LAYERS]),
        verify_layer_count=len(layers),
        configs=[(s.name, json.dumps(s.config, indent=2, ensure_ascii=False)) for s in finished],
        environment=_environment(finished),
    )


def _bench_table(bench: dict[str, Any]) -> dict[str, list]:
    return {"header": list(show.FILE_HEADER), "rows": show.file_rows(bench)}


def _table(entries: list[dict[str, Any]]) -> dict[str, list]:
    """Header and cells of a list of JSON objects; nested values have no place in a table."""
    keys = list(dict.fromkeys(key for entry in entries for key in entry if _is_plain(entry[key])))
    cells = [[number(entry.get(key)) for key in keys] for entry in entries]
    return {"header": [words(key) for key in keys], "rows": cells}


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
