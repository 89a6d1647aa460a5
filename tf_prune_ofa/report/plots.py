"""The plots of a run: one function each, from a `Run` to a plot or None where data is missing."""

import math
import re

import numpy as np
from matplotlib.figure import Figure

from tf_prune_ofa.report import drawing
from tf_prune_ofa.report.collect import Run, Stage
from tf_prune_ofa.report.drawing import Plot
from tf_prune_ofa.report.rows import ModelRow, duration, milliseconds, model_rows, score_name
from tf_prune_ofa.variants import VARIANTS

# encoder_03/attention/query -> layer 3, kernel attention/query
_ENCODER_LAYER = re.compile(r"encoder_(\d+)/(.+)")


def all_plots(run: Run) -> dict[str, Plot]:
    """Every plot that the run has data for, by key."""
    single = (
        score_plot(run),
        latency_plot(run),
        size_plot(run),
        sparsity_plot(run),
        learning_rate_plot(run),
        layer_sparsity_plot(run),
        time_plot(run),
    )
    drawn = [plot for plot in (*single, *loss_plots(run)) if plot is not None]
    return {plot.key: plot for plot in drawn}


def sparsity_plot(run: Run) -> Plot | None:
    """Asked and measured sparsity over the steps of the pruning stages."""
    stage = next(iter(_with_metric(run, "sparsity_measured")), None)
    if stage is None:
        return None
    with drawing.style():
        figure, axes = drawing.new_figure(3.4)
        # The dashes lie on a broad line, so that both are seen where they coincide.
        for key, label, style in (
            (
                "sparsity_measured",
                "measured in the weights",
                {"color": drawing.SKY, "linewidth": 5},
            ),
            ("sparsity_asked", "asked by the schedule", {"color": drawing.INK, "linestyle": "--"}),
        ):
            steps, values = _series(stage, key)
            axes.plot(steps, 100 * values, label=label, **style)
        axes.set(xlabel=f"step of stage “{stage.name}”", ylabel="zeros, %", ylim=(0, 100))
        axes.legend(loc="lower right")
        return drawing.finish(
            figure,
            "sparsity",
            "Sparsity, asked and measured",
            "The masks follow the schedule in steps, one for each mask update. The lines should "
            "meet at the end.",
        )


def learning_rate_plot(run: Run) -> Plot | None:
    """Learning rate over the steps of all stages, one after the other."""
    stages = _with_metric(run, "learning_rate")
    if not stages:
        return None
    curves = [_series(stage, "learning_rate") for stage in stages]
    highest = max(rates.max() for _, rates in curves)
    exponent = math.floor(math.log10(highest)) if highest > 0 else 0
    with drawing.style():
        figure, axes = drawing.new_figure(3.6)
        begin = 0
        for i, (steps, rates) in enumerate(curves):
            end = begin + steps[-1]
            if i % 2:
                axes.axvspan(begin, end, color=drawing.WASH, zorder=0)
            axes.plot(
                begin + steps,
                rates / 10**exponent,
                color=drawing.LINE_COLOURS[i % len(drawing.LINE_COLOURS)],
                label=stages[i].name,
            )
            begin = end
        axes.set(xlabel="step, all training stages in a row", xlim=(0, begin))
        axes.set_ylabel(f"learning rate / 1e{exponent}")
        axes.set_ylim(bottom=0)
        drawing.legend_above(axes)
        return drawing.finish(
            figure,
            "learning_rate",
            "Learning rate",
            "Each stage has its own schedule. Where the rate is rewound, pruning is under way.",
        )


def loss_plots(run: Run) -> list[Plot]:
    """Loss terms over steps, one plot for each training stage."""
    return [plot for stage in run.stages if (plot := _loss_plot(stage)) is not None]


def _loss_plot(stage: Stage) -> Plot | None:
    terms = sorted(
        {key for entry in stage.metrics for key in entry if key.startswith("loss_")}
    )  # the single terms; `loss` is their weighted sum
    has_total = any("loss" in entry for entry in stage.metrics)
    if has_total and len(terms) != 1:  # a single term is the total
        terms.insert(0, "loss")
    if not terms:
        return None
    with drawing.style():
        figure, axes = drawing.new_figure(3.4)
        for i, term in enumerate(terms):
            steps, values = _series(stage, term)
            label = "total" if term == "loss" else term.removeprefix("loss_").replace("_", " ")
            colour = (
                drawing.INK
                if term == "loss"
                else drawing.LINE_COLOURS[i % len(drawing.LINE_COLOURS)]
            )
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
            axes.plot(
                *_smoothed(steps, values),
                color=colour,
                linestyle=drawing.LINE_STYLES[i % len(drawing.LINE_STYLES)],
                label=label,
            )
        axes.set(xlabel=f"step of stage “{stage.name}”", ylabel="loss")
        lowest, highest = axes.get_ylim()
        axes.set_ylim(min(0, lowest), 1.05 * highest)
        drawing.legend_above(axes)
        return drawing.finish(
            figure,
            f"loss_{stage.name}",
            f"Loss terms, stage “{stage.name}”",
            "Pale: as measured. Strong: running median."
            + (" The total is the weighted sum of the terms." if "loss" in terms else ""),
        )


def score_plot(run: Run) -> Plot | None:
    """Score (accuracy, mostly) on held-out examples, of each stage's model and of each file."""
    score = score_name(run)
    entries = [
        (f"stage “{stage.name}”", stage.figures[score], drawing.BLUE)
        for stage in run.stages
        if score in stage.figures
    ]
    entries += [
        (row.model, row.score, drawing.VERMILION)
        for row in model_rows(run)
        if row.variant and row.score is not None
    ]
    if not entries:
        return None
    with drawing.style():
        figure, axes = drawing.new_figure(drawing.bars_height(len(entries)))
        labels, values, colours = zip(*entries, strict=True)
        places = np.arange(len(entries))
        axes.scatter(values, places, c=colours, s=90, zorder=3)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.3f}", (value, place), (9, 0), textcoords="offset points", va="center"
            )
        drawing.name_rows(axes, labels)
        margin = max(0.15 * (max(values) - min(values)), 0.005)
        axes.set_xlim(min(values) - margin, max(values) + 2.5 * margin)
        axes.set_xlabel(f"{score}, held-out\n(axis does not start at 0)")
        return drawing.finish(
            figure,
            "score",
            f"{score.capitalize()}, stage by stage",
            "Blue: the Keras model at the end of a stage. Red: the exported files, run by the "
            "runtime on the same examples.",
        )


def layer_sparsity_plot(run: Run) -> Plot | None:
    """Sparsity of each pruned kernel: a panel for each kind of kernel, a bar for each layer."""
    stages = run.of_kind("prune", "reconstruct", "transfer", "quantize")
    found = [s.figures["layers"] for s in stages if s.figures.get("layers")]
    if not found:
        return None
    panels: dict[str, dict[str, float]] = {}
    for layer, share in found[-1].items():
        match = _ENCODER_LAYER.fullmatch(layer)
        kernel, place = (match[2], str(int(match[1]))) if match else ("other layers", layer)
        panels.setdefault(kernel, {})[place] = 100 * share
    with drawing.style():
        lines = -(-len(panels) // 2)
        figure = Figure(figsize=(drawing.WIDTH_INCHES, 0.6 + 1.4 * lines), dpi=drawing.DPI)
        all_axes = figure.subplots(lines, 2, squeeze=False).ravel()
        for axes, (kernel, shares) in zip(all_axes, panels.items(), strict=False):
            places = np.arange(len(shares))
            axes.bar(places, shares.values(), color=drawing.BLUE, width=0.7)
            axes.set(ylim=(0, 100), yticks=(0, 50, 100))
            axes.set_title(kernel, fontsize=12, loc="left")
            every = max(1, -(-len(shares) // 8))
            axes.set_xticks(places[::every], list(shares)[::every], fontsize=11)
            axes.grid(axis="x", visible=False)
            mean = float(np.mean(list(shares.values())))
            axes.set_title(f"{mean:.1f} %", fontsize=12, loc="right", color=drawing.GREY)
        for axes in all_axes[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel("zeros, %", fontsize=12, color=drawing.GREY)
        figure.supxlabel("encoder layer", fontsize=12, color=drawing.GREY)
        return drawing.finish(
            figure,
            "layer_sparsity",
            "Sparsity of each pruned kernel",
            "A panel for each kind of kernel with the mean at its top right, a bar for each layer.",
        )


def latency_plot(run: Run) -> Plot | None:
    """Latency of each file with the range from the 10th to the 90th percentile."""
    rows = [row for row in model_rows(run) if row.latency_ms]
    if not rows:
        return None
    with drawing.style():
        figure, axes = drawing.new_figure(drawing.bars_height(len(rows)))
        places = np.arange(len(rows))
        medians = np.array([row.latency_ms["median"] for row in rows])
        low = medians - [row.latency_ms["p10"] for row in rows]
        high = [row.latency_ms["p90"] for row in rows] - medians
        axes.barh(places, medians, color=_row_colours(rows), height=0.6)
        axes.errorbar(
            medians,
            places,
            xerr=(low, high),
            fmt="none",
            ecolor=drawing.INK,
            capsize=5,
            elinewidth=1.5,
        )
        for place, row in zip(places, rows, strict=True):
            ratio = f"  (×{row.ratio['ratio']:.2f})" if row.ratio else ""
            axes.annotate(
                f"{milliseconds(row.latency_ms['median'])} ms{ratio}",
                (row.latency_ms["p90"], place),
                (8, 0),
                textcoords="offset points",
                va="center",
            )
        drawing.name_rows(axes, [row.model for row in rows])
        axes.set_xlim(0, 2 * max(medians + high))
        axes.set_xlabel("ms for one run")
        return drawing.finish(
            figure,
            "latency",
            "Latency",
            "Bar: median. Whiskers: 10th to 90th percentile. In brackets: times the latency of the "
            f"reference, {(run.detail('bench') or {}).get('reference') or 'which was not set'}.",
        )


def size_plot(run: Run) -> Plot | None:
    """Size of each file, raw and gzipped."""
    # With the delegate it is the same file.
    rows = [row for row in model_rows(run) if row.size_bytes and row.variant in VARIANTS]
    if not rows:
        return None
    with drawing.style():
        figure, axes = drawing.new_figure(drawing.bars_height(len(rows), each=0.72))
        places = np.arange(len(rows))
        for shift, label, colour, hatch, sizes in (
            (-0.19, "raw", drawing.BLUE, "", [row.size_bytes for row in rows]),
            (0.19, "gzip", drawing.ORANGE, "//", [row.gzip_bytes or 0 for row in rows]),
        ):
            bars = axes.barh(
                places + shift,
                np.array(sizes) / 1e6,
                height=0.36,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
                label=label,
            )
            axes.bar_label(bars, [f"{size / 1e6:.1f}" for size in sizes], padding=5, fontsize=11)
        drawing.name_rows(axes, [row.model for row in rows])
        axes.set_xlim(0, 1.15 * max(row.size_bytes for row in rows) / 1e6)
        axes.set_xlabel("MB")
        axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        return drawing.finish(
            figure,
            "size",
            "Size of the files",
            "The zeros that a dense file stores take little room after gzip, so compare both bars.",
        )


def time_plot(run: Run) -> Plot | None:
    """How long each stage took."""
    timed = [(s.name, s.result["seconds"]) for s in run.stages if s.result.get("seconds")]
    if not timed:
        return None
    total = sum(seconds for _, seconds in timed)
    with drawing.style():
        figure, axes = drawing.new_figure(drawing.bars_height(len(timed)))
        bars = axes.barh(
            np.arange(len(timed)), [s / 60 for _, s in timed], color=drawing.BLUE, height=0.6
        )
        labels = [f"{duration(seconds)}, {seconds / total:.0%}" for _, seconds in timed]
        axes.bar_label(bars, labels, padding=5)
        drawing.name_rows(axes, [name for name, _ in timed])
        axes.set_xlim(0, 1.6 * max(seconds for _, seconds in timed) / 60)
        axes.set_xlabel("minutes")
        return drawing.finish(
            figure,
            "time",
            "Time of each stage",
            f"{duration(total)} in all; other work on the machine counts, too.",
        )


def _with_metric(run: Run, key: str) -> list[Stage]:
    return [stage for stage in run.stages if any(key in entry for entry in stage.metrics)]


def _series(stage: Stage, key: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(e["step"], e[key]) for e in stage.metrics if e.get(key) is not None]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, float), np.array(values, float)


def _smoothed(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running median over about a twentieth of the points; short series stay as they are."""
    window = max(1, len(values) // 20)
    if window == 1:
        return steps, values
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    return steps[window // 2 :][: len(medians)], medians


def _row_colours(rows: list[ModelRow]) -> list[str]:
    # One colour, and a second one for the file that the whole run is about.
    return [drawing.VERMILION if row.variant == "sparse_int8" else drawing.BLUE for row in rows]
