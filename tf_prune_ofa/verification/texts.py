"""Whether a file answers as its model does on texts that nobody has labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.verification import behaviour

Outputs = Mapping[str, np.ndarray]

_SHOWN_TEXTS = 3
_SHOWN_CHARACTERS = 60
_SHOWN_NUMBERS = 4


@dataclass(frozen=True)
class Comparison:
    """How far a file's outputs are from its model's.

    Attributes:
        relative: root mean square of the differences by the spread of the model's outputs; infinite
            where an output is no number.
        agreement: of what one reads from the outputs, by name.
        problems: which limits of INT8 that breaks, a sentence each.
        by_text: [N], root mean square of the differences of each text.
    """

    relative: float
    agreement: dict[str, float]
    problems: list[str]
    by_text: np.ndarray


def compare(
    outputs: Outputs,
    reference: Outputs,
    mask: np.ndarray,
    *,
    by_token: bool,
    measure: Callable[[Outputs, Outputs, np.ndarray], dict[str, float]],
) -> Comparison:
    """Compare a file's outputs on texts with its model's.

    Args:
        outputs: by name, [N, ...].
        reference: of the model.
        mask: [N, S], 1 for tokens and 0 for padding.
        by_token: whether outputs are [N, S, ...], so that those of padding mean nothing.
        measure: of outputs, reference and mask: how far what one reads from them is the same, by
            name (`tasks.kind.Kind.text_agreement`).
    """
    ours, theirs, is_real = _numbers(outputs, reference, mask, by_token=by_token)
    by_text = np.sqrt(np.mean(np.square(ours - theirs, dtype=np.float64), axis=1, where=is_real))
    if not np.all(np.isfinite(ours[is_real])):
        problem = "its outputs are not all numbers (NaN or infinite)"
        return Comparison(float("inf"), {}, [problem], np.nan_to_num(by_text, nan=np.inf))
    relative = behaviour.relative_difference(ours[is_real], theirs[is_real])
    agreement, limits = measure(outputs, reference, mask), behaviour.INT8
    blurred = {
        name: behaviour.blur(value, _is_real(value, mask, by_token=by_token), limits)
        for name, value in reference.items()
    }
    least = behaviour.least_agreement(limits, agreement, measure(blurred, reference, mask))
    problems = behaviour.find_problems(
        relative, agreement, theirs[is_real], limits, count=len(mask), least=least
    )
    if note := behaviour.describe_undecided(limits, least):
        problems = [f"{problem} ({note})" for problem in problems]
    return Comparison(relative, agreement, problems, by_text)


def worst(
    comparison: Comparison, texts: Sequence[str], outputs: Outputs, reference: Outputs
) -> list[str]:
    """Return the texts that differ most, a line each with the outputs of both.

    Args:
        comparison: of `outputs` with `reference`.
        texts: N of them.
        outputs: by name, [N, ...].
        reference: of the model.
    """
    lines = []
    for index in np.argsort(-comparison.by_text, kind="stable")[:_SHOWN_TEXTS]:
        text = texts[index]
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
        both = (_show(one, index) for one in (reference, outputs))
        lines.append(f"{shown!r}: {' became '.join(both)}")
    return lines


def _numbers(
    outputs: Outputs, reference: Outputs, mask: np.ndarray, *, by_token: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all outputs, those of the model, and which of them count, [N, numbers] each."""
    count = len(mask)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for name, value in reference.items():
        is_real = _is_real(value, mask, by_token=by_token)
        for part, one in zip(parts, (outputs[name], value, is_real), strict=True):
            part.append(one.reshape(count, -1))
    ours, theirs, counts = (np.concatenate(part, axis=1) for part in parts)
    return ours, theirs, counts


def _is_real(value: np.ndarray, mask: np.ndarray, *, by_token: bool) -> np.ndarray:
    """Return which numbers of an output count, of its shape."""
    if not by_token:
        return np.ones(value.shape, bool)
    real = (mask > 0).reshape(mask.shape + (1,) * (value.ndim - 2))
    return np.broadcast_to(real, value.shape)


def _show(outputs: Outputs, index: int) -> str:
    numbers = np.concatenate([value[index].reshape(-1) for value in outputs.values()])
    shown = ", ".join(f"{number:.3g}" for number in numbers[:_SHOWN_NUMBERS])
    return f"[{shown}, ...]" if len(numbers) > _SHOWN_NUMBERS else f"[{shown}]"
