"""Runs the native runner once, here or on an emulated aarch64 processor, for what it computes."""

import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.device.job import Job, JobRow, Said
from tf_prune_ofa.device.result import read_outputs
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import flatbuffer

LIBRARIES = Path("/usr/aarch64-linux-gnu")
# "max" has every instruction that qemu knows: dot products and I8MM.
EMULATED = ("qemu-aarch64", "-L", str(LIBRARIES), "-cpu", "max")


def run(rows, programs, runtime, folder, *, command=(), examples=2, limit=600, options=None):
    """Return the outputs of each row by name, [examples, ...], and its `open` event.

    Args:
        rows: (file, whether with the delegate) of each.
        programs: runner and delegate.
        runtime: TFLite's C library.
        folder: to work in.
        command: in front of the runner's name.
        examples: how many inputs, made from seeds.
        limit: seconds.
        options: of the delegate; by default it takes all it can.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_rows = []
    for place, (path, is_sparse) in enumerate(rows):
        arrays = [array for one in inputs_of(path, examples) for array in one]
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        (folder / f"inputs{place}.bin").write_bytes(content)
        job_rows.append(JobRow(str(path), is_sparse, 1, f"inputs{place}.bin"))
    job = Job(
        job_rows, str(runtime), str(programs.delegate) if any(s for _, s in rows) else "",
        options or {"force": "all"}, warmup=0, rounds=0, loads=1, limit=limit,
    )  # fmt: skip
    (folder / "job").write_text(job.text())
    done = subprocess.run(
        [*command, str(programs.runner), "job"],
        cwd=folder, capture_output=True, text=True, timeout=limit + 60,
    )  # fmt: skip
    said = Said()
    for line in done.stdout.splitlines():
        said.add(line)
    assert not said.failed and not said.refused and said.runtime, (done.stdout, done.stderr)
    found = []
    for place in range(len(rows)):
        event = said.opened[place]
        found.append((read_outputs(event, (folder / event["file"]).read_bytes()), event))
    return found


def inputs_of(path, examples):
    """The inputs of some examples, each a list in the file's order."""
    model = flatbuffer.read_model(path)
    return [make_inputs(model, seed=seed) for seed in range(examples)]


def python_outputs(path, examples):
    """What LiteRT's interpreter gives here for the same inputs."""
    interpreter = Interpreter(path, delegate=None)
    found = {}
    for arrays in inputs_of(path, examples):
        interpreter.set_inputs(dict(zip(interpreter.input_names, arrays, strict=True)))
        interpreter.invoke()
        for name, value in interpreter.outputs().items():
            found.setdefault(name, []).append(value.copy())
    return {name: np.stack(values) for name, values in found.items()}


def largest_difference(one, other):
    """Of all outputs."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def with_all_outputs(path, written):
    """Write a copy of a file of which every computed tensor is an output; return its operators.

    Returns:
        (operator, computed inputs, output, whether the output is INT8) of each, by the names of
        the tensors in the copy.
    """
    model = flatbuffer.read_model(path)
    graph, model.signatureDefs = model.subgraphs[0], None
    # Constants that are only unpacked belong to XNNPACK, which leaves the tensor as it is.
    shown = {int(place) for place in graph.inputs}
    operators = []
    for operator in graph.operators:
        if any(int(place) in shown for place in operator.inputs):
            shown |= {int(place) for place in operator.outputs}
            operators.append(operator)
    graph.outputs = [int(place) for operator in operators for place in operator.outputs]
    names = {place: f"tensor {place}" for place in shown}
    for place, name in names.items():
        graph.tensors[place].name = name
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), flatbuffer.IDENTIFIER)
    written.write_bytes(bytes(builder.Output()))
    return [
        (
            flatbuffer.op_name(model.operatorCodes[operator.opcodeIndex]),
            [names[place] for place in map(int, operator.inputs) if place in graph.outputs],
            names[int(operator.outputs[0])],
            graph.tensors[operator.outputs[0]].type == schema.TensorType.INT8,
        )
        for operator in operators
    ]


def int8_step(path):
    """One step of the file's INT8 results, the largest of its outputs; 0 where they are float."""
    model = flatbuffer.read_model(path)
    graph = model.subgraphs[0]
    steps = [0.0]
    for operator in graph.operators:
        name = flatbuffer.op_name(model.operatorCodes[operator.opcodeIndex])
        if name == "DEQUANTIZE" and set(operator.outputs) & set(graph.outputs):
            scale = graph.tensors[operator.inputs[0]].quantization.scale
            steps += [] if scale is None else [float(max(scale))]
    return max(steps)


def missing():
    """Why nothing can be emulated here; empty if it can."""
    for program in ("qemu-aarch64", "aarch64-linux-gnu-g++"):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: qemu-user g++-aarch64-linux-gnu)"
    if not LIBRARIES.is_dir():
        return f"the C library for aarch64 is not in {LIBRARIES} (Debian: libc6-arm64-cross)"
    return ""
