"""What is pruned when: sites, ranked alone or together, each with its schedule; pure NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tf_prune_ofa.pruning.patterns import Shapes, Site, find_pattern
from tf_prune_ofa.pruning.rules import Rule
from tf_prune_ofa.schedules import SparsitySchedule, zeros_of


@dataclass(frozen=True)
class Pool:
    """Sites whose units are ranked together."""

    sites: tuple[Site, ...]
    schedule: SparsitySchedule

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all its layers."""
        return tuple(name for site in self.sites for name in site.shapes)

    @property
    def units(self) -> int:
        """Units of all sites."""
        return sum(site.count for site in self.sites)

    @property
    def weights(self) -> int:
        """Weights of all sites."""
        return sum(site.weights for site in self.sites)

    def zeros(self, step: int) -> int:
        """Units that an update at `step` leaves pruned."""
        # Not the schedule's tensor: a float32 0.9 is so much below 0.9 that counts can be one off.
        return zeros_of(self.units, self.schedule.sparsity(step))

    @property
    def first_zeros(self) -> int:
        """Step of the first update that prunes."""
        step = self.schedule.begin
        while not self.zeros(step) and step < self.schedule.last_update:
            step += self.schedule.frequency
        return step

    def masks(
        self, step: int, scores: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the masks (float32, 1 kept, [in, out]) by layer name after an update at `step`.

        The count of pruned units is exact for any scores. What `before` prunes stays pruned and
        ranks below all else, even below a kept weight that happens to be zero.

        Args:
            step: of the update.
            scores: of weights [in, out] by layer name; the lowest are pruned.
            before: masks up to now.
        """
        ranked = []
        for site in self.sites:
            was_kept = {name: before[name] > 0 for name in site.shapes}
            unit_scores = site.means({name: scores[name] for name in site.shapes})
            unit_scores = np.where(site.means(was_kept) > 0, unit_scores, -np.inf)
            may_go = site.may_go(unit_scores)
            ranked.append(unit_scores if may_go is None else np.where(may_go, unit_scores, np.inf))
        kept = keep_highest(np.concatenate(ranked), self.zeros(step))
        ends = np.cumsum([site.count for site in self.sites])
        masks = {}
        for site, part in zip(self.sites, np.split(kept, ends[:-1]), strict=True):
            for name, mask in site.spread(part).items():
                masks[name] = (mask & (before[name] > 0)).astype(np.float32)
        return masks


def plan_pools(
    rules: Mapping[str, Rule],
    shapes: Shapes,
    schedule: SparsitySchedule,
    *,
    heads: int,
    scope: Literal["layer", "global"] = "layer",
) -> tuple[Pool, ...]:
    """Return what is to be pruned.

    Args:
        rules: of each layer that is pruned; see `rules.layer_rules`.
        shapes: of all kernels [in, out] by layer name.
        schedule: its `final` is replaced by each rule's.
        heads: attention heads of the encoder.
        scope: "layer" ranks each site by itself, "global" all sites of one rule together.

    Raises:
        UserError: a pattern is unknown, or does not fit a layer or a sparsity.
    """
    layers: dict[Rule, list[str]] = {}
    for name, rule in rules.items():
        layers.setdefault(rule, []).append(name)
    pools = []
    for rule, names in layers.items():
        pattern = find_pattern(rule.pattern)
        pattern.check(rule.sparsity, rule=rule.key)
        own_shapes = {name: shapes[name] for name in names}
        sites = pattern.sites(own_shapes, heads=heads, rule=rule.key)
        initial = min(schedule.initial, rule.sparsity)
        own = replace(schedule, final=rule.sparsity, initial=initial)
        groups = [sites] if scope == "global" else [[site] for site in sites]
        pools += [Pool(tuple(group), own) for group in groups]
    return tuple(pools)


def keep_highest(scores: np.ndarray, zeros: int) -> np.ndarray:
    """Return which of the scores to keep, bool of their shape: all but the `zeros` lowest.

    The count is exact for any scores: among equal ones the lower flat index is kept. A threshold
    (as in TFMOT) prunes none or all of a tie, and on already sparse weights, where the tie is at
    zero, that can turn a 85 % sparse kernel dense.
    """
    flat = scores.ravel()
    kept = flat.size - zeros
    if zeros == 0:
        return np.ones(scores.shape, bool)
    # The kept-th highest score; all above it stay, of those equal to it the first ones.
    threshold = np.partition(flat, zeros)[zeros] if kept else np.inf
    keep = flat > threshold
    ties = np.flatnonzero(flat == threshold)
    keep[ties[: kept - int(keep.sum())]] = True
    return keep.reshape(scores.shape)


def asked_sparsity(pools: tuple[Pool, ...], steps: int) -> float:
    """Return the share of zeros that all pruned kernels should have after `steps` steps."""
    zeros = sum(
        pool.weights * zeros_of(pool.units, pool.schedule.asked(steps - 1)) / pool.units
        for pool in pools
    )
    return zeros / sum(pool.weights for pool in pools)
