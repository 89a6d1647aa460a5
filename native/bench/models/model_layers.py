"""Cycles of a whole encoder layer's loops on processors that are not here, from llvm-mca's models.

    model_layers.py [--mca=llvm-mca-19] [--aarch64=aarch64-linux-gnu-g++] [--x86_64=g++]

The kernels in native/src are compiled as the library is; their innermost loops are told apart by
the instructions in them. A model knows units, latencies and the order of instructions, and nothing
of caches, of packing, or of what comes before and behind a loop. LLVM 19 or newer. Prints markdown:
millions of cycles for one layer of BERT-Base with 128 tokens.
"""

import argparse
import functools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mca import options, simulated

NATIVE = Path(__file__).parents[2]
ITERATIONS = 100
TOKENS, HIDDEN, NEURONS, HEADS = 128, 768, 3072, 12
WEIGHTS = 4 * HIDDEN**2 + 2 * HIDDEN * NEURONS
REGISTER_BYTES = {"zmm": 64, "ymm": 32}
CONVERTED = "vcvtps2dq|fcvtns"


class InstructionSet(NamedTuple):
    """Kernels of one set, and cores that run them."""

    machine: str
    kernels: str
    attend: str
    normalize: str
    product: str  # the instruction that multiplies
    bytes_a_product: int  # of the register
    cores: tuple[str, ...]


X86 = {
    "AVX2": InstructionSet(
        "x86_64", "kernels_avx2", "attend_avx2", "normalize_avx2",
        "vpmaddwd", 2, ("haswell", "skylake", "znver3"),
    ),
    "AVX-VNNI": InstructionSet(
        "x86_64", "kernels_avxvnni", "attend_avxvnni", "normalize_avx2",
        "vpdpbusd", 1, ("alderlake",),
    ),
    "AVX512-VNNI": InstructionSet(
        "x86_64", "kernels_avx512vnni", "attend_avx512", "normalize_avx512",
        "vpdpbusd", 1, ("icelake-server", "sapphirerapids", "znver4"),
    ),
}  # fmt: skip
ARM = {
    "SDOT": InstructionSet(
        "aarch64", "kernels_neon_dot", "attend_neon_dot", "normalize_neon",
        "sdot", 1, ("cortex-a55", "cortex-a510", "neoverse-n1", "neoverse-v1"),
    ),
}  # fmt: skip


class Loop:
    """The instructions of an innermost loop, without its jumps."""

    def __init__(self, function: str, lines: list[str]) -> None:
        self.function = function
        jump = re.compile(r"(j\w+|b|b\.\w+|cbn?z|tbn?z)\s")
        self.lines = [line for line in lines if not jump.match(line)]
        self.names = [line.removeprefix("{vex} ").split()[0] for line in self.lines]
        text = "\n".join(lines)
        self.bytes = next((n for name, n in REGISTER_BYTES.items() if name in text), 16)

    def count(self, pattern: str) -> int:
        """How many of its instructions have such a name."""
        return sum(re.fullmatch(pattern, name) is not None for name in self.names)


@functools.cache
def compiled(compiler: str, source: str) -> list[Loop]:
    """The innermost loops of a source file, in order."""
    rows = (NATIVE / "instruction_sets.txt").read_text(encoding="utf-8").splitlines()
    flags = next(row.split()[2:] for row in rows if row.split()[0] == f"{source}.cc")
    command = [
        compiler, *"-std=c++17 -O3 -DNDEBUG -fPIC".split(),
        *flags, "-ffp-contract=off", f"-I{NATIVE / 'include'}",
        "-S", str(NATIVE / "src" / f"{source}.cc"), "-o-",
    ]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()
    places: dict[str, int] = {}
    found, function = set(), ""
    for place, line in enumerate(lines):
        if label := re.match(r"([.\w]+):", line):
            places[label[1]] = place
            function = function if label[1].startswith(".L") else label[1]
        back = re.match(r"\s+\w.*?(\.L\w+)\s*$", line)
        if back and places.get(back[1], place) < place:
            found.add((places[back[1]], place, function))
    return [
        Loop(name, [line.strip() for line in lines[a + 1 : b + 1] if re.match(r"\s+[a-z{]", line)])
        for a, b, name in sorted(found)
        if not any((c, d) != (a, b) and a <= c and d <= b for c, d, _ in found)
    ]


def cycles(arguments: argparse.Namespace, machine: str, core: str, loop: Loop) -> float:
    """Of one pass."""
    code = "\n".join(loop.lines).encode()
    said = simulated(arguments, machine, core, code, ITERATIONS, "+dotprod")
    total = re.search(r"Total Cycles:\s+(\d+)", said)
    assert total is not None, said
    return int(total[1]) / ITERATIONS


def model(arguments: argparse.Namespace, kind: InstructionSet, core: str) -> list[float]:
    """Millions of cycles: sparse products at 90 %, attention's, softmax, LayerNorm, GELU."""
    kernels, attend, normalize = (
        compiled(getattr(arguments, kind.machine), source)
        for source in (kind.kernels, kind.attend, kind.normalize)
    )

    def widest(loops: list[Loop], is_it: Callable[[Loop], bool]) -> Loop:
        """Of these the one that multiplies most."""
        return max(filter(is_it, loops), key=lambda loop: (loop.bytes, loop.count(kind.product)))

    def shortest(loops: list[Loop], is_it: Callable[[Loop], bool]) -> Loop:
        return min(filter(is_it, loops), key=lambda loop: len(loop.lines))

    def product(loop: Loop) -> float:
        """Cycles of one, of two bytes."""
        count = loop.count(kind.product) * loop.bytes / kind.bytes_a_product
        return cycles(arguments, kind.machine, core, loop) / count

    def number(loop: Loop, name: str) -> float:
        """Cycles of one float, of which an instruction of that name takes a vector."""
        return cycles(arguments, kind.machine, core, loop) / (loop.count(name) * loop.bytes / 4)

    moves = "5MovesE1" if core == "sapphirerapids" else "5MovesE0"
    sparse = widest(
        kernels,
        lambda x: (
            x.count("vpunpcklbw|vpunpcklwd|zip1") > 0
            and x.count(kind.product) > 0
            and ("5Moves" not in x.function or moves in x.function)
            and not x.count("popq|ret")
        ),
    )
    dense = widest(attend, lambda x: x.count("vpbroadcastd") == 4 or x.count("sdot") >= 32)
    exponentials = shortest(
        attend, lambda x: x.count("vcmpps|fcmgt") > 0 and x.count("vfn?madd.*|fmla") >= 4
    )
    shares = shortest(
        attend,
        lambda x: (
            x.count(CONVERTED) > 0
            and x.count("vmulps|fmul") >= 2
            and not x.count("vcvtdq2ps|scvtf")
        ),
    )
    first = next(i for i, x in enumerate(normalize) if x.count("vpmovsxbd|sxtl"))
    sums, squares, results = normalize[first : first + 3]
    table = next(x for x in normalize if x.count("vpshufb|vpermt2b|vpermi2b|tbl|tbx") >= 2)
    parts = (
        0.1 * WEIGHTS * TOKENS * product(sparse),
        2 * TOKENS**2 * HIDDEN * product(dense),
        HEADS * TOKENS**2 * (number(exponentials, "vcmpps|fcmgt") + number(shares, CONVERTED)),
        2 * TOKENS * HIDDEN
        * (number(sums, "vcvtdq2ps|scvtf") + number(squares, "vsubps|fsub")
           + number(results, CONVERTED)),
        TOKENS * NEURONS * cycles(arguments, kind.machine, core, table) / table.bytes,
    )  # fmt: skip
    return [part / 1e6 for part in parts]


if __name__ == "__main__":
    given = options(__doc__)
    print(
        "| kernels | core | products, 90 % | attention's | softmax | LayerNorm | GELU | between |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, kind in (ARM | X86).items():
        for core in kind.cores:
            parts = model(given, kind, core)
            between = sum(parts[1:]) / sum(parts)
            numbers = " | ".join(f"{part:.2f}" for part in parts)
            print(f"| {name} | {core} | {numbers} | {between:.0%} |")
