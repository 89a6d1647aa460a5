"""What files compute on examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.runtime.interpreter import Interpreter

Inputs = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]

# Beside real examples: words that those do not have, and every length. Files that must equal each
# other bit for bit are run on these, too.
PROBES = 16


def run_file(path: Path, inputs: Inputs, threads: int) -> Outputs:
    """Return the outputs of a file by name, [N, ...].

    Args:
        path: the file.
        inputs: [N, S] by name.
        threads: of the runtime.
    """
    interpreter = Interpreter(path, threads=threads)
    count = len(inputs["input_word_ids"])
    rows = []
    for index in tqdm(range(count), desc=path.name, unit="example", mininterval=1):
        type_ids = inputs["input_type_ids"][index] if "input_type_ids" in inputs else None
        rows.append(
            interpreter.run(inputs["input_word_ids"][index], inputs["input_mask"][index], type_ids)
        )
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def with_probes(inputs: Inputs, vocabulary_size: int, seed: int = 0) -> Inputs:
    """Return inputs with `PROBES` random sequences of all lengths behind them."""
    rng = np.random.default_rng(seed)
    length = inputs["input_word_ids"].shape[1]
    sizes = np.linspace(1, length, PROBES).round().astype(int)
    mask = (np.arange(length) < sizes[:, None]).astype(np.int32)
    probes = {
        "input_word_ids": rng.integers(0, vocabulary_size, mask.shape, np.int32),
        "input_mask": mask,
        "input_type_ids": rng.integers(0, 2, mask.shape, np.int32) * mask,
    }
    return {name: np.concatenate([value, probes[name]]) for name, value in inputs.items()}


def largest_difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference of two files' outputs; infinite where one is no number."""
    if set(one) != set(other):
        return float("inf")
    largest = 0.0
    for name, value in one.items():
        if not np.array_equal(value, other[name]):
            found = float(np.max(np.abs(value - other[name])))
            largest = max(largest, found if np.isfinite(found) else float("inf"))
    return largest
