"""Verification: what the exported files hold and compute, against masks and Keras.

Static INT8 files are held against the model that emulates INT8 in Keras, the others against the
float model. A pruned weight that is not zero in a file is an error; everything else is a figure. A
file in blocks holds its integers in pieces, rearranged: of it, every logit must be that of the
dense file, bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.config import VerifySettings
from tf_prune_ofa.conversion.quantize import int8_layers
from tf_prune_ofa.conversion.variants import MANIFEST, STATIC_VARIANTS
from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.jobs.context import RANGES_FILE, Context
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import base_layer
from tf_prune_ofa.pruning.lock import Masks
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.stages.export import channel_factors, pattern, task_model
from tf_prune_ofa.tasks.kind import Examples, Kind

BLOCKS = "block_sparse_int8"
LAYER_EXAMPLES = 8  # whose inner tensors are compared; more would change little and cost seconds
KERAS_BATCH = 32
Inputs = dict[str, np.ndarray]


def run(settings: VerifySettings, context: Context) -> dict[str, Any]:
    """Check all files of an export stage; write verify.json; return what it says of the files."""
    checked = verify(
        context, settings.start, examples_limit=settings.examples, threads=settings.threads
    )
    write_json(context.folder / "verify.json", checked)
    return {entry["variant"]: entry for entry in checked["files"]}


def verify(context: Context, start: str, *, examples_limit: int, threads: int) -> dict[str, Any]:
    """Check all files of an export stage.

    Args:
        context: has the results of that stage and of those before it.
        start: name of the export stage.
        examples_limit: held-out examples to compare on; 0 means all.
        threads: of the runtime.

    Returns:
        `files`: for each file its scores and how it differs from Keras; `layers`: differences of
        the static file's INT8 layers, worst first.

    Raises:
        UserError: a pruned weight is not the integer 0 in a file, the file in blocks does not
            compute what the dense one does, or a file is damaged.
    """
    export = context.results[start]
    manifest = json.loads((export.folder / MANIFEST).read_text(encoding="utf-8"))
    kind, length = context.workspace.kind, manifest["sequence_length"]
    inputs, split = examples(context, length, examples_limit)
    masks = pattern(context, export.start)
    references = {"float": task_model(context.results[export.start].model_folder)}
    if any(entry["variant"] in STATIC_VARIANTS for entry in manifest["files"]):
        references["int8"] = emulated_model(context, export.start, references["float"])
    expected = {name: _keras_logits(kind, model, inputs) for name, model in references.items()}
    logits, entries, layers = {}, [], []
    for entry in manifest["files"]:
        path, variant = export.folder / entry["file"], entry["variant"]
        is_static = variant in STATIC_VARIANTS
        logits[variant] = file_logits(path, kind, inputs, threads)
        reference = expected["int8" if is_static else "float"]
        checked = {
            "file": entry["file"],
            "variant": variant,
            "examples": kind.count(split),
            **kind.score(logits[variant], split),
            **{f"keras_{key}": v for key, v in kind.score(reference, split).items()},
            **kind.compare(logits[variant], reference, split),
        }
        if is_static and variant != BLOCKS:
            content = path.read_bytes()
            step = int8_layers(content)[kind.layer].output_scale
            checked["max_logit_difference_steps"] = checked["max_logit_difference"] / step
            checked |= assert_integers(content, masks, path)
        if variant == "dense_int8":
            factors = channel_factors(context.results[export.start].folder)
            layers = layer_differences(path, references["int8"], inputs, factors)
        entries.append(checked)
    compare_to_dense(entries, logits)
    return {"files": entries, "layers": layers}


def compare_to_dense(entries: list[dict[str, Any]], logits: dict[str, np.ndarray]) -> None:
    """Say in the entries of files that were made from dense_int8 whether they equal it.

    Args:
        entries: of the files, changed in place.
        logits: [N, labels] by variant.

    Raises:
        UserError: the file in blocks differs, or there is no dense file to hold it against.
    """
    dense = logits.get("dense_int8")
    for entry in entries:
        variant = entry["variant"]
        if variant == BLOCKS and dense is None:
            raise UserError(
                f"{entry['file']} can only be verified beside dense_int8. Add dense_int8 to the "
                "variants of the export stage."
            )
        if variant in ("sparse_int8", BLOCKS) and dense is not None:
            entry["equals_dense_int8"] = bool(np.array_equal(dense, logits[variant]))
            if variant == BLOCKS and not entry["equals_dense_int8"]:
                largest = float(np.abs(dense - logits[variant]).max())
                raise UserError(
                    f"{entry['file']} differs from the dense_int8 file by up to {largest:g} in a "
                    "logit, where every bit should be equal. Leave block_sparse_int8 out of the "
                    "variants, and please report it."
                )


def examples(context: Context, length: int, limit: int) -> tuple[Inputs, Examples]:
    """Return inputs [N, S] of the dev split, padded to a file's sequence length, and the split."""
    workspace = context.workspace
    dev = workspace.task.dev.take(limit) if limit else workspace.task.dev
    split = workspace.encode(dev, length)
    has_types = workspace.encoder.architecture == "bert"
    inputs = model_inputs(
        split.tokens.ids,
        split.tokens.type_ids if has_types else None,
        max_length=length,
        multiple=length,
        pad_id=workspace.wordpiece.pad_id,
    )
    return inputs, split


def emulated_model(context: Context, start: str, weights: keras.Model) -> keras.Model:
    """Return the model that emulates INT8, with the ranges that the stage `start` learned."""
    config = context.workspace.encoder.without_dropout()
    head = context.workspace.kind.head
    float_layers = getattr(context.recipe.stages[start], "float_layers", ())
    saved = ranges.load_ranges(context.results[start].folder / RANGES_FILE)
    int8_attention = any(name.endswith("/scores") for name in saved)
    model = scheme.apply(config, head, weights, float_layers, int8_attention=int8_attention)
    ranges.assign_ranges(model, saved)
    ranges.assign_factors(model, channel_factors(context.results[start].folder))
    return model


def file_logits(path: Path, kind: Kind, inputs: Inputs, threads: int) -> np.ndarray:
    """Return the logits that a file computes, as real numbers; see `tasks.kind.Kind`."""
    interpreter = Interpreter(path, threads=threads)
    count = len(inputs["input_word_ids"])
    rows = []
    for index in tqdm(range(count), desc=path.name, unit="example", mininterval=1):
        type_ids = inputs["input_type_ids"][index] if "input_type_ids" in inputs else None
        outputs = interpreter.run(
            inputs["input_word_ids"][index], inputs["input_mask"][index], type_ids
        )
        rows.append(kind.file_logits(outputs, inputs["input_mask"][index]))
    return np.stack(rows)


def assert_integers(content: bytes, masks: Masks, path: Path) -> dict[str, Any]:
    """Check that every pruned weight is the integer 0 in the file; return the share of zeros.

    Raises:
        UserError: a pruned weight is not 0, or a pruned layer is not in the file as INT8.
    """
    stored = int8_layers(content)
    problems = []
    for name, mask in masks.items():
        if name not in stored:
            problems.append(f"{name}: not INT8 in the file")
            continue
        wrong = np.count_nonzero(stored[name].kernel.T[~mask])
        if wrong:
            problems.append(f"{name}: {wrong} pruned weights are not 0")
    if problems:
        raise UserError(f"{path} breaks the sparsity pattern:\n  " + "\n  ".join(problems[:10]))
    kernels = [stored[name].kernel for name in masks]
    if not kernels:
        return {}
    zeros = sum(kernel.size - np.count_nonzero(kernel) for kernel in kernels)
    return {"zeros_in_pruned_layers": zeros / sum(kernel.size for kernel in kernels)}


def layer_differences(
    path: Path, reference: keras.Model, inputs: Inputs, factors: ranges.Factors
) -> list[dict[str, Any]]:
    """Compare every INT8 layer's output in the file with Keras's, in INT8 steps, worst first.

    Differences add up from layer to layer: a value that Keras and the runtime round to different
    sides in an early layer moves everything behind it.
    """
    stored = int8_layers(path.read_bytes())
    layers = {base_layer(layer).name: layer.output for layer in reference.layers}
    model = keras.Model(reference.inputs, {name: layers[name] for name in stored})
    few = {name: value[:LAYER_EXAMPLES] for name, value in inputs.items()}
    expected = {name: value.numpy() for name, value in model(few, training=False).items()}
    interpreter = Interpreter(path, xnnpack=False, keep_tensors=True)
    steps: dict[str, list[np.ndarray]] = {name: [] for name in stored}
    for index, mask in enumerate(few["input_mask"]):
        type_ids = few["input_type_ids"][index] if "input_type_ids" in few else None
        interpreter.run(few["input_word_ids"][index], mask, type_ids)
        for name, layer in stored.items():
            step = layer.output_scale / layer.factor
            # The converter drops the batch axis of some tensors, so shapes differ and sizes do not.
            integers = interpreter.tensor(layer.output_tensor).astype(np.float64)
            integers = integers.reshape(expected[name][index].shape)
            values = (integers - layer.output_zero_point) * step
            wanted = expected[name][index] / factors.get(name, 1.0)
            difference = np.abs(values - wanted) / step
            is_sequence = difference.ndim == 2
            steps[name].append((difference[mask > 0] if is_sequence else difference).ravel())
    rows = []
    for name, parts in steps.items():
        all_steps = np.concatenate(parts)
        mean, largest = float(all_steps.mean()), float(all_steps.max())
        rows.append({"layer": name, "mean_steps": mean, "max_steps": largest})
    return sorted(rows, key=lambda row: -row["mean_steps"])


def _keras_logits(kind: Kind, model: keras.Model, inputs: Inputs) -> np.ndarray:
    count, length = inputs["input_word_ids"].shape
    batches = (
        {name: value[start : start + KERAS_BATCH] for name, value in inputs.items()}
        for start in range(0, count, KERAS_BATCH)
    )
    logits = kind.predict(model, batches, length=length)
    return kind.without_padding(logits, inputs["input_mask"])
