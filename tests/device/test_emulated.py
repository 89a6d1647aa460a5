"""The runner on an emulated aarch64 processor: what every variant computes there and here."""

import os
import subprocess
import sys
from pathlib import Path

import emulation
import numpy as np
import pytest
from encoder_files import run_there

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


def test_only_float_operators_round_otherwise_there(
    dense_file, programs_there, runtime_there, tmp_path
):
    """Given equal inputs, what gives INT8 gives the same on both processors, to the bit.

    What differs at a file's end therefore comes from the last bits of float means, softmax and
    GELU, where they fall on the border between two integers.
    """
    path = write(tmp_path / "dense.tflite", dense_file)
    shown = tmp_path / "shown.tflite"
    operators = emulation.with_all_outputs(path, shown)
    [(there, _)] = emulation.run(
        [(shown, False)], programs_there, runtime_there, tmp_path / "there",
        command=emulation.EMULATED, examples=8,
    )  # fmt: skip
    here = emulation.python_outputs(shown, 8)
    compared = set()
    for name, inputs, output, is_int8 in operators:
        ours, theirs = (outputs[output].astype(np.float64) for outputs in (here, there))
        # The smallest normal number, for there are results that are all but zero.
        allowed = 0 if is_int8 else np.finfo(np.float32).tiny + 1e-5 * float(np.ptp(ours))
        same = [here[tensor] == there[tensor] for tensor in inputs]
        if name == "QUANTIZE":  # number by number
            is_comparable = same[0]
        else:
            is_comparable = np.all([one.all(axis=tuple(range(1, one.ndim))) for one in same], 0)
        difference = np.abs(ours - theirs)[is_comparable]
        assert not np.any(difference > allowed), (name, output)
        compared |= {name} if is_int8 and difference.size else set()
    # The small model's first means differ already; attention of equal inputs does not come up.
    assert {"FULLY_CONNECTED", "QUANTIZE"} <= compared


# A folder with Debian's arm64 Python 3.11 (usr/bin/python3.11) and, in site/, LiteRT's and numpy's
# wheels for aarch64; docs/experiments/delegate_arm.md says how to make one.
ROOT = os.environ.get("TF_PRUNE_OFA_AARCH64_ROOT")


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="set TF_PRUNE_OFA_AARCH64_ROOT to an arm64 Python with LiteRT")
@pytest.mark.parametrize("processor", ["max,sme=off", "cortex-a76"])
def test_whole_layers_are_equal_to_litert_there(programs_there, tmp_path, processor):
    """Not on an A53: see docs/experiments/delegate_arm.md on what XNNPACK computes without SDOT."""
    python = ["qemu-aarch64", "-cpu", processor, "-L", ROOT, f"{ROOT}/usr/bin/python3.11"]
    variables = {"PYTHONHOME": f"{ROOT}/usr", "PYTHONPATH": f"{ROOT}/site"}
    library = programs_there.delegate
    for _, stock, found in run_there(python, library, tmp_path, range(20), variables):
        assert len(stock) > 10
        for name, value in stock.items():
            np.testing.assert_array_equal(found[name], value)
