"""Flags of tools that put what they made on the Hugging Face Hub."""

from pathlib import Path
from typing import Any

from absl import flags

_PUSH = flags.DEFINE_string(
    "push_to_hub", None, "put the files and their card into this repository, user/name"
)
_CREATE_PR = flags.DEFINE_boolean(
    "create_pr", False, "with --push_to_hub: propose them in a pull request"
)


@flags.multi_flags_validator(
    ["push_to_hub", "create_pr"], "--create_pr says how --push_to_hub=user/name is done; name it"
)
def _has_repository(given: dict[str, Any]) -> bool:
    return bool(given["push_to_hub"]) or not given["create_pr"]


def is_asked() -> bool:
    """Return whether the flags ask for a push."""
    return bool(_PUSH.value)


def push_export(folder: Path) -> None:
    """Push the folder of an export, if the flags ask for it, and say where to look at it."""
    if is_asked():
        from tf_prune_ofa.api import push_to_hub

        _say(push_to_hub(folder, _PUSH.value, create_pr=_CREATE_PR.value))


def push_files(files: dict[str, Path], message: str) -> None:
    """Push files by their names there, if the flags ask for it, and say where to look at them."""
    if is_asked():
        from tf_prune_ofa import hub

        _say(hub.push(files, _PUSH.value, create_pr=_CREATE_PR.value, message=message))


def _say(where: str) -> None:
    print(f"pushed to {where}")
