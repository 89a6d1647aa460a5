"""Report: the final table, the plots and one self-contained HTML page."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import ReportSettings
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.report.collect import collect_run
from tf_prune_ofa.report.html import build_report
from tf_prune_ofa.report.table import console_table


def run(settings: ReportSettings, context: Context) -> dict[str, Any]:
    """Write report.html and its plots; return where the page is and the table."""
    folders = {name: result.folder for name, result in context.results.items()}
    recipe = context.recipe
    collected = collect_run(folders, name=recipe.name, about=to_dict(recipe.about))
    page = context.folder / paths.REPORT
    build_report(collected, page)
    return {"report": page.name, "table": console_table(collected)}
