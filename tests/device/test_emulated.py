"""The runner on an emulated aarch64 processor: what every variant computes there and here."""

import subprocess
import sys
from pathlib import Path

import emulation
import numpy as np
import pytest

from tf_prune_ofa.device import build, runtime_library
from tf_prune_ofa.runtime import layer_chain

NATIVE = Path(__file__).parents[2] / "native"
# Where `make` and tools/benchmark_device.py leave the package that has TFLite for aarch64.
KEPT = (Path(sys.prefix) / "aarch64", Path(".cache/device/runtime/aarch64"))


@pytest.fixture(scope="module")
def runtime_there(tmp_path_factory):
    """TFLite's C library for aarch64."""
    if reason := emulation.missing():
        pytest.skip(reason)
    packages = [path for folder in KEPT for path in sorted(folder.glob("*.whl"))]
    if not packages:
        pytest.skip(
            f"TFLite for aarch64: pip download --no-deps --only-binary=:all: -d {KEPT[0]} "
            f"--platform=manylinux_2_35_aarch64 {runtime_library.LINUX_PACKAGE}"
        )
    cache = tmp_path_factory.mktemp("tflite")
    return runtime_library.find(
        str(packages[0]), "aarch64", is_android=False, cache=cache, device="qemu"
    )


@pytest.fixture(scope="module")
def programs_there(runtime_there, tmp_path_factory):
    """Runner and delegate for aarch64, compiled in a hurry."""
    folder = tmp_path_factory.mktemp("aarch64")
    options = [
        "-DCMAKE_BUILD_TYPE=None",
        f"-DCMAKE_TOOLCHAIN_FILE={NATIVE}/aarch64-linux-gnu.cmake",
    ]
    targets = [build.RUNNER, "tf_prune_ofa_delegate"]
    for command in (
        ["cmake", "-S", NATIVE, "-B", folder, *options],
        ["cmake", "--build", folder, "--target", *targets],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build.programs_in(folder)


@pytest.fixture(scope="module")
def variants(float32_file, ranges, dense_file, sparse_file, tmp_path_factory):
    """The small classifier as every variant, by name."""
    from tf_prune_ofa.blocks.rewrite import block_sparse
    from tf_prune_ofa.conversion import int8

    contents = {
        "float32": float32_file,
        "dynamic_int8": int8.dynamic_int8(float32_file),
        "dense_int8": dense_file,
        "sparse_int8": sparse_file,
        "block_sparse_int8": block_sparse(dense_file)[0],
        "dense_int8_int4_words": int8.dense_int8(float32_file, ranges, words="int4"),
    }
    folder = tmp_path_factory.mktemp("variants")
    return {name: write(folder / f"{name}.tflite", content) for name, content in contents.items()}


def write(path, content):
    path.write_bytes(content)
    return path


def test_every_variant_gives_the_same_there(
    variants, programs, runtime, programs_there, runtime_there, tmp_path
):
    rows = [(path, is_sparse) for path in variants.values() for is_sparse in (False, True)]
    here = emulation.run(rows, programs, runtime, tmp_path / "here")
    there = emulation.run(
        rows, programs_there, runtime_there, tmp_path / "there", command=emulation.EMULATED
    )
    for place, (path, is_sparse) in enumerate(rows):
        (ours, _), (theirs, _) = here[place], there[place]
        spread = max(float(np.ptp(value)) for value in ours.values())
        # What has no INT8 results has rounding of another order, and of another size for INT8
        # activations that are rounded anew in each run.
        allowed = emulation.int8_step(path) or spread * (0.02 if "dynamic" in path.name else 1e-5)
        assert spread > 0, "nothing was computed"
        assert emulation.largest_difference(ours, theirs) <= allowed * 1.001, (path.name, is_sparse)


def test_the_delegate_gives_the_runtimes_results_there(programs_there, runtime_there, tmp_path):
    """Layers of nine zeros in ten, which the delegate takes: bit for bit what TFLite gives."""
    shape = layer_chain.LayerShape(True, 1, 64, 128, 16)
    kernels = layer_chain.random_kernels(np.random.default_rng(1), shape, 1, 0.9, 1)
    path = write(tmp_path / "layers.tflite", layer_chain.chain(shape, kernels))
    (stock, _), (sparse, event) = emulation.run(
        [(path, False), (path, True)], programs_there, runtime_there, tmp_path / "there",
        command=emulation.EMULATED,
    )  # fmt: skip
    assert "\ntaken" in event["report"], event["report"]
    assert emulation.largest_difference(stock, sparse) == 0
    assert emulation.largest_difference(stock, emulation.python_outputs(path, 2)) == 0
