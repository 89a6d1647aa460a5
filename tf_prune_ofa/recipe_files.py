"""Files of recipes and tasks: found by name, and put together where one builds on another."""

from __future__ import annotations

import copy
import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_prune_ofa.config import OLD_KINDS
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.plain_values import shown
from tf_prune_ofa.yaml_files import read_yaml


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe: `name` itself, or the recipe of that name in this package."""
    path = Path(name)
    if not os.path.exists(path) and path.name == str(name):  # noqa: PTH110, raises nothing
        shipped = (_shipped_recipes() / path.name).with_suffix(".yaml")
        return shipped if os.path.exists(shipped) else path  # noqa: PTH110
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """Return a recipe as plain values, with its `base` and a named task put in.

    A recipe with `base: NAME` says only what differs from that recipe (JSON Merge Patch, RFC 7396):
    mappings are merged key by key, lists and single values replace those of the base, and null
    takes a key of the base away. Two things are of recipes: a stage of another kind than the
    base's replaces it whole, for its settings are others, and so does a task of another source.
    Stages keep the base's order; a new one comes in front of the base's stage that stands behind
    it, or last.

    Args:
        path: from `find_recipe`.

    Raises:
        UserError: a file that is missing or no recipe, a base that is none, or that leads back.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    data = _mapping(path)
    own = data.pop("base", None)
    if own is None:
        include_task(data, path.parent)
        return data
    if not isinstance(own, str) or not own:
        raise UserError(f"{path}: base is {shown(own)}; write the name or the file of a recipe")
    above = (*above, path.resolve())
    base = _base_file(own, path)
    if base.resolve() in above:
        names = [one.stem for one in (*above[above.index(base.resolve()) :], base)]
        raise UserError(f"{path}: its base leads back to itself: {' -> '.join(names)}")
    include_task(data, path.parent)
    return merged(_read(base, above), data)


def _base_file(name: str, path: Path) -> Path:
    """Return the base's file, looked for beside the recipe first."""
    beside = [path.parent / name, (path.parent / name).with_suffix(".yaml")]
    found = next((one for one in beside if os.path.isfile(one)), None)  # noqa: PTH113
    if found is None:
        found = find_recipe(name)
        if not os.path.isfile(found):  # noqa: PTH113
            known = sorted(one.stem for one in _shipped_recipes().glob("*.yaml"))
            raise UserError(
                f"{path}: its base {shown(name)} is no file beside it and no recipe of this "
                f"package{did_you_mean(name, known)}"
            )
    return found


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path)
    except FileNotFoundError as error:
        folder = _shipped_recipes() if path.name == str(path) else path.parent
        known = sorted(recipe.name for recipe in folder.glob("*.yaml"))
        name = path.with_suffix(".yaml").name
        raise UserError(f"no recipe file {path}{did_you_mean(name, known)}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a recipe file") from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path} must hold a mapping with the key 'stages', got {type(data).__name__}"
        )
    return data


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with the changes of one that builds on it; see `read_recipe`."""
    base = dict(base)
    task, own_task = base.get("task"), changes.get("task")
    if isinstance(task, Mapping) and isinstance(own_task, Mapping):
        if own_task.get("source", task.get("source")) != task.get("source"):
            del base["task"]
    result = _patched(base, {key: value for key, value in changes.items() if key != "stages"})
    stages, own = base.get("stages"), changes.get("stages")
    if isinstance(stages, Mapping) and isinstance(own, Mapping):
        result["stages"] = _patched(
            {name: stage for name, stage in stages.items() if not _is_other(name, stage, own)}, own
        )
        order = [name for name in _order(list(stages), list(own)) if name in result["stages"]]
        result["stages"] = {name: result["stages"][name] for name in order}
    elif "stages" in changes:
        result["stages"] = own
    return result


def _order(base: list[Any], own: list[Any]) -> list[Any]:
    """Return the base's order, with a new name in front of the next one that the base knows."""
    order = list(base)
    for place, name in enumerate(own):
        if name not in base:
            behind = next((one for one in own[place:] if one in base), None)
            order.insert(order.index(behind) if behind is not None else len(order), name)
    return order


def _is_other(name: Any, stage: Any, changes: Mapping[Any, Any]) -> bool:
    """Return whether a stage is changed to one of another kind."""
    change = changes.get(name)
    if not isinstance(change, Mapping) or "kind" not in change:
        return False
    kinds = [change["kind"], stage.get("kind", name) if isinstance(stage, Mapping) else name]
    return len({OLD_KINDS.get(str(kind), str(kind)) for kind in kinds}) == 2


def _patched(base: Mapping[Any, Any], changes: Mapping[Any, Any]) -> dict[Any, Any]:
    result = dict(copy.deepcopy(base))
    for key, value in changes.items():
        if value is None and key in base:
            del result[key]
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _patched(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def include_task(data: dict[str, Any], folder: Path) -> None:
    """Replace a task that is named by the content of its file, so that recipes can share it."""
    if isinstance(data.get("task"), str):
        data["task"] = named_task(data["task"], folder)


def named_task(name: str, folder: Path) -> dict[str, Any]:
    """Return the settings of a task, as plain values.

    Args:
        name: a file, looked for from the working folder and from `folder`, or one of
            configs/tasks/.
        folder: of the recipe.

    Raises:
        UserError: no such file, or it holds no mapping.
    """
    shipped = _shipped_recipes() / "tasks"
    places = [Path(name), folder / name, (shipped / name).with_suffix(".yaml")]
    path = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113
    if path is None:
        known = sorted(file.stem for file in shipped.glob("*.yaml"))
        raise UserError(
            f"task is {shown(name)}: there is no such file, and no task of that name"
            f"{did_you_mean(name, known)}; tasks are {', '.join(known)}"
        )
    try:
        task = read_yaml(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a task's file") from error
    if not isinstance(task, dict):
        raise UserError(f"{path} must hold the settings of a task, got {type(task).__name__}")
    return task


def _shipped_recipes() -> Path:
    return Path(str(importlib.resources.files("tf_prune_ofa.configs")))
