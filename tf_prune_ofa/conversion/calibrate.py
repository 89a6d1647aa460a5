"""Activation ranges without training: run the float file and watch.

The baseline that shows what quantization-aware training buys.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.conversion import watch
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.interpreter import Interpreter


@dataclass(frozen=True)
class Extremes:
    """Smallest and largest value of each channel of each Dense layer's input and output.

    `low` and `high` are [channels] by Keras layer name: of the layer in front of a Dense that is
    its input, of the Dense its output, of attention's `<prefix>/scores` the scores by key token.
    """

    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]

    def ranges(
        self, factors: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Return ranges as `quantize.dense_int8` takes them, together with the same factors."""
        found = {}
        for name, low in self.low.items():
            divisors = (factors or {}).get(name, 1.0)
            ends = low / divisors, self.high[name] / divisors
            found[name] = (float(ends[0].min()), float(ends[1].max()))
        return found

    def largest(self) -> dict[str, np.ndarray]:
        """Return the largest magnitude of each channel."""
        return {name: np.maximum(-low, self.high[name]) for name, low in self.low.items()}


def measure(
    float32_file: bytes,
    examples: Iterable[Mapping[str, np.ndarray]],
    threads: int = 1,
    *,
    scores: bool = False,
) -> Extremes:
    """Run a float file and return between which values its layers' inputs and outputs lie.

    Args:
        float32_file: from `convert.to_float32`.
        examples: inputs by name, int [S] or [1, S] each; a few hundred are enough.
        threads: how many threads the runtime may use.
        scores: measure those of attention, too; with their ranges it computes in INT8.

    Raises:
        UserError: there are no examples, or one has the wrong names or shapes.
    """
    file, watched = watch.watch_dense_layers(float32_file, scores=scores)
    low: dict[str, np.ndarray] = {}
    high: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.tflite"
        path.write_bytes(file)
        interpreter = Interpreter(path, threads)
        for example in examples:
            interpreter.set_inputs(example)
            interpreter.invoke()
            values = interpreter.outputs()
            for layer, (output, factor) in watched.items():
                value = (values[output] / factor).reshape(-1, values[output].shape[-1])
                low[layer] = np.minimum(low.get(layer, np.inf), value.min(axis=0))
                high[layer] = np.maximum(high.get(layer, -np.inf), value.max(axis=0))
    if not low:
        raise UserError("no examples to measure ranges on. Give at least one.")
    return Extremes(low, high)


def measure_ranges(
    float32_file: bytes,
    examples: Iterable[Mapping[str, np.ndarray]],
    threads: int = 1,
    *,
    scores: bool = False,
) -> dict[str, tuple[float, float]]:
    """Return the ranges that `measure` finds, without channel factors."""
    return measure(float32_file, examples, threads, scores=scores).ranges()
