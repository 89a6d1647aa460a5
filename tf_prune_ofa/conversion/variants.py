"""All files of one model, and a manifest that says what each of them is."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import files, json_files
from tf_prune_ofa.blocks import rewrite
from tf_prune_ofa.blocks.cost import DEFAULT_TABLE, CostTable
from tf_prune_ofa.blocks.dead_units import drop_dead_units
from tf_prune_ofa.blocks.rewrite import LayerChoice
from tf_prune_ofa.conversion import convert, int8, shared_rows
from tf_prune_ofa.conversion.int8 import Ranges
from tf_prune_ofa.conversion.shared_rows import SharedRows
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.paths import MANIFEST
from tf_prune_ofa.tflite import metadata, sparse
from tf_prune_ofa.tflite.dense_layers import layer_of_kernel
from tf_prune_ofa.tflite.graph import Graph
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.variants import STATIC_VARIANTS, USUAL_VARIANTS, VARIANTS

# Level 6 of 9: a tenth of the time of 9 on INT8 weights, for half a percent of the size.
_GZIP_LEVEL = 6
PART_NAMES = {"words": "embeddings/word/", "encoder": "encoder_"}
_FILE_NAME = re.compile(r"[a-z0-9_]+_s[0-9]+\.tflite")


def write_variants(
    model: keras.Model,
    ranges: Ranges | None,
    out_dir: str | os.PathLike[str],
    variants: Sequence[str] = USUAL_VARIANTS,
    *,
    vocab: Sequence[str] | Mapping[str, Any],
    labels: Sequence[str] | None = None,
    pruned_layers: Iterable[str] = (),
    outlier_scales: Mapping[str, np.ndarray] | None = None,
    costs: CostTable = DEFAULT_TABLE,
    text_settings: TextSettings | None = None,
    words: str = "int8",
    shared: SharedRows | None = None,
    on_file: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Write `<variant>_s<S>.tflite` for each variant, and manifest.json.

    Args:
        model: functional float32 model with fixed shapes [1, S]; pruned weights are 0.
        ranges: Keras layer name -> (min, max), from training or `calibrate.measure_ranges`; needed
            for `STATIC_VARIANTS`.
        out_dir: folder for the files; created if missing.
        variants: which of `VARIANTS` to write. block_sparse_int8 computes layers from their live
            blocks where the cost table says that this is faster, and stores the zeros of the others
            as sparse_int8 does; so without large blocks it is sparse_int8 by another name.
        vocab: word pieces, where the position is the id; or as `metadata.attach` takes it.
        labels: class names in the order of the logits, or None.
        pruned_layers: names of the Dense layers in masks.npz; the manifest sums up their bytes.
        outlier_scales: divisors [channels] of dense outputs in the static variants, by
            layer name; see `int8.dense_int8`.
        costs: of the machine that block_sparse_int8 is for.
        text_settings: case, accents and windows, for the classes that take raw text.
        words: "int8" or "int4", of the table of words in all variants but float32.
        shared: rows of that table which words share, in the same variants; None: each has its own.
        on_file: called with the name of each file before it is made, for progress.

    Returns:
        The manifest: `sequence_length`, `inputs`, `outputs`, `float_layers` (Dense layers that stay
        float32 in the static variants, with the reason), and `files`, a list of `variant`, `file`,
        `size_bytes`, `parts` (bytes of the `words`' table, the `encoder`'s constants and the
        `rest`), `gzip_bytes`, `sha256`, `layers` (stored bytes of each Dense kernel by name),
        `sparse_layers` (those stored without their zeros), `pruned_bytes` (the sum over
        `pruned_layers`) and, if there are such, `sparsity` (share of zeros, counted in them); of
        block_sparse_int8 also `blocks`: what became of each layer, by name: the size of its
        `block`, the `live` share of its blocks, or the `reason` why it has none.

    Raises:
        UserError: an unknown variant, missing ranges, a pruned layer that the model does not have,
            a model that cannot be converted, or a folder that cannot be written to.
    """
    _check(variants, ranges)
    layers = convert.keras_dense_layers(model)
    pruned = _known(pruned_layers, layers)
    out_dir = files.require_writable_dir(out_dir)
    float32 = convert.to_float32(model)
    graph = Graph(float32)
    inputs, outputs = graph.signature()
    sequence_length = graph.shape(inputs["input_word_ids"])[-1]
    short = shared_rows.share(float32, shared) if shared else float32
    dense_int8 = b""
    if ranges is not None and set(STATIC_VARIANTS) & set(variants):
        dense_int8 = int8.dense_int8(short, ranges, outlier_scales, words=words)
    weights = sum(layers[name].kernel.size for name in pruned)
    entries, contents = [], {}
    for variant in variants:
        name = f"{variant}_s{sequence_length}.tflite"
        on_file(name)
        source = float32 if variant == "float32" else short
        content, said = _make(variant, source, dense_int8, costs, words)
        contents[name] = content = metadata.attach(content, vocab, labels, text_settings)
        entries.append(
            {"variant": variant, "file": name} | _measure(content, pruned, weights) | said
        )
    manifest = {
        "sequence_length": sequence_length,
        # Of a written file: metadata gives DistilBERT's files a third input.
        "inputs": list(Graph(content).signature()[0]),
        "outputs": list(outputs),
        "float_layers": int8.float_layers(float32, ranges or {}),
        "files": entries,
    }
    _replace(out_dir, contents)
    json_files.write_json(out_dir / MANIFEST, manifest)
    return manifest


def _replace(out_dir: Path, contents: Mapping[str, bytes]) -> None:
    """Write files in place of those of an earlier export, or of one that was killed.

    The old manifest goes first: whenever this is killed, no manifest names files that are not its
    own.
    """
    files.remove_leftovers(out_dir)
    for old in _files_of(out_dir / MANIFEST) - set(contents):
        (out_dir / old).unlink(missing_ok=True)
    (out_dir / MANIFEST).unlink(missing_ok=True)
    for name, content in contents.items():
        files.write_bytes(out_dir / name, content)


def _files_of(manifest: Path) -> set[str]:
    """Return the files beside a manifest that it names; none if it is missing or damaged."""
    try:
        names = {entry["file"] for entry in json.loads(manifest.read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if isinstance(name, str) and _FILE_NAME.fullmatch(name)}


def _make(
    variant: str, source: bytes, dense_int8: bytes, costs: CostTable, words: str
) -> tuple[bytes, dict[str, Any]]:
    """Return a variant's file, and what there is to say of it in the manifest.

    Args:
        variant: which.
        source: the float file that it is made from.
        dense_int8: that variant, for those that are made from it.
        costs: as of `write_variants`; so are `words`.
        words: bits of the table.
    """
    if variant == "float32":
        return source, {}
    if variant == "dynamic_int8":
        return int8.dynamic_int8(source, words=words), {}
    if variant == "dense_int4":
        return int8.dynamic_int8(drop_dead_units(source), words=words, int4=True), {}
    if variant == "dense_int8":
        return dense_int8, {}
    if variant == "sparse_int8":
        return sparse.sparse_int8(dense_int8), {}
    content, choices = rewrite.block_sparse(dense_int8, table=costs, compact=True)
    return content, {"blocks": {_layer(choice.name): _chosen(choice) for choice in choices}}


def _layer(kernel_name: str) -> str:
    return layer_of_kernel(kernel_name) or kernel_name


def _chosen(choice: LayerChoice) -> dict[str, Any]:
    if choice.block is None:
        return {"reason": choice.reason}
    return {"block": str(choice.block), "live": round(choice.live, 4)}


def _check(variants: Sequence[str], ranges: Ranges | None) -> None:
    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown or not variants:
        raise UserError(
            f"{', '.join(unknown) or 'nothing'} is no variant; choose from {', '.join(VARIANTS)}."
        )
    static = [variant for variant in variants if variant in STATIC_VARIANTS]
    if static and not ranges:
        raise UserError(
            f"{' and '.join(static)} need activation ranges. Run the quantize stage first, or "
            "measure them on examples (post-training)."
        )


def _known(pruned_layers: Iterable[str], layers: Iterable[str]) -> list[str]:
    pruned, known = list(pruned_layers), set(layers)
    missing = [name for name in pruned if name not in known]
    if missing:
        raise UserError(
            f"masks name layers that the model does not have: {', '.join(missing)}. Give the masks "
            "of this model."
        )
    return pruned


def _measure(content: bytes, pruned: list[str], weights: int) -> dict[str, Any]:
    stored = sparse.stored_layers(content)
    live = _live_weights(content, pruned)
    counted = {"sparsity": 1 - live / weights} if pruned else {}
    return counted | {
        "size_bytes": len(content),
        "parts": _parts(content),
        "gzip_bytes": len(gzip.compress(content, _GZIP_LEVEL, mtime=0)),
        "sha256": hashlib.sha256(content).hexdigest(),
        "layers": {name: size for name, (size, _) in stored.items()},
        "sparse_layers": [name for name, (_, is_sparse) in stored.items() if is_sparse],
        "pruned_bytes": sum(stored[name][0] for name in pruned),
    }


def _parts(content: bytes) -> dict[str, int]:
    """Return the bytes of the table of words, of the encoder's constants, and of all the rest."""
    graph = Graph(content)
    parts = dict.fromkeys(PART_NAMES, 0)
    seen = set()
    for tensor, entry in enumerate(graph.tensors):
        # One constant may have several names.
        if not graph.is_constant(tensor) or entry.buffer in seen:
            continue
        seen.add(entry.buffer)
        for part, prefix in PART_NAMES.items():
            if graph.name(tensor).startswith(prefix):
                parts[part] += graph.stored_bytes(tensor)
    return parts | {"rest": len(content) - sum(parts.values())}


def _live_weights(content: bytes, layers: list[str]) -> int:
    """Return how many weights of some layers are not 0 in a file."""
    graph = Graph(content)
    live = 0
    for tensor in range(len(graph.tensors)):
        if layer_of_kernel(graph.name(tensor)) in layers and graph.is_constant(tensor):
            live += int(np.count_nonzero(graph.values(tensor)))
    return live
