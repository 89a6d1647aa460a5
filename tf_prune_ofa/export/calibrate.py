"""Activation ranges without training: run the float file and watch.

The baseline that shows what quantization-aware training buys.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.export import watch
from tf_prune_ofa.runtime.interpreter import Interpreter


def measure_ranges(
    float32_file: bytes, examples: Iterable[Mapping[str, np.ndarray]], threads: int = 1
) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of every Dense layer's input and output.

    Args:
        float32_file: from `convert.to_float32`.
        examples: inputs by name, int [S] or [1, S] each; a few hundred are enough.
        threads: how many threads the runtime may use.

    Returns:
        Ranges as `quantize.dense_int8` takes them, by Keras layer name.

    Raises:
        UserError: there are no examples, or one has the wrong names or shapes.
    """
    file, watched = watch.watch_dense_layers(float32_file)
    ranges: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.tflite"
        path.write_bytes(file)
        interpreter = Interpreter(path, threads)
        for example in examples:
            interpreter.set_inputs(example)
            interpreter.invoke()
            values = interpreter.outputs()
            for layer, (output, factor) in watched.items():
                value = values[output] / factor
                low, high = ranges.get(layer, (np.inf, -np.inf))
                ranges[layer] = (min(low, float(value.min())), max(high, float(value.max())))
    if not ranges:
        raise UserError("no examples to measure ranges on. Give at least one.")
    return ranges
