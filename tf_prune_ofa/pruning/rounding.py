"""Round the weights of a layer to few bits, so that its outputs change least; pure NumPy.

Weights are rounded one input after the other, and those that are still free make up for each error
(Optimal Brain Surgeon, as GPTQ, Frantar et al. 2022, arXiv 2210.17323, does it for whole layers at
once). What is on the grid is what a file stores, so nothing more is lost by exporting it.

Legend: I inputs · O outputs · W weights with the bias as the last row: [I + 1, O].
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

INT4_LEVELS = 7  # symmetric: -7..7, so that 0 is 0 and a pruned weight stays pruned
# Shares of a channel's largest weight that are tried for the largest step; beyond it is clipped.
_SHARES = np.linspace(1.0, 0.5, 26)
# The export finds a channel's grid by its largest weight: one of 7 steps must be there.
_MOST_TRIES, _FINER = 20, 0.93


def round_weights(
    gram: np.ndarray, weights: np.ndarray, mask: np.ndarray, levels: int = INT4_LEVELS
) -> np.ndarray:
    """Return W on a grid of `levels` steps to each side of 0, a step size for each output.

    Args:
        gram: of the layer's inputs, symmetric positive definite [I + 1, I + 1].
        weights: the best float weights, [I + 1, O].
        mask: bool [I, O], True where a weight may be other than 0.
        levels: number of steps from 0 to the largest weight.

    Returns:
        float64 [I + 1, O]; each output with a weight has one of `levels` steps. The bias, which is
        not rounded, takes up what errors are left.
    """
    kernel = weights[:-1] * mask
    scales = best_scales(np.diag(gram)[:-1], kernel, levels)
    # Inputs that matter most first: their errors find the most that can make up for them.
    order = np.append(np.argsort(-np.diag(gram)[:-1], kind="stable"), len(kernel))
    inverse = linalg.inv(gram[np.ix_(order, order)])
    # Row i: how the inputs behind i make up for an error in it.
    upper = linalg.cholesky((inverse + inverse.T) / 2, lower=False)
    found = np.zeros_like(weights)
    left = np.flatnonzero(mask.any(axis=0))
    found[-1] = weights[-1]
    for _ in range(_MOST_TRIES):
        part = _rounded(
            upper, weights[order][:, left], mask[order[:-1]][:, left], scales[left], levels
        )
        restored = np.empty_like(part)
        restored[order] = part
        found[:, left] = restored
        steps = np.abs(restored[:-1] / scales[left]).max(axis=0)
        left = left[np.rint(steps) < levels]
        if not len(left):
            break
        scales[left] *= _FINER
    return found


def best_scales(importance: np.ndarray, kernel: np.ndarray, levels: int) -> np.ndarray:
    """Return the step size of each output [O] with the least weighted error of rounding.

    Args:
        importance: of squared errors of each input's weights, [I].
        kernel: [I, O].
        levels: number of steps from 0 to the largest weight.
    """
    largest = np.abs(kernel).max(axis=0)
    whole = np.where(largest > 0, largest, 1.0) / levels
    best, least = whole.copy(), np.full(len(whole), np.inf)
    for share in _SHARES:
        scales = share * whole
        rounded = np.clip(np.rint(kernel / scales), -levels, levels) * scales
        error = importance @ (rounded - kernel) ** 2
        is_better = error < least
        best, least = np.where(is_better, scales, best), np.where(is_better, error, least)
    return best


def _rounded(
    upper: np.ndarray, weights: np.ndarray, mask: np.ndarray, scales: np.ndarray, levels: int
) -> np.ndarray:
    """Return weights [I + 1, O] rounded from the first row to the last but one, the bias."""
    values = weights.copy()
    for row in range(len(values) - 1):
        steps = np.rint(values[row] / scales)
        rounded = np.clip(steps, -levels, levels) * scales * mask[row]
        error = (values[row] - rounded) / upper[row, row]
        values[row] = rounded
        values[row + 1 :] -= upper[row, row + 1 :, None] * error
    return values
