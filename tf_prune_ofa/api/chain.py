"""How a stage is put behind others: the chain that a model came from, and one stage more."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tf_prune_ofa.api.results import Chain, Model
from tf_prune_ofa.api.task import Task
from tf_prune_ofa.config import ModelSettings, TaskSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import require_writable_dir
from tf_prune_ofa.idle_settings import check_idle
from tf_prune_ofa.recipe import build_stage, check_references

# What a student is trained with behind a teacher, unless told otherwise: logits and hidden states
# of the teacher, no dropout, embeddings as they are (recipe reconstruct_minilm; docs/results.md).
DISTILLED: Mapping[str, Any] = {
    "batch_size": 16,
    "dropout": False,
    "frozen": ["embeddings/.*"],
    "loss": {"hard": 0.0, "soft": 1.0, "temperature": 2.0, "hidden": 1.0},
}
Start = str | Path | Model


def begin(start: Start, task: Task, run_dir: str | Path | None, seed: int) -> tuple[Chain, str]:
    """Return the chain that a stage is added to, and what it starts from by name."""
    if isinstance(start, Model):
        folder = start.chain.run_dir if run_dir is None else require_writable_dir(run_dir)
        chain = replace(start.chain, run_dir=folder, seed=seed, task=_resolve(task, folder))
        return chain, start.name
    keep: tuple[Any, ...] = ()
    if run_dir is None:
        temporary = tempfile.TemporaryDirectory(prefix="tf_prune_ofa-")
        run_dir, keep = temporary.name, (temporary,)
    folder = require_writable_dir(run_dir)
    model = ModelSettings(weights=str(start))
    return Chain(folder, model, _resolve(task, folder), seed, keep=keep), "model"


def _resolve(task: Task, folder: Path) -> TaskSettings:
    if not isinstance(task, Task):
        raise UserError(f"task must be an ofa.Task, got {task!r:.80}")
    return task.resolve(folder)


def kind_of(model: Model) -> str:
    """Return the kind of the stage that a model is of."""
    return model.chain.results[model.name].kind


def trained(
    chain: Chain,
    kind: str,
    start: str,
    settings: Mapping[str, Any],
    teacher: Model | str | None = None,
) -> Model:
    """Run a training stage behind a chain, and its teacher's stages; return its model."""
    settings = dict(settings)
    if isinstance(teacher, Model):
        chain, teacher = _joined(chain, teacher)
    if teacher:
        settings = {**DISTILLED, **settings, "teacher": teacher}
    chain, name = add(chain, kind, start, settings)
    return Model(name, chain)


def _joined(chain: Chain, teacher: Model) -> tuple[Chain, str]:
    """Return the chain with the teacher's stages, and the teacher's name there.

    A teacher of another chain may have stages of the same names: they get other ones.
    """
    names: dict[str, str] = {}
    stages, results = dict(chain.stages), dict(chain.results)
    for name, result in teacher.chain.results.items():
        is_same = name in results and results[name].digest == result.digest
        names[name] = name if is_same else _free_name(name, results)
        if is_same:
            continue
        own = names[name]
        results[own] = replace(result, name=own, start=names.get(result.start, result.start))
        stages[own] = teacher.chain.stages[name]
    keep = (*chain.keep, *teacher.chain.keep)
    return replace(chain, stages=stages, results=results, keep=keep), names[teacher.name]


def add(chain: Chain, kind: str, start: str, settings: Mapping[str, Any]) -> tuple[Chain, str]:
    """Run a stage behind a chain; return the chain with it, and its name."""
    from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
    from tf_prune_ofa.stages.runner import only_process, run_stage

    name = _free_name(kind, chain.results)
    stage = build_stage(name, {"kind": kind, "start": start, **settings})
    check_idle(name, stage)
    chain = replace(chain, stages={**chain.stages, name: stage})
    recipe = chain.recipe()
    check_references(recipe)
    with only_process(chain.run_dir):
        result = run_stage(name, recipe, RecipeInputs(recipe), dict(chain.results), chain.run_dir)
    return replace(chain, results={**chain.results, name: result}), name


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    stem, number = name, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name
