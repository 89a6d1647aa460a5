"""Layer-wise reconstruction: prune a Dense layer so that its outputs change least; pure NumPy.

Optimal Brain Surgeon (Hassibi & Stork 1993) for the squared error of a layer's outputs, as in OBC
(Frantar & Alistarh 2022, arXiv 2208.11580) and SparseGPT (Frantar & Alistarh 2023, arXiv
2301.00774): what a weight costs is known exactly, and so are the values of the others that make up
for it. Here many weights go at a time, in rounds, each of which solves the least-squares problem
anew. The outputs asked for are those of the dense model on its own inputs, while the layer sees
those of the sparse model, so that errors of earlier layers are made good as far as possible.

Legend: N tokens · I inputs · O outputs · X inputs of the sparse model, Z of the dense one, both
with a column of ones for the bias: [N, I + 1] · V dense kernel and bias, W sparse: [I + 1, O].
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from tf_prune_ofa.pruning.rounding import round_weights

try:
    from threadpoolctl import threadpool_limits
except ImportError:  # in an environment from before it was required: the same, slower
    threadpool_limits = None

Choose = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


class Moments:
    """Sums over tokens of XᵀX, XᵀZ and ZᵀZ: all that is needed of a layer's inputs."""

    def __init__(self, inputs: int) -> None:
        """Begin with no tokens, for layers of so many inputs."""
        self.sparse, self.cross, self.dense = np.zeros((3, inputs + 1, inputs + 1))
        self.tokens = 0

    def add(self, sparse: np.ndarray, dense: np.ndarray) -> None:
        """Add the inputs of both models for the same tokens, float32 [N, I] each."""
        x, z = (np.pad(a, ((0, 0), (0, 1)), constant_values=1.0) for a in (sparse, dense))
        self.sparse += x.T @ x
        self.cross += x.T @ z
        self.dense += z.T @ z
        self.tokens += len(x)


@dataclass(frozen=True)
class Reconstruction:
    """A layer after it was pruned.

    Attributes:
        kernel: [I, O], pruned weights exactly 0.
        bias: [O].
        mask: bool [I, O], True where a weight is kept.
        error: mean squared error of its outputs, as a share of the dense outputs' variance.
    """

    kernel: np.ndarray
    bias: np.ndarray
    mask: np.ndarray
    error: float


def reconstruct(
    kernel: np.ndarray,
    bias: np.ndarray,
    moments: Moments,
    choose: Choose | None,
    *,
    mask: np.ndarray | None = None,
    rounds: int = 4,
    damping: float = 0.01,
    levels: int = 0,
    held_at: np.ndarray | None = None,
) -> Reconstruction:
    """Return the layer with fewer weights, and with the best values of those that stay.

    Minimizes |XW - ZV|² + d |W - V₀|² over the weights that stay; d keeps directions that no token
    shows as they are in V₀, and is no part of the bias.

    Args:
        kernel: of the dense layer, [I, O].
        bias: of the dense layer, [O].
        moments: of the layer's inputs.
        choose: returns the mask of a round (1, 2, ...) given what each weight costs [I, O] and the
            mask before; None keeps `mask`.
        mask: that it begins with, bool [I, O]; all weights if None.
        rounds: how many times weights are chosen.
        damping: d as a share of the mean of XᵀX's diagonal.
        levels: steps from 0 to the largest weight of an output, of which each weight is one
            (`rounding.round_weights`); 0 for weights that are not rounded.
        held_at: V₀ [I, O]: values of a kernel that was trained sparse; the dense kernel if None.
    """
    dense = np.vstack([kernel, bias]).astype(np.float64)
    gram, target = gram_and_target(kernel, bias, moments, damping, held_at)
    kept = np.ones(kernel.shape, bool) if mask is None else mask
    with one_thread():
        if choose is not None:
            for number in range(1, rounds + 1):
                kept = choose(number, removal_costs(gram, target, kept), kept) > 0
        solved = solve(gram, target, kept)
        if levels:
            solved = round_weights(gram, solved, kept, levels)
    return Reconstruction(
        solved[:-1].astype(np.float32),
        solved[-1].astype(np.float32),
        kept,
        _relative_error(solved, dense, moments),
    )


def gram_and_target(
    kernel: np.ndarray,
    bias: np.ndarray,
    moments: Moments,
    damping: float,
    held_at: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return G and T of the least-squares problem: its solution is G⁻¹T, [I + 1, O].

    Args:
        kernel: of the dense layer, [I, O].
        bias: of the dense layer, [O].
        moments: of the layer's inputs.
        damping: as of `reconstruct`.
        held_at: likewise.
    """
    dense = np.vstack([kernel, bias]).astype(np.float64)
    inputs = len(kernel)
    mean = np.mean(np.diag(moments.sparse)[:inputs])
    # An input that is 0 for all tokens must not make the problem singular.
    ridge = np.append(np.full(inputs, max(damping * mean, 1e-12)), 0.0)
    # The bias is held nowhere: its place in the ridge is 0.
    held = dense if held_at is None else np.vstack([held_at, bias]).astype(np.float64)
    return moments.sparse + np.diag(ridge), moments.cross @ dense + ridge[:, None] * held


def one_thread() -> contextlib.AbstractContextManager[object]:
    """Hold BLAS to one thread, for a problem of its own for each output, of a few hundred weights.

    Its threads wait for each other, spinning, many times in each: two of them are slower than one,
    and where another process has a core, they wait for that, too.
    """
    if threadpool_limits is None:
        return contextlib.nullcontext()
    return threadpool_limits(limits=1, user_api="blas")


def solve(gram: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return W [I + 1, O] with `gram` W = `target` on each output's own support, 0 elsewhere.

    Args:
        gram: symmetric positive definite [I + 1, I + 1].
        target: [I + 1, O].
        mask: bool [I, O]; the last row, the bias, is always kept.
    """
    solved = np.zeros_like(target)
    if np.all(mask == mask[:, :1]):
        support = np.append(np.flatnonzero(mask[:, 0]), len(mask))
        factor = linalg.cho_factor(gram[np.ix_(support, support)])
        solved[support] = linalg.cho_solve(factor, target[support])
        return solved
    for output, support in enumerate(_supports(mask)):
        factor = linalg.cho_factor(gram[np.ix_(support, support)])
        solved[support, output] = linalg.cho_solve(factor, target[support, output])
    return solved


def removal_costs(gram: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return by how much the least error grows where one weight goes, [I, O]; 0 where it is gone.

    w² / [G⁻¹]ii, with w the solution on the present support and G `gram` on it (Hassibi & Stork
    1993, eq. 5, of a quadratic error without its factor 1/2).
    """
    costs = np.zeros(mask.shape)
    if mask.all():
        return _costs(gram, target)[:-1]
    for output, support in enumerate(_supports(mask)):
        of_support = _costs(gram[np.ix_(support, support)], target[support, output : output + 1])
        costs[support[:-1], output] = of_support[:-1, 0]
    return costs


def _costs(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the costs of all weights, [S, O], where all outputs have the support of `gram`."""
    # Of G = LLᵀ: G⁻¹ = L⁻ᵀL⁻¹, so its diagonal is the squared length of the columns of L⁻¹.
    factor = linalg.cholesky(gram, lower=True)
    inverse, _ = linalg.lapack.dtrtri(factor, lower=1)
    values = inverse.T @ (inverse @ target)
    return values**2 / np.einsum("ij,ij->j", inverse, inverse)[:, None]


def _supports(mask: np.ndarray) -> list[np.ndarray]:
    """Return the rows that each output keeps, ascending, with that of the bias as the last."""
    return [np.append(np.flatnonzero(column), len(mask)) for column in mask.T]


def _relative_error(solved: np.ndarray, dense: np.ndarray, moments: Moments) -> float:
    """Return |XW - ZV|² over the variance of ZV, both summed over outputs."""

    def total(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> float:
        return float(np.sum(left * (middle @ right)))

    error = (
        total(solved, moments.sparse, solved)
        - 2 * total(solved, moments.cross, dense)
        + total(dense, moments.dense, dense)
    )
    # The last row of ZᵀZ holds sums over tokens, so this is the sum of each output.
    sums = moments.dense[-1] @ dense
    variance = total(dense, moments.dense, dense) - float(sums @ sums) / moments.tokens
    return error / variance
