"""What hangs must not: graphs whose operators are out of order, and processes that fork."""

import subprocess
import sys

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.runtime import delegate
from tf_prune_ofa.runtime.interpreter import Interpreter

pytestmark = pytest.mark.skipif(
    not delegate.LIBRARY.is_file(), reason="the library is built where a C++ compiler is found"
)

SHAPE = [1, 64, 1, 256]


def circle():
    """CONV_2D -> a, CONV_2D -> b, RESHAPE a -> b, RESHAPE b -> a."""
    rng = np.random.default_rng(0)
    schema = tflite_files.schema
    file = tflite_files.FileBuilder()
    port = {"dtype": np.int8, "scales": [0.05], "zero_points": [0]}
    x, a, b = (file.tensor(name, SHAPE, **port) for name in "xab")
    shape = file.tensor("shape", [4], np.int32, data=SHAPE)
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    for target in (a, b):
        kernel = rng.integers(-127, 128, [256, 1, 1, 256]) * (rng.random([256, 1, 1, 256]) > 0.95)
        scales = {"scales": [0.01] * 256, "zero_points": [0] * 256}
        w = file.tensor(f"w{target}", kernel.shape, np.int8, data=kernel, **scales)
        zeros = {"data": np.zeros(256), "scales": [0.0005] * 256, "zero_points": [0] * 256}
        bias = file.tensor(f"bias{target}", [256], np.int32, **zeros)
        file.operator("CONV_2D", [x, w, bias], [target], version=3, options=options)
    for source, target in ((a, b), (b, a)):
        file.operator("RESHAPE", [source, shape], [target], options=schema.ReshapeOptionsT())
    return file.finish([x], [b])


# In a process of its own: what hangs in native code cannot be stopped otherwise.
def run_python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_circle_is_left_alone(tmp_path):
    path = tmp_path / "circle.tflite"
    path.write_bytes(circle())
    code = (
        "import sys\n"
        "from tf_prune_ofa.runtime.interpreter import Interpreter\n"
        "file = Interpreter(sys.argv[1], delegate='auto', delegate_options={'force': 'all'})\n"
        "print(file.sparse_count, *(layer.reason for layer in file.delegate_report.layers))\n"
    )
    done = run_python(code, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 the graph is out of order, tensor ")


def test_a_forked_child_runs_and_destroys_what_it_inherited(tmp_path):
    # One thread in the runtime: what becomes of XNNPACK's pool is not ours to test.
    rng = np.random.default_rng(0)
    file = tflite_files.FileBuilder()
    port = {"dtype": np.int8, "scales": [0.05], "zero_points": [0]}
    x, y = file.tensor("x", [1, 64, 256], **port), file.tensor("y", [1, 64, 128], **port)
    kernel = rng.integers(-127, 128, [128, 256]) * (rng.random([128, 256]) > 0.9)
    scales = {"scales": [0.01] * 128, "zero_points": [0] * 128}
    w = file.tensor("w", kernel.shape, np.int8, data=kernel, **scales)
    options = tflite_files.schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], version=5, options=options)
    path = tmp_path / "layer.tflite"
    path.write_bytes(file.finish([x], [y]))
    code = (
        "import os, signal, sys, time\n"
        "import numpy as np\n"
        "from tf_prune_ofa.runtime.interpreter import Interpreter\n"
        "options = {'force': 'all', 'num_threads': '3'}\n"
        "file = Interpreter(sys.argv[1], delegate='auto', delegate_options=options)\n"
        "values = np.random.default_rng(1).integers(-128, 128, [1, 64, 256])\n"
        "def run():\n"
        "    file.set_inputs({'x': values})\n"
        "    file.invoke()\n"
        "    return file.outputs()['y']\n"
        "expected = run()\n"
        "time.sleep(0.05)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(30)\n"
        "    is_equal = np.array_equal(run(), expected)\n"
        "    del file\n"
        "    os._exit(0 if is_equal else 3)\n"
        "print(file.sparse_count, os.waitpid(child, 0)[1], np.array_equal(run(), expected))\n"
    )
    done = run_python(code, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "0", "True"]


def test_the_circle_runs_without_the_delegate(tmp_path):
    path = tmp_path / "circle.tflite"
    path.write_bytes(circle())
    file = Interpreter(path)
    file.set_inputs({"x": np.zeros(SHAPE)})
    file.invoke()
    assert file.outputs()["b"].shape == tuple(SHAPE)
