"""What the functions return: a finished stage, with all that it was made from."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_prune_ofa import hub
from tf_prune_ofa.config import About, ModelSettings, Recipe, StageSettings, TaskSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import atomic_folder, sha256_of
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.paths import CARD, MANIFEST
from tf_prune_ofa.plain_values import settings_of, to_dict
from tf_prune_ofa.recipe import apart, build_stage

if TYPE_CHECKING:
    from tf_prune_ofa.jobs.context import StageResult
    from tf_prune_ofa.keras_compat import keras

INDEX_FILE = "result_index.json"
DATA_SIDES = ("train", "dev")


@dataclass(frozen=True)
class Chain:
    """Stages, one behind another: their settings, their results, and what they have in common.

    Attributes:
        run_dir: folder that holds the stages' folders.
        keep: holds a temporary run folder for as long as somebody needs it.
    """

    run_dir: Path
    model: ModelSettings
    task: TaskSettings
    seed: int
    stages: Mapping[str, StageSettings] = field(default_factory=dict)
    results: Mapping[str, StageResult] = field(default_factory=dict)
    keep: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def recipe(self) -> Recipe:
        """Return the chain as a recipe."""
        task, corpus = apart(self.task)
        return Recipe("api", About(), self.seed, self.model, task, dict(self.stages), corpus)

    def data_files(self) -> dict[str, Path]:
        """Return the files of data that was given in memory, by side."""
        files = {side: Path(getattr(self.task, side) or "/") for side in DATA_SIDES}
        return {side: file for side, file in files.items() if file.parent == self.run_dir}


@dataclass(frozen=True)
class Result:
    """A finished stage.

    Attributes:
        name: of the stage.
        chain: the stages that led to it, itself the last.
    """

    name: str
    chain: Chain = field(repr=False)

    @property
    def figures(self) -> dict[str, Any]:
        """Scores, sparsity, sizes: plain values."""
        return self.chain.results[self.name].figures

    @property
    def folder(self) -> Path:
        """Folder of the stage's files."""
        return self.chain.results[self.name].folder

    def save(self, folder: str | Path) -> Path:
        """Copy the stage and all that it was made from; `open` reads it again.

        Raises:
            UserError: the folder is there already, or cannot be written.
        """
        folder = Path(folder)
        if folder.exists():
            raise UserError(f"{folder} is there already; name a new folder to save in")
        with atomic_folder(folder) as new:
            for result in self.chain.results.values():
                shutil.copytree(result.folder, new / result.folder.name)
            for path in self.chain.data_files().values():
                shutil.copy2(path, new / path.name)
            write_json(new / INDEX_FILE, self._index())
        return folder

    def _index(self) -> dict[str, Any]:
        chain = self.chain
        task = {**to_dict(chain.task), **{s: f.name for s, f in chain.data_files().items()}}
        return {
            "name": self.name,
            "type": type(self).__name__,
            "model": to_dict(chain.model),
            "task": task,
            "seed": chain.seed,
            "stages": {
                name: {
                    "folder": result.folder.name,
                    "digest": result.digest,
                    "settings": to_dict(chain.stages[name]),
                }
                for name, result in chain.results.items()
            },
        }


@dataclass(frozen=True)
class Model(Result):
    """A trained, pruned or quantized model."""

    @property
    def model_folder(self) -> Path:
        """Hugging Face folder of the weights."""
        return self.chain.results[self.name].model_folder

    @cached_property
    def keras(self) -> keras.Model:
        """The model with its head, as a tf_keras model without dropout."""
        from tf_prune_ofa.jobs.task_models import task_model

        return task_model(self.model_folder)

    @property
    def score(self) -> float:
        """The task's main score on the held-out examples, as the stage found it.

        Raises:
            UserError: the stage was not judged on a task.
        """
        if "main_metric" not in self.figures:
            raise UserError(f"'{self.name}' was not judged on a task: it has no score")
        return self.figures[self.figures["main_metric"]]

    @property
    def sparsity(self) -> float:
        """Share of zeros in the pruned layers together; 0 where nothing was pruned."""
        return self.figures.get("sparsity", 0.0)


@dataclass(frozen=True)
class Files(Result):
    """Exported `.tflite` files.

    Attributes:
        out_dir: where they are.
    """

    out_dir: Path

    @property
    def paths(self) -> dict[str, Path]:
        """The files by variant."""
        return {variant: self.out_dir / sizes["file"] for variant, sizes in self.figures.items()}


@dataclass(frozen=True)
class Exported:
    """A folder of `.tflite` files as an export left it, without the model that they are of.

    Attributes:
        out_dir: where they are, with their model card.
        manifest: what they are.
    """

    out_dir: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def paths(self) -> dict[str, Path]:
        """The files by variant."""
        return {one["variant"]: self.out_dir / one["file"] for one in self.manifest["files"]}


def open_exported(folder: Path) -> Exported:
    """Return the files of an export's folder, each of them the one that its manifest names.

    Raises:
        UserError: it has no manifest, or a file is missing or another one.
    """
    from tf_prune_ofa.verification.manifest import read_manifest

    manifest = read_manifest(folder)
    for entry in manifest["files"]:
        path = folder / entry["file"]
        if not path.is_file() or sha256_of(path) != entry["sha256"]:
            raise UserError(f"{path} is not the file that {MANIFEST} names; get the folder again")
    return Exported(folder, manifest)


def open(folder: str | Path) -> Result | Exported:  # noqa: A001 (it is read as ofa.open)
    """Return what `Result.save` or an export wrote.

    Args:
        folder: where that is; or "hf://user/name", for files on the Hub (`push_to_hub`), which are
            downloaded into its client's cache.

    Returns:
        A `Model` or `Files` with all that it was made from; or, of the folder of an export alone,
        `Exported`.

    Raises:
        UserError: no such folder, it cannot be downloaded, or it is damaged.
    """
    from tf_prune_ofa.jobs.results import load_result

    if str(folder).startswith(hub.SCHEME):
        folder = hub.download(str(folder), [MANIFEST, "*.tflite", CARD])
    folder = Path(folder)
    path = folder / INDEX_FILE
    if not path.exists() and (folder / MANIFEST).exists():
        return open_exported(folder)
    try:
        with builtins.open(path, encoding="utf-8") as file:
            index = json.load(file)
        kind = {"Model": Model, "Files": Files}[index["type"]]
        task = dict(index["task"])
        for side in DATA_SIDES:
            if task[side] and (folder / Path(task[side]).name).is_file():
                task[side] = str(folder / Path(task[side]).name)
        stages = index["stages"]
        settings = {name: build_stage(name, stage["settings"]) for name, stage in stages.items()}
        found = {
            name: load_result(folder / Path(stage["folder"]).name, stage["digest"])
            for name, stage in stages.items()
        }
        results = {name: result for name, result in found.items() if result is not None}
        missing = [name for name in found if name not in results]
        if missing or index["name"] not in results:
            raise UserError(f"{folder} lacks {missing or [index['name']]}; save the result again")
        chain = Chain(
            folder,
            settings_of(ModelSettings, index["model"], "model"),
            settings_of(TaskSettings, task, "task"),
            index["seed"],
            settings,
            results,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} holds no saved result: it has no {INDEX_FILE}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); save the result again") from error
    name = index["name"]
    return Files(name, chain, results[name].folder) if kind is Files else Model(name, chain)
