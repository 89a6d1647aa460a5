"""Report: the final table, the plots and one self-contained HTML page."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import ReportSettings
from tf_prune_ofa.jobs.cards import refresh_cards, run_so_far
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.report.card import lines_to_use
from tf_prune_ofa.report.html import build_report
from tf_prune_ofa.report.summary import in_short
from tf_prune_ofa.report.table import console_table


def run(settings: ReportSettings, context: Context) -> dict[str, Any]:
    """Write report.html and its plots; return where the page is and the table."""
    collected = run_so_far(context)
    refresh_cards(context)
    page = context.folder / paths.REPORT
    build_report(collected, page)
    exported = [one for one in context.results.values() if one.kind == "export"]
    return {
        "report": page.name,
        "table": console_table(collected),
        "in_short": in_short(collected),
        "use": lines_to_use(collected, exported[-1].folder) if exported else "",
    }
