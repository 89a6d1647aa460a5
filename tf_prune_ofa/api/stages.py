"""One function a stage: settings and inputs in, a result out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.api.cards import write_files_card
from tf_prune_ofa.api.chain import Start, add, begin, kind_of, trained
from tf_prune_ofa.api.results import Exported, Files, Model
from tf_prune_ofa.api.task import Task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import require_writable_dir
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.report.card import require_own_card

Length = int | str | None


def finetune(
    start: Start, task: Task, *, epochs: float = 3, run_dir: str | Path | None = None,
    seed: int = 0, **settings: Any,
) -> Model:  # fmt: skip
    """Train a dense model on a task.

    Args:
        start: the encoder: a name ("minilm_l6"), a Hugging Face folder, an `hf://` handle, or a
            model from here.
        task: what to learn.
        epochs: passes over the training examples; or give `length="600 steps"`.
        run_dir: where the stages' folders go, so that the same call finds its result again and a
            killed one resumes; a temporary folder if None.
        seed: of the order of examples, of dropout and of new weights.
        **settings: of the stage, see `config.TrainSettings`.

    Raises:
        UserError: a mistake in model, task or settings.
    """
    chain, name = begin(start, task, run_dir, seed)
    settings = {"length": f"{epochs} epochs", "learning_rate": 1e-4, **settings}
    return trained(chain, "finetune", name, settings)


def reconstruct(
    start: Start, task: Task, *, sparsity: float | None = None, run_dir: str | Path | None = None,
    seed: int = 0, **settings: Any,
) -> Model:  # fmt: skip
    """Prune a fine-tuned model without training, layer by layer by least squares, in minutes.

    Args:
        start: the model, fine-tuned on the task.
        task: its texts are the examples; with labels the layers share the sparsity by what they
            matter to the loss.
        sparsity: share of zeros in the encoder's dense layers, in (0, 1); None is 0.9.
        run_dir: see `finetune`; that of `start` if None.
        seed: see `finetune`.
        **settings: of the stage, see `config.ReconstructSettings`; `rules` in place of `sparsity`,
            or `pattern_of` a sparse encoder that takes over the model's task.

    Raises:
        UserError: a mistake in model, task or settings.
    """
    defaults: dict[str, Any] = {}
    if not settings.get("pattern_of"):
        share = 0.9 if sparsity is None else sparsity
        defaults = {"rules": {"encoder_.*": share}, "scope": "global"}
    elif sparsity is not None:
        raise UserError(
            f"sparsity is {sparsity}, but the pattern is that of {settings['pattern_of']!r}, "
            "whatever its sparsity; leave one of sparsity and pattern_of out"
        )
    chain, name = begin(start, task, run_dir, seed)
    return trained(chain, "reconstruct", name, {**defaults, **settings})


def prune(
    start: Start, task: Task, *, teacher: Model | str | None = None, sparsity: float = 0.9,
    steps: int = 1000, run_dir: str | Path | None = None, seed: int = 0, **settings: Any,
) -> Model:  # fmt: skip
    """Prune gradually while training; on the task, or with `objective="mlm"` on its texts.

    Args:
        start: the encoder, or a model from here.
        task: what to learn.
        teacher: to distil from; None for labels only.
        sparsity: share of zeros in the encoder's dense layers at the end, in (0, 1).
        steps: of training.
        run_dir: see `finetune`; that of `start` if None.
        seed: see `finetune`.
        **settings: of the stage, see `config.PruneSettings`; `sparsity_schedule` for the section
            that recipes call `sparsity`.

    Raises:
        UserError: a mistake in model, task or settings.
    """
    chain, name = begin(start, task, run_dir, seed)
    schedule = {"rules": {"encoder_.*": sparsity}, **settings.pop("sparsity_schedule", {})}
    settings = {"length": steps, "learning_rate": 3e-4, "sparsity": schedule, **settings}
    return trained(chain, "prune", name, settings, teacher)


def transfer(
    start: Start, task: Task, *, teacher: Model | str | None = None, steps: int = 600,
    run_dir: str | Path | None = None, seed: int = 0, **settings: Any,
) -> Model:  # fmt: skip
    """Fine-tune a sparse model on a task with its sparsity pattern locked.

    Args:
        start: a pruned model from here, or a sparse encoder by name or folder.
        task: what to learn.
        teacher: a dense model of the task to distil from; None for labels only.
        steps: of training.
        run_dir: see `finetune`; that of `start` if None.
        seed: see `finetune`.
        **settings: of the stage, see `config.TransferSettings`.

    Raises:
        UserError: a mistake in model, task or settings.
    """
    chain, name = begin(start, task, run_dir, seed)
    settings = {"length": steps, "learning_rate": 5e-4 if teacher else 5e-5, **settings}
    if isinstance(teacher, Model):
        # Where hidden states are those of the teacher, its head fits from the first step.
        settings = {"head": "teacher", **settings}
    return trained(chain, "transfer", name, settings, teacher)


def quantize(
    start: Model, task: Task, *, teacher: Model | str | None = None, steps: int = 100,
    run_dir: str | Path | None = None, seed: int = 0, **settings: Any,
) -> Model:  # fmt: skip
    """Train with emulated INT8, the sparsity pattern locked.

    Args:
        start: the task model, sparse or dense.
        task: what to learn.
        teacher: see `transfer`.
        steps: of training.
        run_dir: see `finetune`; that of `start` if None.
        seed: see `finetune`.
        **settings: of the stage, see `config.QuantizeSettings`.

    Raises:
        UserError: a mistake in model, task or settings.
    """
    chain, name = begin(start, task, run_dir, seed)
    settings = {"length": steps, "learning_rate": 1e-4 if teacher else 2e-5, **settings}
    return trained(chain, "quantize", name, settings, teacher)


def export(
    start: Model, out_dir: str | Path, *, sequence_length: int = 64,
    variants: Sequence[str] | None = None, vocabulary: str | Mapping[str, Any] = "all",
    words: str = "int8",
) -> Files:  # fmt: skip
    """Write the `.tflite` files of a model.

    Args:
        start: from `quantize` for static INT8 files; any model of a task for the others.
        out_dir: where they go, with their manifest and a model card (README.md); files of the same
            names are replaced, but for a README.md that is no such card.
        sequence_length: tokens that every file takes.
        variants: of `variants.VARIANTS`; None for all that the model has what is needed for.
        vocabulary: "all" word pieces, or those that the "task" uses; more in a mapping, as
            `config.VocabularySettings` has it: {"keep": "task", "texts": ["more.txt"]}.
        words: "int8" or "int4", of the table of words in all variants but float32.

    Raises:
        UserError: a variant that the model lacks the ranges for, a broken pattern, or a folder that
            cannot be written or has a README.md of its own.
    """
    out = require_writable_dir(out_dir)
    require_own_card(out)
    if variants is None:
        quantized = ["dense_int8", "sparse_int8"] if kind_of(start) == "quantize" else []
        variants = ["float32", "dynamic_int8", *quantized]
    kept = {"keep": vocabulary} if isinstance(vocabulary, str) else dict(vocabulary)
    settings = {
        "sequence_length": sequence_length,
        "variants": list(variants),
        "vocabulary": kept,
        "words": words,
    }
    chain, name = add(start.chain, "export", start.name, settings)
    folder = chain.results[name].folder
    # The manifest last: what it names is there. Its figures of an earlier export are not of these.
    for old in (paths.MANIFEST, paths.VERIFICATION, paths.BENCHMARK):
        (out / old).unlink(missing_ok=True)
    for sizes in chain.results[name].figures.values():
        shutil.copy2(folder / sizes["file"], out / sizes["file"])
    shutil.copy2(folder / paths.MANIFEST, out / paths.MANIFEST)
    files = Files(name, chain, out)
    write_files_card(files)
    return files


def verify(files: Files, *, examples: int = 0, threads: int = 1) -> dict[str, Any]:
    """Hold files against the model that they were made from; return what was found of each.

    Args:
        files: from `export`.
        examples: of the held-out ones to run; 0 means all.
        threads: how many examples run at a time, each in one thread.

    Raises:
        UserError: a file is not what its model says.
    """
    for path in files.paths.values():
        made = files.folder / path.name
        if not path.is_file() or path.read_bytes() != made.read_bytes():
            raise UserError(f"{path} is not the file that was exported; export it again")
    chain, name = add(files.chain, "verify", files.name, {"examples": examples, "threads": threads})
    shutil.copy2(chain.results[name].folder / paths.VERIFICATION, files.out_dir)
    write_files_card(files)
    return chain.results[name].figures


def benchmark(
    files: Files | Exported, *, threads: int = 1, runs: int = 100, reference: str = ""
) -> dict[str, Any]:
    """Time the files on this machine, in turns; return medians, and ratios to a reference.

    Args:
        files: from `export`, or from `open`.
        threads: of the runtime.
        runs: of each file.
        reference: variant that the others are compared with; dense_int8 if there is one.

    Raises:
        UserError: no such reference.
    """
    from tf_prune_ofa.bench.host import benchmark as run
    from tf_prune_ofa.bench.settings import BenchSettings
    from tf_prune_ofa.bench.show import describe

    found = files.paths
    reference = reference or ("dense_int8" if "dense_int8" in found else next(iter(found)))
    if reference not in found:
        raise UserError(f"reference is {reference!r}; the files are {', '.join(found)}")
    settings = BenchSettings(threads=threads, runs=runs)
    result = run(list(found.values()), settings, reference=found[reference])
    if isinstance(files, Files):
        write_json(files.out_dir / paths.BENCHMARK, result)
        write_files_card(files)
    print(describe(result))
    return result
