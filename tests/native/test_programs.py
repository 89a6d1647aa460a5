"""The delegate's tests in C++ (native/tests); with sanitizers they are slow.

They are built without CMake, by the compiler and from the sources that setup.py takes.
"""

import importlib.util
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# The second is the first in AVX-512's encoding, for processors that have no other: avxvnni.h.
AVXVNNI, AVX512VNNI = "-mavxvnni", ("-mavx512vnni", "-mavx512vl")
REPOSITORY = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (REPOSITORY / "native" / "tests").glob("*_test.cc"))


@pytest.fixture(scope="module")
def setup_file():
    spec = importlib.util.spec_from_file_location("setup_of_this_package", REPOSITORY / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if sys.platform != "linux" or platform.machine() not in module.MACHINES:
        pytest.skip("the library is for Linux on x86-64 and aarch64")
    try:
        module.find_compiler()
    except module.CompileError as error:
        pytest.skip(str(error))
    return module


def runnable(flags):
    """Flags for a source, with AVX-VNNI as this processor has it."""
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return flags
    if AVXVNNI not in flags or "avx_vnni" in known or "avx512_vnni" not in known:
        return flags
    return [flag for flag in flags if flag != AVXVNNI] + list(AVX512VNNI)


@pytest.fixture(scope="module")
def build(setup_file, tmp_path_factory):
    """Builds all programs, with the sanitizers that are named, and returns their folder."""
    built = {}

    def build_with(sanitizers=None):
        if sanitizers in built:
            return built[sanitizers]
        folder = tmp_path_factory.mktemp("native")
        native = setup_file.NATIVE
        command = [
            *setup_file.find_compiler(),
            *"-std=c++17 -O1 -g1 -pthread -ffp-contract=off -fno-omit-frame-pointer".split(),
            *([f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"] if sanitizers else []),
            *(f"-I{native / 'include'}", f"-I{native / 'src'}"),
        ]
        sources = setup_file.sources(platform.machine())
        sources |= {native / "tests" / f"{name}.cc": [] for name in NAMES}

        def compiled(source, flags):
            target = folder / f"{source.stem}.o"
            setup_file.run([*command, *runnable(flags), "-c", str(source), "-o", str(target)])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compiled, sources, sources.values()))
        library = [str(p) for p in folder.glob("*.o") if not p.stem.endswith("_test")]
        for name in NAMES:
            program = [f"{folder / name}.o", *library, "-o", str(folder / name)]
            setup_file.run([*command, *program])
        built[sanitizers] = folder
        return folder

    return build_with


# How many random layers; sound and damaged graphs. Without arguments: several times as many.
FEW = {"layer_test": ["100"], "delegate_test": ["50", "500"]}


def check(program, arguments=()):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_program(build, name):
    check(build() / name, FEW.get(name, []))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_program_with_sanitizers(build, name, sanitizers):
    check(build(sanitizers) / name)


def test_there_are_programs():
    assert NAMES
