"""Cycles of the inner loops on processors that are not here, from llvm-mca's static models.

    model_cycles.py [--mca=llvm-mca-19] [--aarch64=aarch64-linux-gnu-g++] [--x86_64=g++]

A model knows the units, the latencies and the order of instructions, and nothing of caches, of a
row's branches, of packing and requantizing. LLVM 19 or newer. Prints markdown.
"""

import argparse
import re
import subprocess
from pathlib import Path

from mca import options, simulated

FOLDER = Path(__file__).parent
FLAGS = {
    "aarch64": "-march=armv8.2-a+dotprod+i8mm -fno-schedule-insns",
    "x86_64": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni",
}
CORES = {
    "aarch64": ("cortex-a55", "cortex-a510", "neoverse-n1", "neoverse-v1"),
    "x86_64": ("cascadelake", "icelake-server", "sapphirerapids", "znver4"),
}
ITERATIONS = 200
COLUMNS, TILE, TOKENS = 768, 384, 64


def cycles(arguments: argparse.Namespace, machine: str, core: str) -> dict[str, float]:
    """Cycles of one pass of each loop, by its name."""
    source = FOLDER / f"loops_{machine}.cc"
    compiler = [getattr(arguments, machine), "-O3", "-std=c++17", *FLAGS[machine].split()]
    code = subprocess.run([*compiler, "-S", source, "-o-"], capture_output=True, check=True).stdout
    said = simulated(arguments, machine, core, code, ITERATIONS, "+dotprod,+i8mm")
    return {
        region.split(maxsplit=1)[0]: int(re.search(r"Total Cycles:\s+(\d+)", region)[1])
        / ITERATIONS
        for region in said.split("Code Region - ")[1:]
    }


def show_aarch64(arguments: argparse.Namespace) -> None:
    """Sparse rows against dense ones, as ratios of cycles for 64 tokens."""
    print("| core | layout | against | 80 % | 90 % | 95 % |\n|---|---|---|---|---|---|")
    for core in CORES["aarch64"]:
        loop = cycles(arguments, "aarch64", core)
        # Cycles of a product.
        dense = {"SDOT": loop["dense_sdot"] / 384, "I8MM": loop["dense_i8mm"] / 768}
        for layout, rest in (("columns", 1.5), ("groups", 0)):
            for name, product in dense.items():
                ratios = []
                for zeros in (0.8, 0.9, 0.95):
                    # A tile's last four of any columns are not full.
                    entries = (TILE * (1 - zeros) + rest) / 4
                    row = COLUMNS / TILE * (entries * loop[layout] / 4 + loop["row"])
                    ratios.append(f"{row / (COLUMNS * TOKENS * product):.2f}")
                print(f"| {core} | {layout} | {name} | {' | '.join(ratios)} |")


def show_x86_64(arguments: argparse.Namespace) -> None:
    """An entry of four of any columns, 64 tokens."""
    print("| core | columns by shuffles, cycles an entry | a quarter by shifts |\n|---|---|---|")
    for core in CORES["x86_64"]:
        loop = cycles(arguments, "x86_64", core)
        print(f"| {core} | {loop['columns'] / 2:.1f} | {loop['columns_shifts'] / 2:.1f} |")


if __name__ == "__main__":
    given = options(__doc__)
    show_aarch64(given)
    print()
    show_x86_64(given)
