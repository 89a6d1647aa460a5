"""Runs a recipe: stage after stage, skipping what is done."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import importlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import Recipe, StageSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import refuse_links, remove_leftovers, require_writable_dir
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.preflight import check_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.results import load_result, write_result
from tf_prune_ofa.jobs.stage_digest import stage_digest_of
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.recipe import truncate
from tf_prune_ofa.replicas import Replicas, lost_workers_explained
from tf_prune_ofa.train.fit import remove_checkpoints

# Kinds of stages that replicas train together; others run in the chief, on one device.
TOGETHER = ("finetune", "prune", "transfer")


def run_recipe(
    recipe: Recipe, run_dir: Path, replicas: Replicas | None = None
) -> dict[str, StageResult]:
    """Run all stages of a recipe; return their results by name.

    Args:
        recipe: what to run.
        run_dir: folder of the run; each stage gets `<number>_<name>-<digest>` in it.
        replicas: that train together; one device if not given. Of several processes each calls
            this with the same recipe and folder, and the chief's results are those of all.

    Raises:
        UserError: a mistake in recipe, data or environment, or another process uses the folder.
    """
    replicas = replicas or Replicas()
    own = run_dir if replicas.is_chief else run_dir / paths.WORKERS / str(replicas.worker)
    require_writable_dir(own)
    recipe_inputs = RecipeInputs(recipe)
    results: dict[str, StageResult] = {}
    with only_process(own), lost_workers_explained():
        for name in recipe.stages:
            results[name] = run_stage(name, recipe, recipe_inputs, results, run_dir, replicas)
    return results


def run_stage(
    name: str,
    recipe: Recipe,
    recipe_inputs: RecipeInputs,
    results: dict[str, StageResult],
    run_dir: Path,
    replicas: Replicas | None = None,
) -> StageResult:
    """Run a stage behind others, unless it is done already; return its result.

    Args:
        name: of the stage.
        recipe: has the stage, and those that `results` are of.
        recipe_inputs: of the recipe.
        results: of the stages before it, by name.
        run_dir: folder of the run, held with `only_process`.
        replicas: that train together; one device if not given.

    Raises:
        UserError: a mistake in recipe, data or environment.
    """
    replicas = replicas or Replicas()
    settings = recipe.stages[name]
    number = list(recipe.stages).index(name) + 1
    title = f"[{number}/{len(recipe.stages)}] {name}"
    stage_digest = stage_digest_of(settings, recipe_inputs, results)
    folder = _stage_folder(run_dir, number, name, stage_digest)
    result = load_result(folder, stage_digest)
    if replicas.chief_says(result is not None):
        done = "done before"
    else:
        refuse_links(folder)
        check_inputs(recipe, recipe_inputs)
        if replicas.is_chief:
            print(f"{title}: running in {folder}", flush=True)
            context = Context(name, folder, recipe, dict(results), recipe_inputs, replicas)
            result = _run_stage(settings, context, stage_digest)
            done = f"{result.seconds:.0f} s"
        elif settings.kind in TOGETHER:
            _take_part(settings, name, folder, recipe, recipe_inputs, results, replicas)
        # The chief has written its result when it comes here.
        replicas.chief_says(True)
    if not replicas.is_chief:
        result = load_result(folder, stage_digest)
        if result is None:
            raise UserError(
                f"the chief's result is not in {folder}; all workers must see the same --run_dir"
            )
        return result
    assert result is not None
    print(f"{title}: {done}, {_summary(result.figures)}", flush=True)
    # Not earlier: a run that is killed while it evaluates must not train again.
    remove_checkpoints(folder)
    return result


def _take_part(
    settings: StageSettings,
    name: str,
    folder: Path,
    recipe: Recipe,
    recipe_inputs: RecipeInputs,
    results: dict[str, StageResult],
    replicas: Replicas,
) -> None:
    """Train with the chief; what this process leaves is its own, and is not used."""
    own = folder.parent / paths.WORKERS / str(replicas.worker) / folder.name
    checkpoints = folder / paths.CHECKPOINT
    context = Context(name, own, recipe, dict(results), recipe_inputs, replicas, checkpoints)
    module = importlib.import_module(f"tf_prune_ofa.stages.{settings.kind}")
    tf.random.set_seed(recipe.seed)
    with replicas.scope():
        module.run(settings, context)
    remove_checkpoints(own)  # whoever comes back begins from the chief's


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
        stage_digest = stage_digest_of(settings, recipe_inputs, results)
        folder = _stage_folder(run_dir, number, name, stage_digest)
        result = load_result(folder, stage_digest, may_change=name == last)
        if result is None:
            raise UserError(
                f"stage '{name}' has not been run with these settings in {run_dir}; run the recipe "
                "first, or give the --set overrides that it was run with"
            )
        results[name] = result
    return Context(last, results[last].folder, recipe, results, recipe_inputs)


def _run_stage(settings: StageSettings, context: Context, stage_digest: str) -> StageResult:
    module = importlib.import_module(f"tf_prune_ofa.stages.{settings.kind}")
    # New weights (heads) come from the initializers' own seeds; this covers whatever else draws.
    tf.random.set_seed(context.recipe.seed)
    began = time.perf_counter()
    with context.replicas.scope() if settings.kind in TOGETHER else contextlib.nullcontext():
        figures = module.run(settings, context)
    seconds = time.perf_counter() - began
    result = write_result(settings, context, stage_digest, figures, seconds)
    # The next stage builds models of its own; without this the old ones' graphs stay in memory.
    tf.keras.backend.clear_session()
    return result


def _stage_folder(run_dir: Path, number: int, name: str, stage_digest: str) -> Path:
    """Return the stage's folder; recipes that share a run folder share it, whatever its number."""
    label = f"{name}-{stage_digest[:8]}"
    there = sorted(run_dir.glob(f"[0-9][0-9]_{glob.escape(label)}"))
    return there[0] if there else run_dir / f"{number:02d}_{label}"


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
