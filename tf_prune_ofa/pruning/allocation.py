"""How sparse each layer should be: the least loss within a budget of time, or of weights.

As SPDY (Frantar & Alistarh 2022) and ZipLM (Kurtic et al. 2023) do it: each layer may have one of a
few levels of sparsity, each with a cost and a loss; both add up over layers; a dynamic program
picks the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.pruning.patterns import Shapes, Site, find_pattern
from tf_prune_ofa.pruning.plan import keep_highest
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.schedules import zeros_of

# Costs are rounded up to this part of the budget.
_PARTS = 10_000


@dataclass(frozen=True)
class Level:
    """One sparsity that a layer may have.

    Attributes:
        sparsity: in [0, 1).
        cost: of the layer then, in any unit: microseconds, kept weights.
        loss: what it does to the model then, in any unit.
    """

    sparsity: float
    cost: float
    loss: float


def allocate(levels: Mapping[str, Sequence[Level]], budget: float) -> dict[str, Level]:
    """Return the level of each layer: the least sum of losses with a sum of costs in the budget.

    The budget always holds. The sum of losses is the least one if all costs are multiples of a
    10,000th of the budget; else it is that of a budget smaller by at most so much a layer.

    Raises:
        UserError: even the cheapest levels cost more.
    """
    cheapest = {
        name: min(choices, key=lambda level: (level.cost, level.loss))
        for name, choices in levels.items()
    }
    least = sum(level.cost for level in cheapest.values())
    if least > budget:
        raise UserError(
            f"the budget is {budget:.4g}, but the cheapest levels of all layers cost {least:.4g}; "
            "ask for less, or allow higher levels"
        )
    if least == budget:
        return cheapest
    part = budget / _PARTS
    # best[b]: the least loss of the layers so far with costs of at most b parts.
    best = np.zeros(_PARTS + 1)
    chosen = []
    for choices in levels.values():
        table = np.full((len(choices), _PARTS + 1), np.inf)
        for row, level in zip(table, choices, strict=True):
            parts = _parts(level.cost, part)
            if parts <= _PARTS:
                row[parts:] = best[: _PARTS + 1 - parts] + level.loss
        chosen.append(table.argmin(axis=0))
        best = table.min(axis=0)
    if not np.isfinite(best[-1]):
        return cheapest  # they fit only as long as nothing is rounded up
    picked, left = [], _PARTS
    for choices, choice in zip(reversed([*levels.values()]), reversed(chosen), strict=True):
        level = choices[choice[left]]
        picked.append(level)
        left -= _parts(level.cost, part)
    return dict(zip(levels, reversed(picked), strict=True))


@dataclass(frozen=True)
class NamedSite:
    """A site, the name that a rule for it has in a recipe, and the name of its pattern."""

    key: str
    pattern: str
    site: Site


def named_sites(
    patterns: Mapping[str, str], shapes: Shapes, sparsities: Sequence[float], *, heads: int
) -> list[NamedSite]:
    """Return what rules would prune.

    Args:
        patterns: ordered (regular expression of layer names -> name of a pattern); the last match
            wins.
        shapes: of all kernels [in, out] by layer name.
        sparsities: the levels that are asked for.
        heads: attention heads of the encoder.

    Raises:
        UserError: see `rules.layer_rules` and `plan.plan_pools`.
    """
    # Which rule matches which layer; the sparsities are what is looked for.
    matched = layer_rules(dict.fromkeys(patterns, 0.5), shapes)
    found = []
    for rule, name in patterns.items():
        pattern = find_pattern(name)
        for sparsity in sparsities:
            pattern.check(sparsity, rule=rule)
        own = {layer: shapes[layer] for layer, r in matched.items() if r.key == rule}
        for site in pattern.sites(own, heads=heads, rule=rule):
            key = next(iter(site.shapes))
            if len(site.shapes) > 1:
                key = key.rpartition("/")[0] + "/.*"
            found.append(NamedSite(key, name, site))
    return found


def magnitude_masks(
    site: Site, kernels: Mapping[str, np.ndarray], sparsity: float
) -> dict[str, np.ndarray]:
    """Return the masks (bool [in, out], True kept) of pruning a site by magnitude."""
    scores = site.means({name: np.abs(kernels[name]) for name in site.shapes})
    return site.spread(keep_highest(scores, zeros_of(site.count, sparsity)))


def site_levels(
    site: Site,
    kernels: Mapping[str, np.ndarray],
    sparsities: Sequence[float],
    cost: Callable[[Mapping[str, np.ndarray]], float],
) -> list[Level]:
    """Return what pruning by magnitude to each sparsity would cost and lose.

    The loss is the sum of the pruned squared weights over that of the kept ones, noise to signal: 0
    of a dense layer, 1 where half is gone, without bound towards a layer that is gone whole. (The
    share alone would be nearly linear in the sparsity for large blocks, which are all alike, and
    the cheapest choice would be to wipe out some layers.) It needs no data; a measured increase of
    the loss is better.

    Args:
        site: what is pruned together.
        kernels: its kernels [in, out] by layer name.
        sparsities: the levels.
        cost: of the site with given masks (bool [in, out], True kept).
    """
    total = sum(float(np.square(kernels[name]).sum()) for name in site.shapes)
    levels = []
    for sparsity in sparsities:
        masks = magnitude_masks(site, kernels, sparsity)
        lost = sum(float(np.square(kernels[name][~mask]).sum()) for name, mask in masks.items())
        kept = max(total - lost, 1e-9 * total)
        levels.append(Level(sparsity, cost(masks), lost / kept if total else 0.0))
    return levels


def _parts(cost: float, part: float) -> int:
    # A cost that is a whole number of parts may be a hair more in binary.
    return int(np.ceil(cost / part - 1e-6))
