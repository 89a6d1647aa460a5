"""Export: the `.tflite` files of a model, one for each variant, with a manifest."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.config import ExportSettings
from tf_prune_ofa.export.variants import write_variants
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.lock import Masks, assert_zeros, load_masks
from tf_prune_ofa.quant.ranges import load_ranges
from tf_prune_ofa.stages.context import RANGES_FILE, Context


def run(settings: ExportSettings, context: Context) -> dict[str, Any]:
    """Write the files; return the manifest's figures."""
    model = float_model(context, settings.start, sequence_length=settings.sequence_length)
    masks = pattern(context, settings.start)
    assert_zeros(dense_kernels(model), masks, where=f"the model of '{settings.start}'")
    ranges_file = context.results[settings.start].folder / RANGES_FILE
    manifest = write_variants(
        model,
        load_ranges(ranges_file) if ranges_file.exists() else None,
        context.folder,
        settings.variants,
        vocab=context.workspace.wordpiece.pieces,
        labels=context.workspace.task.labels or None,
        pruned_layers=masks,
        on_file=lambda name: print(f"  writing {name}", flush=True),
    )
    return {entry["variant"]: _sizes(entry) for entry in manifest["files"]}


def float_model(
    context: Context, start: str, *, sequence_length: int | None = None
) -> keras.Model:
    """Return a task model without dropout, with the weights of a stage.

    Args:
        context: has the stage's result.
        start: name of the stage.
        sequence_length: S of a model of fixed shapes [1, S], for conversion; None leaves them open.
    """
    config = huggingface.read_config(context.results[start].model_folder).without_dropout()
    model = bert.build_model(
        config,
        bert.Classification(context.workspace.num_labels),
        sequence_length=sequence_length,
        batch_size=None if sequence_length is None else 1,
    )
    huggingface.load_weights(model, context.results[start].model_folder)
    return model


def pattern(context: Context, start: str) -> Masks:
    """Return the masks of the weights of a stage; none if it was never pruned."""
    path = context.masks_file(start)
    return load_masks(path) if path else {}


def _sizes(entry: dict[str, Any]) -> dict[str, Any]:
    figures = {key: entry[key] for key in ("file", "size_bytes", "gzip_bytes", "pruned_bytes")}
    return figures | {"sparse_layers": len(entry["sparse_layers"])}

