"""Builds the sparse INT8 delegate's library from native/, and lists the packages.

Everything else is in setup.cfg.

It needs a C++17 compiler and nothing else: CXX, or the first of c++, g++ and clang++. Without one,
or where the library does not compile, the package is installed without it and says so when it is
asked for (tf_prune_ofa.runtime.delegate); a wheel shows by its name what is inside.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

# Beside runtime/delegate.py, which looks for it there.
LIBRARY = "tf_prune_ofa.runtime.libtf_prune_ofa_delegate"
NATIVE = Path(__file__).resolve().parent / "native"
MACHINES = ("x86_64", "aarch64")
# Where setup.cfg's package_dir says; the others lie in the package's folder and are found there.
PACKAGES_AT_THE_TOP = ("tf_prune_ofa.configs", "tf_prune_ofa.tools")

# As in native/CMakeLists.txt, which says why.
COMPILE = (
    "-std=c++17 -O3 -DNDEBUG -fPIC -pthread -ffp-contract=off -fvisibility=hidden "
    "-fvisibility-inlines-hidden -ffunction-sections -fdata-sections -Wall -Wextra"
).split()
LINK = [
    *"-shared -pthread -Wl,--no-undefined -Wl,--gc-sections -Wl,-s".split(),
    f"-Wl,--version-script={NATIVE / 'exports.map'}",
]
# So that the C library is all that it needs. Some systems lack the static ones.
STATIC = "-static-libstdc++ -static-libgcc".split()


def sources(machine: str) -> dict[Path, list[str]]:
    """Source files for a processor family, with the flags that are theirs alone."""
    flags: dict[Path, list[str]] = {path: [] for path in sorted(NATIVE.glob("src/*.cc"))}
    for line in (NATIVE / "instruction_sets.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, family, *own = line.split()
        if family == machine:
            flags[NATIVE / "src" / name] = own
        else:
            del flags[NATIVE / "src" / name]
    return flags


class BuildDelegate(build_ext):
    """Compiles and links one library that is no Python module."""

    def get_ext_filename(self, fullname: str) -> str:
        """Where the library goes below the package's parent: without a tag of Python's version."""
        return os.path.join(*fullname.split(".")) + ".so"

    def get_libraries(self, ext: Extension) -> list[str]:
        """None: it does not use Python's."""
        return []

    def build_extension(self, ext: Extension) -> None:
        """Compiles each source with its own flags.

        Raises:
            CompileError: there is no compiler, or it fails.
        """
        compiler = find_compiler()
        own = [*shlex.split(os.environ.get("CXXFLAGS", "")), f"-I{NATIVE / 'include'}"]
        folder = Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)

        def compiled(source: Path, flags: list[str]) -> str:
            result = folder / f"{source.stem}.o"
            run([*compiler, *COMPILE, *own, *flags, "-c", str(source), "-o", str(result)])
            return str(result)

        wanted = sources(platform.machine())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, wanted, wanted.values()))
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        link = [*compiler, *LINK, *objects, "-o", str(library)]
        try:
            run([*link, *STATIC])
        except CompileError:
            run(link)


class NamedWheel(bdist_wheel):
    """A wheel whose name says which systems it is for: all of them if the library is not inside."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the name's last three parts: of Python, its interface, and the system."""
        tag = super().get_tag()
        folder = Path(self.bdist_dir)
        if not folder.is_dir():  # an editable installation: nothing is packed
            return tag
        library = folder.joinpath(*LIBRARY.split(".")).with_suffix(".so")
        if not library.is_file():
            print("warning: without the sparse INT8 delegate, which did not compile here")
            return "py3", "none", "any"
        glibc = oldest_glibc(library.read_bytes())
        return (*tag[:2], f"manylinux_{glibc}_{platform.machine()}" if glibc else tag[2])


def oldest_glibc(library: bytes) -> str | None:
    """Return the oldest version of the C library that a library runs with, such as 2_35.

    None where it needs another system library, or was made for another C library: then it is for
    systems like this one only.
    """
    found = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library)
    if not found or b"libstdc++.so" in library or b"libgcc_s.so" in library:
        return None
    major, minor = max((int(major), int(minor)) for major, minor in found)
    return f"{major}_{minor}"


def find_compiler() -> list[str]:
    """The compiler's command.

    Raises:
        CompileError: none is found.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for candidate in [named] if named else (["c++"], ["g++"], ["clang++"]):
        if shutil.which(candidate[0]):
            return candidate
    raise CompileError(f"no C++ compiler found (tried {' '.join(named) or 'c++, g++, clang++'})")


def run(command: list[str]) -> None:
    """Runs a command; raises CompileError with what it said if it fails."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise CompileError(f"{shlex.join(command)}\n{finished.stderr[-4000:]}")


if __name__ == "__main__":
    is_served = sys.platform == "linux" and platform.machine() in MACHINES
    setup(
        packages=[*find_packages(include=["tf_prune_ofa*"]), *PACKAGES_AT_THE_TOP],
        ext_modules=[Extension(LIBRARY, sources=[], optional=True)] if is_served else [],
        cmdclass={"build_ext": BuildDelegate, "bdist_wheel": NamedWheel},
    )
