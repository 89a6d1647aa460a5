"""Measure the five numbers of a cost table on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import flatbuffers
import numpy as np

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.blocks.layers import LayerNumbers
from tf_prune_ofa.blocks.ops import Writer
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import flatbuffer
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

_TOKENS, _WIDTH, _PLACES = 128, 32, 24
# As many operators as a large encoder in blocks has: caches hold neither them nor their results.
_MANY = 3000
# What one byte or product cannot be cheaper than: the differences below may come out as noise.
_LEAST = 1e-5


def measure_costs(seconds: float = 5.0, threads: int = 1) -> CostTable:
    """Return the costs of this machine's runtime.

    Small files are run in turns, and the fastest quarter of each one's runs counts, so that other
    work on the machine does little harm.

    Args:
        seconds: how long to measure.
        threads: threads of the runtime.
    """
    files = {
        "few results": _layer(16, 1),
        "many results": _layer(256, 1),
        "many products": _layer(256, 16),
        "one slice": _slices(1, 1),
        "slices": _slices(_MANY, 1),
        "large slices": _slices(_MANY, _TOKENS),
        "transpose": _written(_TOKENS, lambda w: [w.transpose(0, [0, 2, 1, 3])]),
    }
    us = race_us(files, seconds, threads)
    moved = _MANY * (_TOKENS - 1) * _WIDTH
    more_results = _TOKENS * (256 - 16)
    products = _TOKENS * 256 * 15 * _WIDTH
    product = (us["many products"] - us["many results"]) / products
    result = (us["many results"] - us["few results"]) / more_results - _WIDTH * product
    copy = (us["large slices"] - us["slices"]) / moved
    transpose = (us["transpose"] - us["one slice"]) / (_TOKENS * _PLACES * _WIDTH)
    # What is left of a layer when its work is taken off. The runtime's own overhead of a run is in
    # both files.
    work = _TOKENS * 16 * (result + _WIDTH * product)
    operator = us["few results"] - us["one slice"] - work
    return CostTable(
        operator_us=max(operator, us["slices"] / _MANY, _LEAST),
        product_ns=max(1e3 * product, _LEAST),
        result_ns=max(1e3 * result, _LEAST),
        copy_ns=max(1e3 * copy, _LEAST),
        transpose_ns=max(1e3 * transpose, _LEAST),
    )


def _layer(rows: int, places: int) -> bytes:
    kernel = np.random.default_rng(0).integers(-127, 128, [rows, places * _WIDTH], np.int8)
    ones = np.ones(rows, np.float32)
    layer = LayerNumbers(
        name="layer",
        source=0,
        result=0,
        rows=_TOKENS,
        kernel=kernel,
        weight_scales=1e-3 * ones,
        bias=np.zeros(rows, np.int32),
        bias_scales=1e-3 * ones,
        result_quantization=quantization(1.0),
        activation=schema.ActivationFunctionType.NONE,
    )

    def write(writer: Writer) -> list[int]:
        part = writer.part(0, 1, 0, places)
        return [writer.convolution(part, kernel, layer, slice(0, rows))]

    return _written(_TOKENS, write)


def _slices(count: int, tokens: int) -> bytes:
    return _written(
        tokens, lambda writer: [writer.part(0, 1, i % _PLACES, 1) for i in range(count)]
    )


def _written(tokens: int, write: Callable[[Writer], list[int]]) -> bytes:
    """Return a file with one input, [1, 24, tokens, 32], and what `write` makes of it."""
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators = [], []
    subgraph.inputs = subgraph.outputs = np.zeros(1, np.int32)
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.buffers, model.subgraphs = [], [schema.BufferT()], [subgraph]
    tensor = schema.TensorT()
    tensor.name, tensor.type = "x", schema.TensorType.INT8
    tensor.shape = np.asarray([1, _PLACES, tokens, _WIDTH], np.int32)
    tensor.quantization = quantization(1.0)
    subgraph.tensors.append(tensor)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), flatbuffer.IDENTIFIER)
    graph = Graph(bytes(builder.Output()))
    writer = Writer(graph)
    graph.subgraph.outputs = np.asarray(write(writer), np.int32)
    graph.set_operators(writer.operators)
    return graph.to_bytes()


def race_us(
    files: Mapping[str, bytes],
    seconds: float,
    threads: int,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Return microseconds of one run of each file: the fastest quarter of runs in turns.

    Args:
        files: their bytes by name.
        seconds: how long to measure; each runs once at least.
        threads: of the runtime.
        inputs: of all of them, by name; None leaves them as they are.
    """
    opened = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, f"{name}.tflite")
            path.write_bytes(content)
            opened[name] = Interpreter(path, threads)
            if inputs is not None:
                opened[name].set_inputs(inputs)
            opened[name].invoke()
    times: dict[str, list[float]] = {name: [] for name in files}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(times.values()):
        for name, interpreter in opened.items():
            interpreter.invoke()
            start = time.perf_counter()
            interpreter.invoke()
            times[name].append(1e6 * (time.perf_counter() - start))
    return {name: float(np.percentile(values, 25)) for name, values in times.items()}
