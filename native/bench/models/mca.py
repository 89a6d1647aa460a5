"""llvm-mca and the compilers whose code it reads, for the scripts beside this one."""

import argparse
import subprocess


def options(description: str | None) -> argparse.Namespace:
    """Read the programs' names from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--mca", default="llvm-mca-19")
    parser.add_argument("--aarch64", default="aarch64-linux-gnu-g++")
    parser.add_argument("--x86_64", default="g++")
    return parser.parse_args()


def simulated(
    given: argparse.Namespace, machine: str, core: str, code: bytes, iterations: int, more: str
) -> str:
    """Return what llvm-mca says of `code` on a core; `more` are attributes of aarch64."""
    command = [given.mca, f"-mtriple={machine}", f"-mcpu={core}", f"-iterations={iterations}"]
    if machine == "aarch64":
        command.append(f"-mattr={more}")
    return subprocess.run(command, input=code, capture_output=True, check=True).stdout.decode()
