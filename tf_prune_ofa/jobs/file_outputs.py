"""What files compute: how far it is from Keras, and whether files that should be equal are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tf_prune_ofa.tasks.kind import Examples, Kind
from tf_prune_ofa.train.evaluate import NOWHERE
from tf_prune_ofa.verification import behaviour, files, running
from tf_prune_ofa.verification.expected import Expected


def compare_to_keras(
    kind: Kind,
    checked: dict[str, Any],
    logits: np.ndarray,
    reference: np.ndarray,
    split: Examples,
    expected: Expected,
) -> None:
    """Add to a file's entry its scores, how far it is from the model, and what is too far."""
    limits, is_real = behaviour.limits_of(checked["variant"]), reference > NOWHERE
    checked |= {"examples": kind.count(split), "limits": asdict(limits)}
    if not np.all(np.isfinite(logits[is_real])):
        checked["problems"].append("its outputs are not all numbers (NaN or infinite)")
        return
    relative = behaviour.relative_difference(logits[is_real], reference[is_real])
    agreement = kind.agreement(logits, reference, split)
    blurred = kind.agreement(behaviour.blur(reference, is_real, limits), reference, split)
    least = behaviour.least_agreement(limits, agreement, blurred)
    if note := behaviour.describe_undecided(limits, least):
        checked["note"] = note
        print(f"  {checked['file']}: {note}", flush=True)
    checked |= kind.score(logits, split)
    checked |= {f"keras_{key}": v for key, v in kind.score(reference, split).items()}
    checked |= kind.compare(logits, reference, split) | {
        "relative_difference": relative,
        "allowed_difference": behaviour.allowed_difference(reference[is_real], limits),
        "agreement": agreement,
        "least_agreement": least,
    }
    result = expected.dense[kind.layer].result if kind.layer else None
    if files.FORMS[checked["variant"]] == "static" and result is not None:
        step = float(result.scale)
        checked["max_logit_difference_steps"] = checked["max_logit_difference"] / step
    checked["problems"] += behaviour.find_problems(
        relative, agreement, reference[is_real], limits, count=kind.count(split), least=least
    )


def file_logits(kind: Kind, outputs: running.Outputs, mask: np.ndarray) -> np.ndarray:
    """Return the logits of the examples [N, S] that `mask` is of; there may be more behind them."""
    rows = (
        {name: value[index : index + 1] for name, value in outputs.items()}
        for index in range(len(mask))
    )
    return np.stack([kind.file_logits(row, one) for row, one in zip(rows, mask, strict=True)])


def compare_to_dense(entries: list[dict[str, Any]], outputs: dict[str, running.Outputs]) -> None:
    """Say of files that were made from dense_int8 whether they equal it, bit for bit.

    Args:
        entries: of the files, changed in place; one that differs gets a problem.
        outputs: [N, ...] by name, by variant, of those files that were run.
    """
    dense = outputs.get(files.DENSE)
    for entry in entries:
        variant = entry["variant"]
        if variant not in ("sparse_int8", files.BLOCKS) or variant not in outputs:
            continue
        if dense is not None:
            largest = running.largest_difference(dense, outputs[variant])
            entry["equals_dense_int8"] = largest == 0
            if largest:
                entry["problems"].append(
                    f"it differs from the dense_int8 file by up to {largest:g} in an output, where "
                    "every bit should be equal"
                )
        elif variant == files.BLOCKS:
            entry["problems"].append(
                "it can only be verified beside a sound dense_int8 file: add dense_int8 to the "
                "variants of the export stage"
            )
