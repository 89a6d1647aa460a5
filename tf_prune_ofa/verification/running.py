"""What files compute on examples."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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

    The examples are dealt out to interpreters of one thread each: on small matrices two examples
    side by side take less time than one with two threads.

    Args:
        path: the file.
        inputs: [N, S] by name.
        threads: how many examples run at a time.
    """
    count = len(inputs["input_word_ids"])
    workers = range(min(threads, count))
    rows: list[dict[str, np.ndarray]] = [{}] * count

    def run(worker: int) -> None:
        interpreter = Interpreter(path)
        for index in range(worker, count, len(workers)):
            values = {name: value[index] for name, value in inputs.items()}
            rows[index] = interpreter.run(
                values["input_word_ids"], values["input_mask"], values.get("input_type_ids")
            )
            progress.update()

    with (
        tqdm(total=count, desc=path.name, unit="example", mininterval=1) as progress,
        ThreadPoolExecutor(len(workers)) as pool,
    ):
        list(pool.map(run, workers))
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
