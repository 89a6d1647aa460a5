"""Recipes from YAML files, checked before anything is loaded."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tf_prune_ofa.config import (
    OLD_KINDS,
    STAGE_KINDS,
    About,
    CorpusSettings,
    ModelSettings,
    Recipe,
    SizeSettings,
    StageSettings,
    TaskSettings,
)
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.file_stages import NAMES, file_stages
from tf_prune_ofa.idle_settings import check_idle
from tf_prune_ofa.limits import SEED
from tf_prune_ofa.plain_values import convert, settings_of, shown
from tf_prune_ofa.recipe_checks import (
    SECTIONS,
    check_model,
    check_references,
    check_stage,
    check_stage_name,
)
from tf_prune_ofa.recipe_files import find_recipe, include_task, read_recipe
from tf_prune_ofa.tiny import shrink
from tf_prune_ofa.yaml_files import parse_yaml

_FILES = tuple(f"{name}." for name in NAMES)  # what overrides of added stages begin with


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), *, tiny: bool = False, export: bool = False
) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file, or the name of a recipe of this package, e.g. "quickstart"; a file may
            say `base` (see `recipe_files.read_recipe`).
        overrides: texts "section.key=value", e.g. "prune.learning_rate=1e-4",
            "prune.sparsity.ramp_end=60%", "seed=1", "task=mrpc"; values are YAML.
        tiny: shrink the recipe to under a minute on a CPU; it runs the same code.
        export: add the stages of `file_stages`, which overrides may name, too.

    Raises:
        UserError: unreadable file, unknown key, wrong type, stage that refers to a later one.
    """
    path = find_recipe(path)
    data = resolved_recipe(path, overrides, export=export)
    recipe = recipe_from_dict(data, name=path.stem)
    return shrink(recipe) if tiny else recipe


def resolved_recipe(
    path: str | Path, overrides: Sequence[str] = (), *, export: bool = False
) -> dict[str, Any]:
    """Return a recipe as plain values, with its base, its task and the overrides put in.

    Args:
        path: as of `load_recipe`.
        overrides: the same.
        export: the same.

    Raises:
        UserError: as `read_recipe`, or an override that is none.
    """
    path = find_recipe(path)
    data = read_recipe(path)
    if export:
        # What the overrides say of the added stages has to wait until these are there.
        before = [one for one in overrides if not one.removeprefix("stages.").startswith(_FILES)]
        without = _with_overrides(copy.deepcopy(data), before, path.parent)
        added = file_stages(recipe_from_dict(without, name=path.stem))
        data["stages"] = {**data["stages"], **added}
    return _with_overrides(data, overrides, path.parent)


def _with_overrides(data: dict[str, Any], overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    for override in overrides:
        _set(data, override)
        include_task(data, folder)
    return data


def recipe_from_dict(data: dict[str, Any], *, name: str) -> Recipe:
    """Build a recipe from plain values; see `load_recipe`."""
    for key in data:
        if key not in SECTIONS:
            raise UserError(f"unknown key {shown(key)}{did_you_mean(str(key), SECTIONS)}")
    stages = data.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise UserError("a recipe needs 'stages', a mapping of stage names to settings")
    task, corpus = apart(
        settings_of(TaskSettings, data.get("task"), "task"),
        settings_of(CorpusSettings, data.get("corpus"), "corpus"),
    )
    recipe = Recipe(
        name=name,
        about=settings_of(About, data.get("about"), "about"),
        seed=convert(data.get("seed", 0), int, "seed", SEED),
        model=_model_settings(data.get("model")),
        task=task,
        stages={stage: build_stage(stage, settings) for stage, settings in stages.items()},
        corpus=corpus,
    )
    check_model(recipe.model)
    check_references(recipe)
    for section in ("model", "task", "corpus"):
        check_idle(section, getattr(recipe, section))
    for stage, settings in recipe.stages.items():
        check_idle(stage, settings)
    return recipe


def apart(
    task: TaskSettings, corpus: CorpusSettings | None = None
) -> tuple[TaskSettings, CorpusSettings]:
    """Return task and corpus with what the task says of the corpus put there.

    What is learned from the task alone must not depend on it.
    """
    said = {"files": task.corpus, "length": task.corpus_length, "limit": task.corpus_limit}
    changes: dict[str, Any] = {key: value for key, value in said.items() if value}
    corpus = replace(corpus or CorpusSettings(), **changes)
    return replace(task, corpus=(), corpus_length=0, corpus_limit=0), corpus


def _model_settings(data: Any) -> ModelSettings:
    model = settings_of(ModelSettings, data, "model")
    if model.weights == "random":
        settings_of(SizeSettings, model.sizes, "model.sizes")
    return model


def truncate(recipe: Recipe, last: str) -> Recipe:
    """Return the recipe up to and including the stage `last`.

    Raises:
        UserError: no such stage.
    """
    if last not in recipe.stages:
        raise UserError(
            f"no stage '{last}'{did_you_mean(last, recipe.stages)}; the recipe has "
            f"{', '.join(recipe.stages)}"
        )
    names = list(recipe.stages)[: list(recipe.stages).index(last) + 1]
    return replace(recipe, stages={name: recipe.stages[name] for name in names})


def _set(data: dict[str, Any], override: str) -> None:
    """Apply one "section.key=value"; stages may be named without the prefix "stages."."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override!r}: write it as section.key=value")
    keys = path.split(".")
    stages = data.get("stages")
    stages = stages if isinstance(stages, dict) else {}
    sections = [*SECTIONS, *map(str, stages)]
    if keys[0] in stages:
        keys = ["stages", *keys]
    elif keys[0] not in sections:
        raise UserError(
            f"--set {override!r}: no section or stage '{keys[0]}'{did_you_mean(keys[0], sections)}"
        )
    node = data
    for key in keys[:-1]:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise UserError(f"--set {override!r}: '{key}' is a value, not a section")
    try:
        node[keys[-1]] = parse_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"--set {override!r}: the value is not valid YAML: {error}") from error


def build_stage(name: Any, data: Any) -> StageSettings:
    """Return the settings of a stage from plain values.

    Raises:
        UserError: unknown kind or setting, or settings that do not go together.
    """
    check_stage_name(name)
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"stage '{name}' must be a mapping of settings, got {shown(data)}")
    kind = data.get("kind", name)
    if isinstance(kind, str) and kind in OLD_KINDS:
        if "kind" in data:
            print(f"{name}.kind: '{kind}' is now called '{OLD_KINDS[kind]}'", file=sys.stderr)
        kind = OLD_KINDS[kind]
    if not isinstance(kind, str) or kind not in STAGE_KINDS:
        raise UserError(
            f"stage '{name}' has the unknown kind {shown(kind)}"
            f"{did_you_mean(str(kind), STAGE_KINDS)}; kinds are {', '.join(STAGE_KINDS)}"
        )
    settings = settings_of(STAGE_KINDS[kind], {**data, "kind": kind}, name)
    check_stage(name, settings)
    return settings
