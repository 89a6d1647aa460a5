r"""Instructions of the SDOT kernels against a dense SDOT loop, counted under qemu-user.

    cmake -S native -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=native/aarch64-linux-gnu.cmake \
        -DTESTS=ON && cmake --build build/aarch64
    gcc -O2 -shared -fPIC -o build/libcount.so native/bench/qemu_count_plugin.c
    python native/bench/count_instructions.py build/aarch64/count_dot_aarch64 build/libcount.so

Prints a table in Markdown. Time means nothing under emulation; counts are exact.
"""

from __future__ import annotations

import re
import subprocess
import sys

SHAPES = ((768, 768), (3072, 768), (768, 3072))
ZEROS = (0.80, 0.85, 0.90, 0.95)
TOKENS = 128
# Name, kernels, layout, block.
KINDS = (
    ("unstructured, columns", "neondot", "columns", 1),
    ("unstructured, groups", "neondot", "groups", 1),
    ("1x4, groups", "neondot", "groups", 4),
    ("unstructured, SMLAL", "neon", "columns", 1),
)


def count(program: str, plugin: str, *arguments: object) -> tuple[int, int]:
    """Instructions and dot products (SDOT, or SMLAL) of one run."""
    command = ["qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"]
    command += ["-plugin", f"{plugin},symbol=Accumulate", "-d", "plugin", program]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    found = re.search(r"instructions (\d+) sdot (\d+) smlal (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"no counts in: {done.stderr}")
    total, sdot, smlal = map(int, found.groups())
    return total, sdot + smlal


def main() -> None:
    """Prints the table: share of the dense loop's instructions, and of its SDOTs."""
    program, plugin = sys.argv[1:]
    print("| layer | pattern, layout | " + " | ".join(f"{z:.0%}" for z in ZEROS) + " |")
    print("|---" * (2 + len(ZEROS)) + "|")
    for rows, columns in SHAPES:
        dense, dense_dots = count(program, plugin, "dense", "-", rows, columns, TOKENS, 0, 1)
        print(f"| {columns} -> {rows} | dense: {dense / 1e6:.2f}M, {dense_dots / 1e6:.2f}M SDOT |")
        for name, kernels, layout, block in KINDS:
            cells = []
            for zeros in ZEROS:
                total, dots = count(
                    program, plugin, kernels, layout, rows, columns, TOKENS, zeros, block
                )
                cells.append(f"{total / dense:.2f} ({dots / dense_dots:.2f})")
            print(f"| | {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
