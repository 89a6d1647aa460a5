"""Draw what layer_bench measured under the roofs of the machine.

    layer_bench > measured.txt
    roofline.py measured.txt roofline.png [products by cycle at most] [bytes by cycle at most]

The roofs are those of an x86 core with two 512-bit dot products in each cycle and 64 bytes from the
second-level cache, unless others are given.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

_KINDS = {
    ("columns", "1"): "zeros anywhere, fours of any columns",
    ("groups", "1"): "zeros anywhere, live groups of 1x4",
    ("groups", "4"): "1x4 blocks of zeros, live groups",
}


def main(arguments: list[str]) -> None:
    """Draws the file named first into the file named second."""
    if len(arguments) < 2:
        sys.exit(__doc__)
    peak = float(arguments[2]) if len(arguments) > 2 else 2 * 64
    bandwidth = float(arguments[3]) if len(arguments) > 3 else 64
    lines = Path(arguments[0]).read_text(encoding="utf-8").splitlines()
    cases = [line.split() for line in lines if not line.startswith("#")]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for (layout, block), label in _KINDS.items():
        points = [case for case in cases if (case[5], case[4]) == (layout, block)]
        axes.scatter([float(p[12]) for p in points], [float(p[11]) for p in points], label=label)
    intensities = [2**exponent for exponent in range(-1, 8)]
    roof = [min(peak, bandwidth * intensity) for intensity in intensities]
    axes.plot(intensities, roof, color="black", label="second-level cache, dot-product units")
    # Of what an inner loop needs for four dot products, in cycles, against 2 for these alone: 4.5
    # loads, two a cycle; or 12 moves and dot products and a broadcast on four ports.
    axes.axhline(peak * 2 / 2.25, color="tab:green", linestyle=":", label="inner loop, groups")
    axes.axhline(peak * 2 / 3.25, color="tab:blue", linestyle=":", label="inner loop, any columns")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("useful products / byte from behind the first-level cache")
    axes.set_ylabel("useful products / cycle")
    axes.set_title(lines[0].removeprefix("# "))
    axes.legend(fontsize=8)
    figure.savefig(arguments[1], dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
