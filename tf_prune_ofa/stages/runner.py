"""Runs a recipe: stage after stage, skipping what is done."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import importlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import OLD_KINDS, Recipe, StageSettings, plugins_of, references
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import (
    read_json,
    refuse_links,
    remove_leftovers,
    require_writable_dir,
    sha256_of,
    write_json,
)
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.left_files import digests, require_unchanged
from tf_prune_ofa.jobs.preflight import check_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.plain_values import digest, shown, to_dict
from tf_prune_ofa.pruning.plugins import plugin_file
from tf_prune_ofa.recipe import truncate
from tf_prune_ofa.tasks import reads_corpus
from tf_prune_ofa.train.fit import remove_checkpoints

PACKAGES = (
    "tf_prune_ofa",
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "numpy",
)


_RESULT_KEYS: dict[str, tuple[type, ...]] = {
    "stage": (str,),
    "kind": (str,),
    "figures": (dict,),
    "seconds": (int, float),
    "start": (str,),
}


def run_recipe(recipe: Recipe, run_dir: Path) -> dict[str, StageResult]:
    """Run all stages of a recipe; return their results by name.

    Args:
        recipe: what to run.
        run_dir: folder of the run; each stage gets `<number>_<name>-<digest>` in it.

    Raises:
        UserError: a mistake in recipe, data or environment, or another process uses the folder.
    """
    require_writable_dir(run_dir)
    recipe_inputs = RecipeInputs(recipe)
    results: dict[str, StageResult] = {}
    with only_process(run_dir):
        for name in recipe.stages:
            results[name] = run_stage(name, recipe, recipe_inputs, results, run_dir)
    return results


def run_stage(
    name: str,
    recipe: Recipe,
    recipe_inputs: RecipeInputs,
    results: dict[str, StageResult],
    run_dir: Path,
) -> StageResult:
    """Run a stage behind others, unless it is done already; return its result.

    Args:
        name: of the stage.
        recipe: has the stage, and those that `results` are of.
        recipe_inputs: of the recipe.
        results: of the stages before it, by name.
        run_dir: folder of the run, held with `only_process`.

    Raises:
        UserError: a mistake in recipe, data or environment.
    """
    settings = recipe.stages[name]
    number = list(recipe.stages).index(name) + 1
    title = f"[{number}/{len(recipe.stages)}] {name}"
    stage_digest = _stage_digest(settings, recipe_inputs, results)
    folder = _stage_folder(run_dir, number, name, stage_digest)
    result = load_result(folder, stage_digest)
    if result is not None:
        print(f"{title}: done before, {_summary(result.figures)}", flush=True)
    else:
        refuse_links(folder)
        check_inputs(recipe, recipe_inputs)
        print(f"{title}: running in {folder}", flush=True)
        context = Context(name, folder, recipe, dict(results), recipe_inputs)
        result = _run_stage(settings, context, stage_digest)
        print(f"{title}: {result.seconds:.0f} s, {_summary(result.figures)}", flush=True)
    # Not earlier: a run that is killed while it evaluates must not train again.
    remove_checkpoints(folder)
    return result


def open_run(recipe: Recipe, run_dir: Path, *, last: str) -> Context:
    """Return a context with the results of a run's stages up to `last`, running nothing.

    The files of `last` may have been changed since; those of the others must be what they left.

    Raises:
        UserError: one of the stages has not been run with these settings.
    """
    recipe_inputs = RecipeInputs(recipe)
    results: dict[str, StageResult] = {}
    stages = truncate(recipe, last).stages
    for number, (name, settings) in enumerate(stages.items(), start=1):
        stage_digest = _stage_digest(settings, recipe_inputs, results)
        folder = _stage_folder(run_dir, number, name, stage_digest)
        result = load_result(folder, stage_digest, may_change=name == last)
        if result is None:
            raise UserError(
                f"stage '{name}' has not been run with these settings in {run_dir}; run the recipe "
                "first, or give the --set overrides that it was run with"
            )
        results[name] = result
    return Context(last, results[last].folder, recipe, results, recipe_inputs)


def load_result(folder: Path, stage_digest: str, *, may_change: bool = False) -> StageResult | None:
    """Return the stage's result if it is complete and of the same settings and inputs.

    Args:
        folder: of the stage.
        stage_digest: of settings and inputs.
        may_change: whether the stage's files may be others than it left, for who checks that.

    Raises:
        UserError: the result is damaged, or files are not those that the stage left.
    """
    path = folder / paths.RESULT
    if not path.exists():
        return None
    remedy = "delete it to run the stage again"
    data = read_json(path, remedy=remedy)
    if data.get("digest") != stage_digest:
        return None
    for key, kinds in _RESULT_KEYS.items():
        if not isinstance(data.get(key), kinds) or isinstance(data[key], bool):
            raise UserError(f"{path} is damaged ('{key}' is {shown(data.get(key))}); {remedy}")
    result = StageResult(
        name=data["stage"],
        kind=OLD_KINDS.get(data["kind"], data["kind"]),
        folder=folder,
        digest=data["digest"],
        figures=data["figures"],
        seconds=data["seconds"],
        start=data["start"],
        files=_digests_in(data, path),
    )
    if not may_change:
        require_unchanged(folder, result.name, result.files)
    return result


def _digests_in(data: dict[str, Any], path: Path) -> dict[str, str]:
    """Return the digests of a result; none in one of an older run."""
    files = data.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise UserError(
            f"{path} is damaged ('files' is {shown(files)}); delete it to run the stage again"
        )
    return files


def _run_stage(settings: StageSettings, context: Context, stage_digest: str) -> StageResult:
    module = importlib.import_module(f"tf_prune_ofa.stages.{settings.kind}")
    # New weights (heads) come from the initializers' own seeds; this covers whatever else draws.
    tf.random.set_seed(context.recipe.seed)
    began = time.perf_counter()
    figures = module.run(settings, context)
    seconds = time.perf_counter() - began
    start = getattr(settings, "start", "")
    left = digests(context.folder)
    write_json(
        context.folder / paths.RESULT,
        {
            "stage": context.name,
            "kind": settings.kind,
            "recipe": context.recipe.name,
            "start": start,
            "digest": stage_digest,
            "config": {
                "stage": to_dict(settings),
                "model": to_dict(context.recipe.model),
                "task": to_dict(context.recipe.task),
                "corpus": to_dict(context.recipe.corpus),
            },
            "versions": package_versions(),
            "git_commit": git_commit(),
            "seed": context.recipe.seed,
            "seconds": seconds,
            "figures": figures,
            "files": left,
        },
    )
    # The next stage builds models of its own; without this the old ones' graphs stay in memory.
    tf.keras.backend.clear_session()
    return StageResult(
        context.name, settings.kind, context.folder, stage_digest, figures, seconds, start, left
    )


def _stage_folder(run_dir: Path, number: int, name: str, stage_digest: str) -> Path:
    """Return the stage's folder; recipes that share a run folder share it, whatever its number."""
    label = f"{name}-{stage_digest[:8]}"
    there = sorted(run_dir.glob(f"[0-9][0-9]_{glob.escape(label)}"))
    return there[0] if there else run_dir / f"{number:02d}_{label}"


def _stage_digest(
    settings: StageSettings, recipe_inputs: RecipeInputs, results: dict[str, StageResult]
) -> str:
    """Hash of settings, inputs and plugins; the report depends on every stage before it."""
    if settings.kind == "report":
        inputs = [result.digest for result in results.values()]
    else:
        inputs = [
            _input_digest(name, recipe_inputs, results) for name in references(settings).values()
        ]
    data = recipe_inputs.corpus_digest if reads_corpus(settings) else recipe_inputs.digest
    plugins = [sha256_of(plugin_file(name)) for name in plugins_of(settings)]
    return digest([to_dict(settings), data, inputs, *plugins])


def _input_digest(name: str, recipe_inputs: RecipeInputs, results: dict[str, StageResult]) -> str:
    if name in results:
        return results[name].digest
    return name if name == "model" else recipe_inputs.model_digest(name)


def package_versions() -> dict[str, str]:
    """Return Python's and the main packages' versions."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def git_commit() -> str:
    """Return the commit of the checkout this package runs from, or "" outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@contextlib.contextmanager
def only_process(run_dir: Path) -> Iterator[None]:
    """Hold the folder's lock; the system drops it when the process ends, however it ends."""
    path = run_dir / paths.LOCK
    try:
        # Never emptied, and never what a link points to: it may be any file of the user's.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(
            f"{path} must be a file of this package's own ({error.strerror}); remove it, or choose "
            "another --run_dir"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is running in {run_dir}; wait for it, or choose another --run_dir"
            ) from error
        # Nobody else is writing here: what is half-written is of a run that was killed.
        remove_leftovers(run_dir)
        yield
    finally:
        os.close(descriptor)


def _summary(figures: dict[str, Any]) -> str:
    """Return the figures that a person wants to see at once."""
    main = figures.get("main_metric", "accuracy")
    keys = (str(main), "mlm_accuracy", "mlm_loss", "sparsity", "steps")
    numbers = {key: value for key in keys if isinstance(value := figures.get(key), int | float)}
    parts = [f"{key} {value:.4g}" for key, value in numbers.items()]
    return ", ".join(parts) or "done"
