"""What a finished stage says of itself: `result.json`, written last and read when it is found."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from tf_prune_ofa import paths
from tf_prune_ofa.config import OLD_KINDS, StageSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.left_files import digests, require_unchanged
from tf_prune_ofa.json_files import read_json, write_json
from tf_prune_ofa.plain_values import shown, to_dict

PACKAGES = (
    "tf_prune_ofa",
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "numpy",
)

_KEYS: dict[str, tuple[type, ...]] = {
    "stage": (str,),
    "kind": (str,),
    "figures": (dict,),
    "seconds": (int, float),
    "start": (str,),
}


def write_result(
    settings: StageSettings,
    context: Context,
    stage_digest: str,
    figures: dict[str, Any],
    seconds: float,
) -> StageResult:
    """Write what a stage was, what it ran with and what it left; it is done from then on."""
    result = StageResult(
        name=context.name,
        kind=settings.kind,
        folder=context.folder,
        digest=stage_digest,
        figures=figures,
        seconds=seconds,
        start=getattr(settings, "start", ""),
        files=digests(context.folder),
    )
    write_json(
        context.folder / paths.RESULT,
        {
            "stage": result.name,
            "kind": result.kind,
            "recipe": context.recipe.name,
            "start": result.start,
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
            "files": dict(result.files),
        },
    )
    return result


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
    for key, kinds in _KEYS.items():
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
