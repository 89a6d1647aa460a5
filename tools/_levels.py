"""Flags that tools for per-layer sparsity share."""

from collections.abc import Sequence

from tf_prune_ofa.errors import UserError


def read_levels(texts: Sequence[str]) -> list[float]:
    """Return the sparsities that --levels names, ascending, with 0 among them."""
    try:
        found = sorted({float(text) for text in texts} | {0.0})
    except ValueError as error:
        raise UserError(f"--levels must be numbers such as 0.5,0.9, got {texts}") from error
    if not all(0 <= sparsity < 1 for sparsity in found):
        raise UserError(f"--levels must be in [0, 1), got {texts}")
    return found


def read_rules(texts: Sequence[str]) -> dict[str, str]:
    """Return the pattern of each --rule, written as layers=pattern."""
    rules = {}
    for text in texts:
        rule, equals, pattern = text.rpartition("=")
        if not equals or not rule or not pattern:
            raise UserError(
                f"--rule={text}: write layers=pattern, such as encoder_.*/ffn/.*=neurons"
            )
        rules[rule] = pattern
    return rules
