"""From single timings to the figures that are reported."""

from typing import Any

import numpy as np


def latency_summary(samples_ms: np.ndarray) -> dict[str, float | int]:
    """Median, spread and count of timings.

    Args:
        samples_ms: timings in ms, any shape, at least one.

    Returns:
        `median`, `p10`, `p90`, `p99`, `min`, `mean` in ms and the number of `runs`. The median is
        the figure to quote: a single interruption by another process moves the mean.
    """
    samples = np.asarray(samples_ms, dtype=float).ravel()
    p10, median, p90, p99 = np.percentile(samples, [10, 50, 90, 99])
    return {
        "median": float(median),
        "p10": float(p10),
        "p90": float(p90),
        "p99": float(p99),
        "min": float(samples.min()),
        "mean": float(samples.mean()),
        "runs": int(samples.size),
    }


def ratio_to_reference(
    samples_ms: np.ndarray, reference_ms: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Ratio of the medians of two files, with a 95 % bootstrap interval.

    The files were run in turns, so row r of both arrays was measured in the same moment of the
    machine's life. Rows are drawn together, to keep that pairing, and in runs of neighbours (moving
    block bootstrap, Künsch 1989, blocks of about n^(1/3) rows), because a disturbance lasts longer
    than one round and independent draws would make the interval too narrow.

    Args:
        samples_ms: timings of the file, [rounds, runs per round].
        reference_ms: timings of the reference, same number of rounds.
        resamples: how often to draw.
        seed: of the draws.

    Returns:
        `ratio` (below 1: faster than the reference), and `low` and `high` of the interval.
    """
    samples, reference = np.asarray(samples_ms, float), np.asarray(reference_ms, float)
    rounds = len(samples)
    if len(reference) != rounds:
        raise ValueError(f"{rounds} rounds of the file, {len(reference)} of the reference")
    block = max(1, round(rounds ** (1 / 3)))
    blocks = -(-rounds // block)
    generator = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for i in range(resamples):
        starts = generator.integers(0, rounds - block + 1, size=blocks)
        rows = (starts[:, None] + np.arange(block)).ravel()[:rounds]
        ratios[i] = np.median(samples[rows]) / np.median(reference[rows])
    low, high = np.percentile(ratios, [2.5, 97.5])
    return {
        "ratio": float(np.median(samples) / np.median(reference)),
        "low": float(low),
        "high": float(high),
    }
