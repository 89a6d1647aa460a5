"""Read what the stages of a recipe wrote, into one object.

Nothing here fails because a stage is missing: a report of half a run is still worth reading. A
file that is there but cannot be read is an error: otherwise it would look like a missing one.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import OLD_KINDS
from tf_prune_ofa.errors import UserError

# run_dir/<nn>_<stage>-<digest8>
_FOLDER = re.compile(r"(?P<number>\d+)_(?P<name>.+)-(?P<digest>[0-9a-f]{8})")

# What a stage leaves beside result.json for the report, by the file's name.
_DETAILS = {"manifest": paths.MANIFEST, "bench": paths.BENCHMARK, "verify": paths.VERIFICATION}


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: as in the recipe.
        kind: which of the stages it is (`finetune`, `prune`, ...).
        result: content of result.json; empty while the stage has not finished.
        metrics: lines of metrics.jsonl with rising `step`.
        details: `manifest`, `bench` and `verify`, where the stage wrote them.
        folder: where it wrote them.
    """

    name: str
    kind: str
    result: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of result.json."""
        return self.result.get("figures") or {}

    @property
    def config(self) -> dict[str, Any]:
        """The settings of result.json."""
        return self.result.get("config") or {}


@dataclass(frozen=True)
class Run:
    """A recipe run: `name`, the recipe's `about` block, and its `stages` in order."""

    name: str
    about: dict[str, str]
    stages: tuple[Stage, ...]

    def of_kind(self, *kinds: str) -> list[Stage]:
        """Stages of these kinds, in order."""
        return [stage for stage in self.stages if stage.kind in kinds]

    def detail(self, name: str) -> Any | None:
        """`manifest`, `bench` or `verify` of the last stage that wrote one, else None."""
        found = [stage.details[name] for stage in self.stages if name in stage.details]
        return found[-1] if found else None

    @property
    def exported(self) -> list[dict[str, Any]]:
        """Entries of the export stage's manifest; empty if there was none."""
        manifest = self.detail("manifest") or []
        return manifest["files"] if isinstance(manifest, dict) else manifest


def collect_run(
    source: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    *,
    name: str = "",
    about: dict[str, str] | None = None,
) -> Run:
    """Reads a run.

    Args:
        source: the run's folder; or a mapping from stage name to stage folder, in order, which a
            runner that knows the folders of this very run should prefer: of several folders of the
            same stage (made with different settings) the plain form takes the newest.
        name: the recipe's name; by default what result.json says, else the folder's name.
        about: the recipe's `about` block.

    Raises:
        UserError: no such folder, no stage in it, or a file of a stage that cannot be read.
    """
    if isinstance(source, Mapping):
        folders = {name: Path(folder) for name, folder in source.items()}
        if not folders:
            raise UserError("There is nothing to report: no stage has run. Run the recipe first.")
        run_dir = next(iter(folders.values())).parent
    else:
        run_dir = Path(source)
        folders = _stage_folders(run_dir)
    stages = tuple(_read_stage(name, folder) for name, folder in folders.items())
    names = [stage.result["recipe"] for stage in stages if stage.result.get("recipe")]
    return Run(name or next(iter(names), run_dir.name), about or {}, stages)


def _stage_folders(run_dir: Path) -> dict[str, Path]:
    if not run_dir.is_dir():
        raise UserError(
            f"There is no run folder {run_dir}. Run the recipe first, or correct the path."
        )
    newest: dict[tuple[int, str], Path] = {}
    for folder in run_dir.iterdir():
        match = _FOLDER.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            continue
        key = (int(match["number"]), match["name"])
        if key not in newest or _age(folder) > _age(newest[key]):
            newest[key] = folder
    if not newest:
        raise UserError(
            f"{run_dir} holds no stage folder (such as 01_teacher-0f3a9c21). Give the folder of a "
            "recipe run."
        )
    return {name: folder for (_, name), folder in sorted(newest.items())}


def _age(folder: Path) -> tuple[bool, float]:
    result = folder / paths.RESULT
    return (True, result.stat().st_mtime) if result.is_file() else (False, folder.stat().st_mtime)


def _read_stage(name: str, folder: Path) -> Stage:
    result_file, metrics_file = folder / paths.RESULT, folder / paths.METRICS
    result = _read_json(result_file) if result_file.is_file() else {}
    kind = result.get("kind") or name
    return Stage(
        name=name,
        kind=OLD_KINDS.get(kind, kind),
        result=result,
        metrics=_read_metrics(metrics_file) if metrics_file.is_file() else [],
        details={
            key: _read_json(folder / file)
            for key, file in _DETAILS.items()
            if (folder / file).is_file()
        },
        folder=folder,
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{file} is not valid JSON ({error}). Delete the stage's folder and run it again."
        ) from error


def _read_metrics(file: Path) -> list[dict[str, Any]]:
    by_step: dict[int, dict[str, Any]] = {}
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # a killed process may leave half of its last line
                continue
            raise UserError(f"{file}, line {number}, is not valid JSON ({error}).") from error
        # A resumed run repeats the steps since its checkpoint, and a line may hold only a part of
        # a step's values (an evaluation, say).
        by_step[entry["step"]] = {**by_step.get(entry["step"], {}), **entry}
    return [by_step[step] for step in sorted(by_step)]
