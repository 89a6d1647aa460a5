"""The table that a finished recipe prints on the console."""

from tf_prune_ofa.report.collect import Run
from tf_prune_ofa.report.rows import columns, model_rows
from tf_prune_ofa.text_table import text_table


def console_table(run: Run) -> str:
    """The final table with an explanation of each column under it, as plain text.

    Args:
        run: what `collect.collect_run` gave.

    Returns:
        Aligned lines without a line break at the end. A figure that was not measured is `-`.
    """
    rows, cols = model_rows(run), columns(run)
    if not rows:
        return "No stage of this run has measured a model yet."
    table = text_table(
        [column.title for column in cols], [[column.cell(row) for column in cols] for row in rows]
    )
    width = max(len(column.title) for column in cols)
    meanings = [f"{column.title.ljust(width)}  {column.meaning}" for column in cols]
    return "\n".join([table, "", *meanings])
