"""How the plots of a report look.

Sizes are chosen for a phone: 360 px wide, a plot is drawn at three eighths of its 960 px, where the
12-point text can still be read. Colours are those of Okabe and Ito, which stay apart for every kind
of colour blindness; what must be told apart also differs in line style or position.
"""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
SKY, INK, GREY, WASH = "#56B4E9", "#222222", "#555555", "#F2F4F6"
LINE_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
LINE_STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
WIDTH_INCHES, DPI = 6.0, 160

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.grid": True,
    "grid.color": "#E6E8EB",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot. `key` is its file name without ending; `caption` says what to see in it."""

    key: str
    title: str
    caption: str
    png: bytes


def style() -> AbstractContextManager[None]:
    """The context to draw and to finish a figure in; other users of matplotlib are left alone."""
    return mpl.rc_context(_STYLE)


def new_figure(height_inches: float) -> tuple[Figure, Axes]:
    """A figure as wide as all others, with one pair of axes."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI)
    return figure, figure.subplots()


def finish(figure: Figure, key: str, title: str, caption: str) -> Plot:
    """The figure as a PNG, with everything outside of the axes fitted in."""
    figure.set_layout_engine("constrained")
    png = io.BytesIO()
    # Without the default metadata the same run gives the same bytes under every matplotlib.
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    return Plot(re.sub(r"[^\w-]", "_", key), title, caption, png.getvalue())


def bars_height(count: int, each: float = 0.48) -> float:
    """Height in inches of a figure with `count` rows."""
    return 1.0 + each * count


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names the rows of a plot with horizontal bars, the first one at the top."""
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def legend_above(axes: Axes) -> None:
    """A legend that covers no line, in rows of three: labels of 14 letters stay apart."""
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2, handlelength=1.8
    )
