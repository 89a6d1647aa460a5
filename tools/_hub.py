"""Flags of tools that put what they made on the Hugging Face Hub."""

from pathlib import Path

from absl import flags

_PUSH = flags.DEFINE_string(
    "push_to_hub", None, "put the files and their card into this repository, user/name"
)
_CREATE_PR = flags.DEFINE_boolean(
    "create_pr", False, "with --push_to_hub: propose them in a pull request"
)


def push_export(folder: Path) -> None:
    """Push the folder of an export, if the flags ask for it, and say where to look at it."""
    if _PUSH.value:
        from tf_prune_ofa.api import push_to_hub

        _say(push_to_hub(folder, _PUSH.value, create_pr=_CREATE_PR.value))


def push_files(files: dict[str, Path], message: str) -> None:
    """Push files by their names there, if the flags ask for it, and say where to look at them."""
    if _PUSH.value:
        from tf_prune_ofa import hub

        _say(hub.push(files, _PUSH.value, create_pr=_CREATE_PR.value, message=message))


def _say(where: str) -> None:
    print(f"pushed to {where}")
