"""Whether other runtimes give the same answers to raw texts as a file's `TextClassifier` here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_prune_ofa.runtime.elsewhere import FileRun, make_python, run_file
from tf_prune_ofa.runtime.matrix import RUNTIMES
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.text_table import text_table


@dataclass(frozen=True)
class Agreement:
    """One other runtime's answers beside this one's.

    Attributes:
        runtime: its name and version.
        texts: how many there were.
        labels: how many have the same label.
        logit_difference: the largest difference of any logit.
        probability_difference: the largest difference of any class's probability.
        error: why the runtime did not take the file; "" where it did.
    """

    runtime: str
    texts: int
    labels: int = 0
    logit_difference: float = float("nan")
    probability_difference: float = float("nan")
    error: str = ""


def in_other_runtimes(
    classifier: TextClassifier, texts: Sequence[str], cache: str | os.PathLike[str]
) -> list[Agreement]:
    """Run a file in every runtime of `matrix.RUNTIMES`, on the tokens of its own tokenizer.

    Args:
        classifier: the open file; without a delegate, as the others run it.
        texts: raw texts.
        cache: folder for the virtual environments of the runtimes.

    Raises:
        UserError: one of the environments cannot be made.
    """
    ours, examples = np.stack(classifier.logits(texts)), inputs(classifier, texts)
    found = []
    for spec in RUNTIMES:
        python = make_python(Path(cache) / f"{spec.name}-{spec.version}", spec.requirements)
        run = run_file(python, classifier.path, examples, spec.name)
        found.append(of_run(spec.label, run, ours))
    return found


def inputs(classifier: TextClassifier, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what `classifier` gives its interpreter, by input, int32 [N, S]."""
    tokens = classifier.wordpiece.encode(texts, None, max_length=classifier.sequence_length)
    rows = [classifier.padded(*row) for row in zip(tokens.ids, tokens.type_ids, strict=True)]
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {
        name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def of_run(runtime: str, run: FileRun, ours: np.ndarray) -> Agreement:
    """Compare a run's logits, [N, 1, C], with ours, [N, C]."""
    if run.outputs is None:
        return Agreement(runtime, len(ours), error=run.error or "no outputs")
    return compare(runtime, run.outputs["logits"].reshape(ours.shape), ours)


def compare(runtime: str, theirs: np.ndarray, ours: np.ndarray) -> Agreement:
    """Compare logits, [N, C] each."""
    return Agreement(
        runtime,
        len(ours),
        labels=int(np.sum(theirs.argmax(1) == ours.argmax(1))),
        logit_difference=float(np.abs(theirs - ours).max()),
        probability_difference=float(np.abs(_softmax(theirs) - _softmax(ours)).max()),
    )


def describe(rows: Sequence[Agreement]) -> str:
    """Return a table for the console, and under it what a runtime that refuses the file said."""
    lines = [
        [row.runtime, "refuses the file", "", ""]
        if row.error
        else [
            row.runtime,
            f"{row.labels} of {row.texts}",
            f"{row.logit_difference:.2g}",
            f"{row.probability_difference:.2g}",
        ]
        for row in rows
    ]
    heads = ["runtime", "equal labels", "largest difference of a logit", "of a probability"]
    refusals = [f"{row.runtime}: {row.error}" for row in rows if row.error]
    return "\n".join([text_table(heads, lines, left=(0, 1)), *refusals])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
