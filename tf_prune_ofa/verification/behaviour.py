"""Whether a file computes what its model does: figures, and the limits that they must keep.

That the numbers in a file are right is checked exactly elsewhere. What is left to find here is a
model that INT8 does not suit, a runtime that computes something else, and a structure that only
looks right; so the limits are far above rounding, and far below a wrong result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Limits:
    """How far a file's outputs may be from its model's.

    Attributes:
        of_spread: share of the standard deviation of the model's outputs,
        of_size: and share of their root mean square: together the largest root mean square of the
            differences.
        agreement: smallest share of examples with the same answer, or correlation of numbers; one
            example may differ always, and more where the model itself is undecided (`blur`).
    """

    of_spread: float
    of_size: float
    agreement: float


FLOAT = Limits(of_spread=1e-3, of_size=1e-5, agreement=0.99)
INT8 = Limits(of_spread=0.25, of_size=0.02, agreement=0.9)
# Least agreement of a model that says little of its examples.
_UNTRAINED = 0.75


def limits_of(variant: str) -> Limits:
    """Return the limits of a variant."""
    return FLOAT if variant == "float32" else INT8


def relative_difference(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Return the root mean square of the differences, divided by the reference's spread.

    Args:
        outputs: all that count, of any shape.
        reference: of the same shape; its spread is its standard deviation.
    """
    return _rms(outputs.astype(np.float64) - reference) / _spread(reference)


def allowed_difference(reference: np.ndarray, limits: Limits) -> float:
    """Return the largest `relative_difference` that the limits allow, given a model's outputs."""
    return limits.of_spread + limits.of_size * _rms(reference) / _spread(reference)


def blur(reference: np.ndarray, is_real: np.ndarray, limits: Limits) -> np.ndarray:
    """Return a model's outputs with random differences, of the largest size that is allowed.

    What one reads from these is what the limits of size allow to be read. A model that was hardly
    trained gives nearly the same numbers for all examples, and nearly the same to all classes:
    differences that are small by every measure change many of its answers.

    Args:
        reference: outputs of the model, of any shape.
        is_real: of that shape; the others are left as they are.
        limits: to keep.
    """
    size = allowed_difference(reference[is_real], limits) * _spread(reference[is_real])
    noise = np.random.default_rng(0).normal(0, size, reference.shape)
    return np.where(is_real, reference + noise, reference)


def least_agreement(
    limits: Limits, agreement: Mapping[str, float], blurred: Mapping[str, float]
) -> dict[str, float]:
    """Return the least of each agreement that passes: the limit's, or that of `blur` if it is less.

    Args:
        limits: to keep.
        agreement: of the file with its model, by name.
        blurred: of the model's own blurred outputs with it, by name.
    """
    return {name: min(limits.agreement, blurred.get(name, 1.0)) for name in agreement}


def describe_undecided(limits: Limits, least: Mapping[str, float]) -> str:
    """Return a sentence on a model that was judged by less than the limit; "" for others."""
    found = [f"{name.replace('_', ' ')} by {least[name]:.2f}" for name in least
             if least[name] < limits.agreement]  # fmt: skip
    if not found:
        return ""
    return (
        f"judged {', '.join(found)} rather than {limits.agreement:g}: differences within the "
        "limits can change so many of this model's answers"
        + (". Is it trained?" if min(least.values()) < _UNTRAINED else "")
    )


def find_problems(
    relative: float,
    agreement: Mapping[str, float],
    reference: np.ndarray,
    limits: Limits,
    *,
    count: int,
    least: Mapping[str, float] | None = None,
) -> list[str]:
    """Return which limits a file breaks.

    Args:
        relative: from `relative_difference`.
        agreement: of what one reads from the outputs, by name (`tasks.kind.Kind.agreement`).
        reference: outputs of the model.
        limits: to keep.
        count: examples that an agreement is over.
        least: from `least_agreement`; the limit for all if None.
    """
    problems = []
    allowed = allowed_difference(reference, limits)
    if not relative <= allowed:
        problems.append(
            f"its outputs differ from the model's by {relative:.3g} of their spread (root mean "
            f"square); allowed is {allowed:.3g}"
        )
    for name, share in agreement.items():
        needed = (least or {}).get(name, limits.agreement)
        if not (1 - share) * count <= max(1, (1 - needed) * count):
            problems.append(
                f"its {name.replace('_', ' ')} with the model is {share:.3f} on {count} examples; "
                f"at least {needed:.3g} is needed"
            )
    return problems


def _spread(values: np.ndarray) -> float:
    return max(float(np.std(values, dtype=np.float64)), float(np.finfo(np.float32).tiny))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
