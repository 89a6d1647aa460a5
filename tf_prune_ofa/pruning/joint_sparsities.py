"""How sparse each layer should be, from what its outputs do to a loss; pure NumPy.

A layer's part of the loss's curvature is taken as a product (K-FAC: Martens & Grosse 2015, arXiv
1503.05671) of XᵀX, of its inputs, and of the mean squared gradient of each output. What a weight
costs is then that of Optimal Brain Surgeon for the output's error (`reconstruction`) times the
output's squared gradient: costs of all layers in one unit, so that they can be ranked together.
Gradients of several tasks are averaged, each brought to a common size first.

Legend: I inputs · O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.pruning.reconstruction import removal_costs


@dataclass(frozen=True)
class Layer:
    """A Dense layer and what is known of its inputs and outputs.

    Attributes:
        kernel: [I, O].
        bias: [O].
        gram: mean over tokens of xᵀx, with a column of ones behind the inputs, [I + 1, I + 1].
        squared_gradients: mean over tokens of the loss's squared gradient by output, [O].
    """

    kernel: np.ndarray
    bias: np.ndarray
    gram: np.ndarray
    squared_gradients: np.ndarray


def averaged_gradients(
    tasks: Sequence[Mapping[str, np.ndarray]], kernels: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the squared gradients of several tasks, each in units of what it all comes to.

    Args:
        tasks: of each task, the squared gradients [O] by layer name.
        kernels: [I, O] by layer name.
    """
    total = {name: np.zeros(kernel.shape[1]) for name, kernel in kernels.items()}
    for of_task in tasks:
        size = sum(
            float(of_task[name].mean() * np.square(kernel, dtype=np.float64).sum())
            for name, kernel in kernels.items()
        )
        for name in total:
            total[name] += of_task[name] / size
    return total


def joint_sparsities(
    layers: Mapping[str, Layer],
    sparsity: float,
    *,
    rounds: int = 4,
    most: float = 0.97,
    damping: float = 0.01,
) -> dict[str, float]:
    """Return the sparsity of each layer where all their weights are ranked together.

    Args:
        layers: by name.
        sparsity: of all of them together.
        rounds: in which it is reached; costs are computed anew in each.
        most: sparsity of a layer at most: what these tasks have no use for, others may.
        damping: see `reconstruction.reconstruct`.
    """
    kept = {name: np.ones(layer.kernel.shape, bool) for name, layer in layers.items()}
    for number in range(1, rounds + 1):
        costs = {}
        for name, layer in layers.items():
            inputs = len(layer.kernel)
            ridge = np.append(np.full(inputs, damping * np.mean(np.diag(layer.gram)[:inputs])), 0.0)
            dense = np.vstack([layer.kernel, layer.bias]).astype(np.float64)
            target = layer.gram @ dense + ridge[:, None] * dense
            cost = removal_costs(layer.gram + np.diag(ridge), target, kept[name])
            cost = np.where(kept[name], cost * layer.squared_gradients, -1.0)
            safe = max(1, int((1 - most) * cost.size))
            cost[cost >= np.partition(cost.ravel(), -safe)[-safe]] = np.inf
            costs[name] = cost
        flat = np.concatenate([cost.ravel() for cost in costs.values()])
        zeros = int(sparsity * (1 - (1 - number / rounds) ** 3) * flat.size)
        least = np.partition(flat, zeros)[zeros]
        kept = {name: cost >= least for name, cost in costs.items()}
    return {name: float(1 - mask.mean()) for name, mask in kept.items()}
