"""Activation ranges without training: run the float file and watch.

What quantization-aware training is held against, and what a model gets that is not to be trained
any more. Padding is not watched: nothing that a file answers depends on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.conversion import watch
from tf_prune_ofa.conversion.clipping import Histogram, Range
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.interpreter import Interpreter

Example = Mapping[str, np.ndarray]

_SCORES = "/scores"


@dataclass(frozen=True)
class Extremes:
    """Smallest and largest value of each channel of each Dense layer's input and output.

    `low` and `high` are [channels] by Keras layer name: of the layer in front of a Dense that is
    its input, of the Dense its output, of attention's `<prefix>/scores` one number for all.
    """

    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]

    def ranges(
        self, outlier_scales: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Return ranges as `int8.dense_int8` takes them, together with the same scales."""
        found = {}
        for name, low in self.low.items():
            scales = (outlier_scales or {}).get(name, 1.0)
            ends = low / scales, self.high[name] / scales
            found[name] = (float(ends[0].min()), float(ends[1].max()))
        return found

    def largest(self) -> dict[str, np.ndarray]:
        """Return the largest magnitude of each channel."""
        return {name: np.maximum(-low, self.high[name]) for name, low in self.low.items()}


def measure(
    float32_file: bytes,
    examples: Iterable[Example],
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
    low: dict[str, np.ndarray] = {}
    high: dict[str, np.ndarray] = {}
    for layer, value in _watched(float32_file, examples, threads, scores=scores):
        low[layer] = np.minimum(low.get(layer, np.inf), value.min(axis=0))
        high[layer] = np.maximum(high.get(layer, -np.inf), value.max(axis=0))
    if not low:
        raise UserError("no examples to measure ranges on. Give at least one.")
    return Extremes(low, high)


def measure_ranges(
    float32_file: bytes,
    examples: Iterable[Example],
    threads: int = 1,
    *,
    scores: bool = False,
) -> dict[str, tuple[float, float]]:
    """Return the ranges that `measure` finds, without outlier scales."""
    return measure(float32_file, examples, threads, scores=scores).ranges()


def histograms(
    float32_file: bytes,
    examples: Iterable[Example],
    ranges: Mapping[str, Range],
    outlier_scales: Mapping[str, np.ndarray],
    threads: int = 1,
    *,
    scores: bool = False,
) -> dict[str, Histogram]:
    """Return how often each layer's inputs and outputs took which values, divided by scales.

    Args:
        float32_file: from `convert.to_float32`.
        examples: those that were measured.
        ranges: `Extremes.ranges(outlier_scales)` of them.
        outlier_scales: divisors [channels] by layer name.
        threads: see `measure`.
        scores: see `measure`.
    """
    found = {name: Histogram.between(*ends) for name, ends in ranges.items()}
    for layer, value in _watched(float32_file, examples, threads, scores=scores):
        found[layer].add(value / outlier_scales.get(layer, np.float32(1)))
    return found


def _watched(
    float32_file: bytes, examples: Iterable[Example], threads: int, *, scores: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Run a file and yield (layer, values [rows, channels]) of real tokens, by example."""
    file, watched = watch.watch_dense_layers(float32_file, scores=scores)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.tflite"
        path.write_bytes(file)
        interpreter = Interpreter(path, threads)
        for example in examples:
            interpreter.set_inputs(example)
            interpreter.invoke()
            values = interpreter.outputs()
            mask = example.get("input_mask")
            is_real = None if mask is None else np.asarray(mask).reshape(-1) > 0
            for layer, (output, factor) in watched.items():
                is_score = layer.endswith(_SCORES)
                yield layer, _of_tokens(values[output], is_real, is_score=is_score) / factor


def _of_tokens(value: np.ndarray, is_real: np.ndarray | None, *, is_score: bool) -> np.ndarray:
    """Return the values [rows, channels] of real tokens; of scores all in one channel."""
    if is_score:
        pairs = True if is_real is None else is_real[:, None] & is_real
        return value[np.broadcast_to(pairs, value.shape)][:, None]
    rows = value.reshape(-1, value.shape[-1])
    # Behind the pooler there is one row for the whole text.
    return rows[is_real] if is_real is not None and len(rows) == len(is_real) else rows
