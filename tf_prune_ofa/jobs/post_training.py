"""Static INT8 without training: ranges measured on texts, and a verdict before a file is written.

Nobody taught the model to bear rounding here, so nobody knows whether it does: the static file is
run beside the float file, and one that answers otherwise is refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_prune_ofa.conversion import calibrate, int8
from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.quant.activations import Activations
from tf_prune_ofa.quant.ranges import INPUTS, RESIDUAL, outlier_scales
from tf_prune_ofa.tasks.kind import Kind
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.verification import texts as verification
from tf_prune_ofa.verification.running import Inputs, Outputs, run_file

# One text, or a pair of texts, such as a question and what it is about.
Texts = Sequence[str] | Sequence[tuple[str, str]]

# Of texts to measure on, every fourth is kept to judge by, where that leaves enough for both.
_JUDGED_EVERY = 4
_FEW_TEXTS = 40
# More would tell nothing new.
_MOST_JUDGED = 200
# Share of a tensor's values that the range by percentiles holds.
_HELD = 0.9999


def activations_of(
    float32_file: bytes,
    texts: Texts,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    has_types: bool,
    int8_attention: bool,
    kind: type[Kind],
) -> Activations:
    """Return ranges measured on texts: those with which the static file is nearest to the float.

    Args:
        float32_file: from `convert.to_float32`.
        texts: or pairs, of the application; a few hundred are enough. From 40 on, every fourth is
            only judged by.
        tokenizer: of the model.
        sequence_length: S of the file.
        has_types: whether the file has an input for token types.
        int8_attention: whether the products inside attention are to be INT8, too.
        kind: of the model's task: says what its outputs mean.

    Raises:
        UserError: with all that was tried, the static file differs from the float file beyond
            `verification.behaviour.INT8`.
    """
    pairs = [text if isinstance(text, tuple) else (text, "") for text in texts]
    first, second = ([pair[part] for pair in pairs] for part in (0, 1))
    is_pair = bool(texts) and isinstance(texts[0], tuple)
    tokens = tokenizer.encode(first, second if is_pair else None, max_length=sequence_length)
    inputs = model_inputs(
        tokens.ids,
        tokens.type_ids if has_types else None,
        max_length=sequence_length,
        multiple=sequence_length,
        pad_id=tokenizer.pad_id,
    )
    judged = np.arange(len(texts))
    measured = judged
    if len(texts) >= _FEW_TEXTS:
        measured = np.delete(judged, np.s_[::_JUDGED_EVERY])
        judged = judged[::_JUDGED_EVERY]
    judged = judged[:_MOST_JUDGED]
    examples = [{name: value[index] for name, value in inputs.items()} for index in measured]
    tried = _candidates(float32_file, examples, scores=int8_attention)
    return _nearest(
        float32_file,
        tried,
        {name: value[judged] for name, value in inputs.items()},
        [" | ".join(filter(None, pairs[index])) for index in judged],
        f"{len(measured)} texts",
        kind,
    )


def _candidates(
    float32_file: bytes, examples: Sequence[Inputs], *, scores: bool
) -> dict[str, Activations]:
    """Return ranges by how they were chosen, all with the same outlier scales.

    "extremes" clip nothing, "percentiles" one value in ten thousand, and "least squares" what makes
    the mean square error of each tensor small. Which suit a model is seen in its answers.
    """
    extremes = calibrate.measure(float32_file, examples, scores=scores)
    scales = outlier_scales(extremes.largest(), (RESIDUAL, *INPUTS))
    widest = extremes.ranges(scales)
    found = calibrate.histograms(float32_file, examples, widest, scales, scores=scores)
    # Those that attention multiplies in INT8 have zero point 0 there.
    operands = {name for name in found if scores and name.endswith(("/key", "/value"))}
    chosen = {
        "extremes": widest,
        "percentiles": {name: one.percentiles(_HELD) for name, one in found.items()},
        "least squares": {
            name: one.least_squares(is_symmetric=name in operands) for name, one in found.items()
        },
    }
    return {name: Activations(ranges, scales) for name, ranges in chosen.items()}


def _nearest(
    float32_file: bytes,
    tried: dict[str, Activations],
    inputs: Inputs,
    texts: list[str],
    measured_on: str,
    kind: type[Kind],
) -> Activations:
    """Return the candidate whose file is nearest to the float file.

    Raises:
        UserError: that one is too far.
    """
    reference = _run("float32", float32_file, inputs)
    outputs, compared = {}, {}
    for name, activations in tried.items():
        file = int8.dense_int8(float32_file, activations.ranges, activations.outlier_scales)
        outputs[name] = _run(name, file, inputs)
        compared[name] = verification.compare(
            outputs[name],
            reference,
            inputs["input_mask"],
            by_token=kind.by_token,
            measure=kind.text_agreement,
        )
    best = min(compared, key=lambda name: (bool(compared[name].problems), compared[name].relative))
    found = compared[best]
    if found.problems:
        shown = verification.worst(found, texts, outputs[best], reference)
        raise UserError(
            f"static INT8 with ranges measured on {measured_on} is too far from the float model on "
            f"{len(texts)} texts: {'; '.join(found.problems)}. Most differ\n  "
            + "\n  ".join(shown)
            + f"\nOf {', '.join(tried)} the ranges by {best} are the nearest. Give more texts like "
            "those of the application, keep attention float (--attention=float), train a quantize "
            "stage and export with its ranges, or export dynamic_int8, which needs none. Nothing "
            "was written."
        )
    agreement = (f", {name.replace('_', ' ')} {one:.3f}" for name, one in found.agreement.items())
    print(
        f"  static INT8 on {len(texts)} texts: differs from the float model by "
        f"{found.relative:.3f} of the outputs' spread{''.join(agreement)} (ranges by {best}, on "
        f"{measured_on})",
        flush=True,
    )
    return tried[best]


def _run(name: str, content: bytes, inputs: Inputs) -> Outputs:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name.replace(' ', '_')}.tflite"
        path.write_bytes(content)
        return run_file(path, inputs, threads=1)
