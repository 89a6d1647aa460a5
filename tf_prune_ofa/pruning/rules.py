"""From patterns in a recipe to layers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tf_prune_ofa.config import RuleSettings
from tf_prune_ofa.errors import UserError


def match_layers(patterns: Iterable[str], layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return for each pattern the layers whose whole name it matches (regular expressions).

    Raises:
        UserError: a pattern is no regular expression, or matches nothing. A rule that silently
            matches nothing is how a model ends up dense.
    """
    layers = list(layers)
    matches = {}
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise UserError(f"rule '{pattern}' is not a regular expression: {error}") from error
        matches[pattern] = tuple(name for name in layers if compiled.fullmatch(name))
        if not matches[pattern]:
            near = difflib.get_close_matches(pattern, layers, n=1, cutoff=0.0)
            raise UserError(
                f"rule '{pattern}' matches no layer. The nearest of {len(layers)} layers is "
                f"'{near[0] if near else '-'}'; a rule must match a layer's whole name"
            )
    return matches


@dataclass(frozen=True)
class Rule:
    """How the layers that a rule matches are pruned.

    Attributes:
        key: the rule as in the recipe.
        sparsity: final, in (0, 1).
        pattern: name of the pattern.
    """

    key: str
    sparsity: float
    pattern: str = "unstructured"


def layer_rules(
    rules: Mapping[str, float | RuleSettings], layers: Iterable[str], pattern: str = "unstructured"
) -> dict[str, Rule]:
    """Return the rule of each layer that is to be pruned.

    Args:
        rules: ordered (pattern of names -> sparsity, or sparsity and pattern); the last match wins,
            so a special case follows the general one; sparsity 0 keeps a layer dense.
        layers: names of all Dense layers.
        pattern: of rules that name none.

    Raises:
        UserError: see `match_layers`; also if a sparsity is not in [0, 1), or nothing is left to
            prune.
    """
    layers = list(layers)
    full = {}
    for key, value in rules.items():
        sparsity = value.sparsity if isinstance(value, RuleSettings) else value
        own_pattern = isinstance(value, RuleSettings) and value.pattern
        if not 0 <= sparsity < 1:
            raise UserError(f"rule '{key}': sparsity must be in [0, 1), got {sparsity}")
        full[key] = Rule(key, sparsity, own_pattern or pattern)
    found: dict[str, Rule] = {}
    for key, names in match_layers(rules, layers).items():
        found.update(dict.fromkeys(names, full[key]))
    pruned = {name: found[name] for name in layers if name in found and found[name].sparsity > 0}
    if not pruned:
        raise UserError(f"the rules {dict(rules)} leave no layer to prune")
    return pruned


def rules_of_kept(
    rules: Mapping[str, Rule],
    shapes: Mapping[str, tuple[int, ...]],
    before: Mapping[str, np.ndarray],
    scope: str,
) -> dict[str, Rule]:
    """Return the rules with shares of all weights, where they had shares of those that are kept.

    Args:
        rules: of each layer that is pruned.
        shapes: of kernels by layer name.
        before: masks of layers that are sparse already; others are whole.
        scope: "layer" for a share of each layer, "global" for one of all layers of a rule.
    """
    weights: dict[str, int] = {}
    kept: dict[str, int] = {}
    for name, rule in rules.items():
        group = rule.key if scope == "global" else name
        size = int(np.prod(shapes[name]))
        weights[group] = weights.get(group, 0) + size
        own = int(np.count_nonzero(before[name])) if name in before else size
        kept[group] = kept.get(group, 0) + own
    found = {}
    for name, rule in rules.items():
        group = rule.key if scope == "global" else name
        share = 1 - kept[group] / weights[group] * (1 - rule.sparsity)
        found[name] = replace(rule, sparsity=share)
    return found
