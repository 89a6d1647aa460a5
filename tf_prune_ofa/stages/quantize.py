"""Quantization-aware training with the pattern locked.

Prune OFA, section 3 (step 4 of its pipeline), with per-channel weights, INT8 embeddings and ranges
that are frozen for the last part of training, which later work (oBERT) found to matter.
"""

from __future__ import annotations

import re
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import QuantizeSettings
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.patterns import sparsity_figures
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.models.checkpoint import digest_of
from tf_prune_ofa.pruning.lock import PatternLock, assert_same_zeros, assert_zeros, load_masks
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.quant.activations import Activations
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.train.callbacks import AtStep

FROZEN = 1.0  # momentum at which a moving average stands still


def run(settings: QuantizeSettings, context: Context) -> dict[str, Any]:
    """Train with emulated INT8; write weights and ranges; return figures."""
    job = TrainingJob(settings, context)
    # Dropout would widen the ranges beyond what inference ever sees.
    dense = job.load(settings.start, is_trained=False)
    path = context.masks_file(settings.start)
    masks = load_masks(path) if path else {}
    # Without masks zeros would be trained like any other weights, and be lost.
    where = f"the weights that '{context.name}' starts from"
    assert_same_zeros(dense_kernels(dense), masks, where=where)
    # With a single head the converter writes attention in a form that the export does not look for.
    has_heads = job.recipe_inputs.encoder.num_heads > 1
    int8_attention = settings.attention == "int8" and has_heads
    print_plan(scheme.plan(dense, settings.float_layers, int8_attention=int8_attention))

    config = job.recipe_inputs.encoder.without_dropout()
    student = scheme.apply(
        config,
        job.head,
        dense,
        settings.float_layers,
        int8_attention=int8_attention,
        hidden_states=settings.loss.needs_hidden_states,
        attention_scores=settings.loss.attention > 0,
    )
    examples = job.calibration_inputs(settings.calibration_batches)
    outlier_scales = ranges.outlier_scales_of(dense, examples)
    ranges.assign_outlier_scales(student, outlier_scales)
    ranges.calibrate(student, examples)
    ranges.set_momentum(student, settings.range_momentum)
    kernels = dense_kernels(student)
    job.fit(
        job.distiller(student, PatternLock(kernels, masks) if masks else None),
        callbacks=lambda start: [
            AtStep(
                job.steps(settings.freeze_ranges),
                lambda: ranges.set_momentum(student, FROZEN),
                start_step=start,
            )
        ],
        before_save=lambda where: assert_zeros(kernels, masks, where=where),
    )
    weights = digest_of(huggingface.read_weights(job.save(student)))
    activations = Activations(ranges.trained_ranges(student), outlier_scales, weights)
    activations.save(context.folder / paths.RANGES)
    figures = job.figures(student)
    return figures | (sparsity_figures(student, masks) if masks else {})


def print_plan(rows: list[scheme.PlannedLayer]) -> None:
    """Print what each layer becomes, or why it stays float; encoder layers that are alike once."""
    numbers = {name for name in map(_encoder_number, rows) if name}
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        number = _encoder_number(row)
        layer = row.layer.replace(number, "{}", 1) if number else row.layer
        alike.setdefault((layer, row.type, row.becomes, row.reason), []).append(number)
    cells = [
        [layer.format("*" if len(found) == len(numbers) else ",".join(found)), *rest]
        for (layer, *rest), found in alike.items()
    ]
    print(text_table(["layer", "type", "becomes", "how, or why not"], cells, left=range(4)))


def _encoder_number(row: scheme.PlannedLayer) -> str:
    """Return the digits of `encoder_05/...`; "" of a layer outside the encoder's."""
    found = re.match(r"encoder_(\d+)/", row.layer)
    return found[1] if found else ""
