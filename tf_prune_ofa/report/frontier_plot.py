"""Score against latency, and against file size, of many models of one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_prune_ofa.report import drawing
from tf_prune_ofa.report.frontier import dominator

_MARKERS = "osD^vPX*"
# What is plotted on the horizontal axis: key of a point, its label, file name's ending.
_AXES = (
    ("ratio", "latency, dense INT8 = 1", "latency"),
    ("size_mb", "size of the file, million bytes", "size"),
)


def plots(result: Mapping[str, Any], name: str = "") -> list[drawing.Plot]:
    """Return the plots of a frontier, as `tools/frontier.py` writes it.

    Args:
        result: `task`, `score_name`, `teacher_score` and `points`: label, series, score, ratio,
            size_bytes, sparsity.
        name: in the plots' keys; by default the task's.
    """
    return [_plot(result, name or result["task"], *axis) for axis in _AXES]


def _plot(
    result: Mapping[str, Any], name: str, key: str, x_label: str, ending: str
) -> drawing.Plot:
    points = [{**p, "size_mb": p["size_bytes"] / 1e6} for p in _fastest(result["points"])]
    worse = [(p[key], p["score"]) for p in points if dominator(p, points, key)]
    series = list(dict.fromkeys(point["series"] for point in points))
    teacher = result["teacher_score"]
    with drawing.style():
        figure, axes = drawing.new_figure(4.6)
        axes.axhline(teacher, color=drawing.GREY, linestyle=":", linewidth=1.2)
        axes.axhspan(teacher - 0.01, teacher, color=drawing.WASH, zorder=0)
        for place, one in enumerate(series):
            own = sorted((p[key], p["score"], p["sparsity"]) for p in points if p["series"] == one)
            axes.plot(
                [x for x, _, _ in own],
                [y for _, y, _ in own],
                color=drawing.LINE_COLOURS[place % len(drawing.LINE_COLOURS)],
                linestyle=drawing.LINE_STYLES[place % len(drawing.LINE_STYLES)],
                marker=_MARKERS[place % len(_MARKERS)],
                label=one,
            )
            for x, y, sparsity in own:
                if sparsity:
                    axes.annotate(
                        f"{100 * sparsity:.0f}",
                        (x, y),
                        textcoords="offset points",
                        xytext=(0, 6),
                        ha="center",
                        fontsize=8,
                        color=drawing.GREY,
                    )
        if worse:
            axes.plot(*zip(*worse, strict=True), "o", color="white", markersize=3)
        axes.set_xlim(left=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(result["score_name"])
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=10)
        return drawing.finish(
            figure,
            f"frontier_{name}_{ending}",
            f"{result['task']}: {result['score_name']} against {x_label.split(',')[0]}",
            "Numbers beside the points: zeros in the encoder's kernels, %. Dotted: the dense float "
            "teacher; grey: up to one point below it. Hollow: dominated by another file, which is "
            "as good for less, or better for as much.",
        )


def _fastest(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each model the file that is fastest in each series: one form of it is meant."""
    best: dict[tuple[str, float, float], dict[str, Any]] = {}
    for point in points:
        key = (point["series"], point["sparsity"], point["score"])
        if key not in best or point["ratio"] < best[key]["ratio"]:
            best[key] = point
    return list(best.values())
