"""Latency against sparsity, of one benchmark suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_prune_ofa.experiments.suite import REFERENCE
from tf_prune_ofa.report import drawing


def plot(result: Mapping[str, Any]) -> drawing.Plot:
    """Return the plot of a result of `suite.measure`, for its first number of threads."""
    run = result["runs"][0]
    threads = run["runtime"]["threads"]
    # One thread never waits for another, so its processor time is its latency on a quiet machine.
    figure_of, what = ("cpu_ratio", "processor times") if threads == 1 else ("ratio", "latencies")
    series: dict[str, list[tuple[float, float]]] = {}
    for file in run["files"]:
        point = (100 * file["sparsity"], file[figure_of]["ratio"])
        series.setdefault(file["series"], []).append(point)
    lines = {name: sorted(points) for name, points in series.items() if len(points) > 1}
    with drawing.style():
        figure, axes = drawing.new_figure(3.8)
        axes.axhline(1.0, color=drawing.GREY, linestyle=":", linewidth=1.2)
        styles = zip(drawing.LINE_COLOURS, drawing.LINE_STYLES, strict=True)
        for (name, points), (colour, dash) in zip(lines.items(), styles, strict=False):
            axes.plot(
                *zip(*points, strict=True), color=colour, linestyle=dash, marker="o", label=name
            )
        if "dense_int8" in series:
            (_, ratio), *_ = series["dense_int8"]
            axes.axhline(
                ratio, color=drawing.INK, linestyle="--", linewidth=1.2, label="dense_int8"
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("zeros in the encoder's kernels, %")
        axes.set_ylabel("latency, dense dynamic INT8 = 1")
        drawing.legend_above(axes)
        return drawing.finish(
            figure,
            f"suite_{result['suite']}",
            f"{result['suite']}: latency against sparsity",
            f"Ratio of median {what} to {REFERENCE}, {threads} thread"
            f"{'s' if threads > 1 else ''}, {run['runtime']['name']} {run['runtime']['version']} "
            f"on {run['machine']['cpu']}; all files measured in turns.",
        )
