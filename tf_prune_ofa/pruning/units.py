"""Whole heads and neurons by reconstruction: what goes first, and what is lost; pure NumPy.

A head or a neuron is a few inputs of the layer behind it. Without them that layer gives other
outputs; least squares says how near the others can come (Optimal Brain Surgeon in blocks, as OBC,
arXiv 2208.11580, and ZipLM, Kurtic et al. 2023, arXiv 2302.04089, do it). Where inputs S go, the
error grows by sum_o c_o · W_So' H_SS^-1 W_So: H is the inverse of the Gram matrix of the inputs
that are left, W the best values for them, c_o says how much an output matters. H and W of the rest
follow from those before, so that all counts of units cost little more than one.

Legend: I inputs · O outputs · U units · S inputs of one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from tf_prune_ofa.pruning.reconstruction import Moments, gram_and_target, one_thread


@dataclass(frozen=True)
class Removal:
    """In which order the units of a layer's inputs go.

    Attributes:
        order: numbers of the units [U], the first to go first.
        losses: [U], what has been lost by then; never less than before.
    """

    order: np.ndarray
    losses: np.ndarray

    def kept(self, count: int) -> np.ndarray:
        """Return which units are left when `count` have gone, bool [U]."""
        kept = np.ones(len(self.order), bool)
        kept[self.order[:count]] = False
        return kept


def removal(
    kernel: np.ndarray,
    bias: np.ndarray,
    moments: Moments,
    units: int,
    *,
    together: int = 1,
    most: int | None = None,
    importance: np.ndarray | None = None,
    damping: float = 0.01,
) -> Removal:
    """Return the order in which units of a layer's inputs go, each time the cheapest of the rest.

    Args:
        kernel: [I, O] of the layer; the inputs of a unit lie side by side.
        bias: [O].
        moments: of its inputs.
        units: U.
        together: how many go before costs are computed anew.
        most: how many may go; all but one at most. The others follow by what they cost at the end.
        importance: c, [O] and not negative, of the squared errors of outputs; 1 if not given.
        damping: as of `reconstruction.reconstruct`.
    """
    size = len(kernel) // units
    most = units - 1 if most is None else min(most, units - 1)
    gram, target = gram_and_target(kernel, bias, moments, damping)
    order: list[int] = []
    losses: list[float] = []
    with one_thread():
        factor = linalg.cho_factor(gram)
        inverse = linalg.cho_solve(factor, np.eye(len(gram)))
        values = linalg.cho_solve(factor, target)
        # Squares of outputs that matter more count more; the order is all that this changes.
        scale = np.sqrt(np.ones(kernel.shape[1]) if importance is None else importance)
        values = values * scale
        left = np.arange(units)
        while len(order) < most:
            costs = _costs(inverse, values, left, size)
            chosen = left[np.argsort(costs, kind="stable")[: min(together, most - len(order))]]
            places = (chosen[:, None] * size + np.arange(size)).ravel()
            block = inverse[np.ix_(places, places)]
            solved = linalg.solve(block, values[places], assume_a="pos")
            lost = float(np.sum(values[places] * solved)) / moments.tokens
            columns = inverse[:, places]
            values = values - columns @ solved
            inverse = inverse - columns @ linalg.solve(block, columns.T, assume_a="pos")
            before = losses[-1] if losses else 0.0
            # Those that go together share what they cost.
            losses += (before + lost * np.arange(1, len(chosen) + 1) / len(chosen)).tolist()
            order += chosen.tolist()
            left = np.setdiff1d(left, chosen)
        rest = left[np.argsort(_costs(inverse, values, left, size), kind="stable")]
    order += rest.tolist()
    losses += [np.inf] * len(rest)
    return Removal(np.array(order), np.array(losses))


def _costs(inverse: np.ndarray, values: np.ndarray, left: np.ndarray, size: int) -> np.ndarray:
    """Return what each unit that is left costs, if it goes alone."""
    if size == 1:
        return np.sum(values[left] ** 2, axis=1) / np.diag(inverse)[left]
    costs = []
    for unit in left:
        part = slice(unit * size, (unit + 1) * size)
        solved = linalg.solve(inverse[part, part], values[part], assume_a="pos")
        costs.append(np.sum(values[part] * solved))
    return np.array(costs)
