"""Verification: whether the exported files are what their model and their manifest say.

The numbers of every file are compared with the model's exactly, and what it computes on held-out
examples with Keras: static INT8 files with the model that emulates INT8, the others with the float
model. A file that does not pass fails the stage, after verify.json has said why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from tf_prune_ofa import paths
from tf_prune_ofa.config import ExportSettings, VerifySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.cards import refresh_cards
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.file_outputs import compare_to_dense, compare_to_keras, file_logits
from tf_prune_ofa.jobs.file_words import FileWords, find_words
from tf_prune_ofa.jobs.references import (
    examples,
    keras_logits,
    reference_logits,
    reference_models,
)
from tf_prune_ofa.jobs.task_models import pruned_masks, task_model, word_table
from tf_prune_ofa.json_files import read_json_object, write_json
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.lock import assert_same_zeros
from tf_prune_ofa.quant.activations import Activations, of_folder
from tf_prune_ofa.text.opening import tokenizer_of
from tf_prune_ofa.text.vocabulary import find_vocab
from tf_prune_ofa.verification import files, layers, running
from tf_prune_ofa.verification.expected import Expected, expect
from tf_prune_ofa.verification.manifest import find_folder_problems, read_manifest
from tf_prune_ofa.verification.tokenizer import pieces_of


def run(settings: VerifySettings, context: Context) -> dict[str, Any]:
    """Check all files of an export stage; write verify.json; return what it says of the files.

    Raises:
        UserError: a file does not pass.
    """
    checked = verify(
        context, settings.start, examples_limit=settings.examples, threads=settings.threads
    )
    path = context.folder / paths.VERIFICATION
    write_json(path, checked)
    refresh_cards(context)
    require_pass(checked, where=f"; {path} has all of it")
    return {entry["variant"]: entry for entry in checked["files"]}


def require_pass(checked: dict[str, Any], *, where: str = "") -> None:
    """Raise a UserError that names each problem, if there is one.

    Args:
        checked: from `verify`.
        where: what to say of where the rest is.
    """
    problems = [*checked["problems"]]
    for entry in checked["files"]:
        shown = entry["problems"][:3]
        problems += [f"{entry['file']}: {text}" for text in shown]
        if len(entry["problems"]) > len(shown):
            problems.append(f"{entry['file']}: and {len(entry['problems']) - len(shown)} more")
    if problems:
        failed = [entry["file"] for entry in checked["files"] if entry["problems"]]
        raise UserError(
            f"verification failed for {', '.join(failed) or 'the folder of the files'}{where}:\n  "
            + "\n  ".join(problems)
            + "\nExport the model again; where a fresh file fails, leave its variant out."
        )


def verify(context: Context, start: str, *, examples_limit: int, threads: int) -> dict[str, Any]:
    """Check all files of an export stage.

    Args:
        context: has the results of that stage and of those before it.
        start: name of the export stage.
        examples_limit: held-out examples to compare on; 0 means all.
        threads: how many examples run at a time, each in one thread.

    Returns:
        `verdict` ("pass" or "fail"), `problems` of the folder; `files`: for each file its own
        `verdict`, `problems` and `limits`, its scores and how it differs from Keras; `layers`:
        differences of the static file's INT8 layers, worst first.

    Raises:
        UserError: there is no manifest, or the model itself breaks the sparsity pattern.
    """
    export, settings = context.results[start], cast(ExportSettings, context.recipe.stages[start])
    made_from = context.results[export.start]
    manifest = read_manifest(export.folder)
    model = task_model(made_from.model_folder)
    masks = pruned_masks(context, export.start)
    if masks:
        where = f"the model in {made_from.model_folder}"
        assert_same_zeros(dense_kernels(model), masks, where=where)
    paths_there = [export.folder / entry["file"] for entry in manifest["files"]]
    words = find_words(
        context,
        settings,
        made_from.model_folder,
        word_table(model),
        [path for path in paths_there if path.is_file()],
    )
    expected = _expected(context, made_from, model, settings, words)
    problems = words.problems + find_folder_problems(
        export.folder,
        manifest,
        variants=settings.variants,
        sequence_length=settings.sequence_length,
        digests={v: f["sha256"] for v, f in export.figures.items() if "sha256" in f},
    )
    entries = []
    for entry in manifest["files"]:
        found, zeros = [f"there is no such file in {export.folder}"], None
        path = export.folder / entry["file"]
        if path.is_file():
            content = path.read_bytes()
            found = files.find_entry_problems(content, entry)
            found += files.find_problems(content, entry["variant"], expected)
            shapes = {name: (mask.shape[0], mask.shape[1]) for name, mask in masks.items()}
            zeros = None if found else files.count_sparsity(content, shapes)
        checked = {"file": entry["file"], "variant": entry["variant"], "problems": found}
        entries.append(checked | ({} if zeros is None else {"zeros_in_pruned_layers": zeros}))
    rows = _run_files(
        context, export, made_from, model, entries, expected, words, examples_limit, threads
    )
    for checked in entries:
        checked["verdict"] = "fail" if checked["problems"] else "pass"
    has_failed = problems or any(checked["problems"] for checked in entries)
    return {
        "verdict": "fail" if has_failed else "pass",
        "problems": problems,
        **({"words": words.figures} if words.figures else {}),
        "files": entries,
        "layers": rows,
    }


def _vocabulary(folder: Path) -> tuple[list[str], dict[str, Any] | None]:
    """Return a model's pieces, and its tokenizer.json where that is not of WordPiece."""
    tokenizer = tokenizer_of(folder)
    if tokenizer.kind == "WordPiece":
        return tokenizer.pieces, None
    content = read_json_object(find_vocab(folder))
    return pieces_of(content), content


def _expected(
    context: Context,
    made_from: StageResult,
    model: keras.Model,
    settings: ExportSettings,
    words: FileWords,
) -> Expected:
    activations = of_folder(made_from.folder) or Activations({})
    recipe_inputs = context.recipe_inputs
    pieces, tokenizer = _vocabulary(made_from.model_folder)
    said = recipe_inputs.kind.text_settings(**recipe_inputs.tokenizer_settings)
    return expect(
        model,
        activations.ranges,
        activations.outlier_scales,
        sequence_length=settings.sequence_length,
        vocabulary=pieces if tokenizer else words.tokenizer.pieces,
        tokenizer=tokenizer,
        labels=huggingface.read_labels(made_from.model_folder),
        settings=json.loads(said.for_length(settings.sequence_length).to_json()),
        kept=words.kept,
        int4_words=settings.words == "int4",
        shared=words.shared,
    )


def _run_files(
    context: Context,
    export: StageResult,
    made_from: StageResult,
    model: keras.Model,
    entries: list[dict[str, Any]],
    expected: Expected,
    words: FileWords,
    examples_limit: int,
    threads: int,
) -> list[dict[str, Any]]:
    """Run the files that have no problem so far; add figures and problems to their entries.

    Returns:
        Differences by layer, of the dense static file.
    """
    sound = [checked for checked in entries if not checked["problems"]]
    if not sound:
        return []
    kind = context.recipe_inputs.kind
    inputs, split = examples(context, words.tokenizer, expected.sequence_length, examples_limit)
    if words.kept is not None or words.shared is not None:
        all_words, same = examples(context, words.whole, expected.sequence_length, examples_limit)
        score = kind.score(keras_logits(kind, model, all_words), same)
        words.figures.update({f"keras_{key}_with_all_words": value for key, value in score.items()})
    if words.kept is not None:
        model = task_model(made_from.model_folder, kept=words.kept)
    forms = {files.FORMS[checked["variant"]] for checked in sound}
    references = reference_models(
        context,
        made_from,
        model,
        forms,
        int4_words=expected.int4_words,
        shared=words.shared,
    )
    wanted = reference_logits(kind, references, inputs)
    probed = running.with_probes(inputs, len(expected.vocabulary))
    outputs = {}
    for checked in sound:
        variant = checked["variant"]
        outputs[variant] = running.run_file(export.folder / checked["file"], probed, threads)
        logits = file_logits(kind, outputs[variant], inputs["input_mask"])
        reference = wanted[files.FORMS[variant]]
        compare_to_keras(kind, checked, logits, reference, split, expected)
    compare_to_dense(entries, outputs)
    dense = [checked for checked in sound if checked["variant"] == files.DENSE]
    if not dense:
        return []
    path = export.folder / dense[0]["file"]
    return layers.differences(path, references["static"], inputs, expected)
