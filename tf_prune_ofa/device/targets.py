"""Targets by the names that the user gives them."""

from __future__ import annotations

from tf_prune_ofa.device.adb import AdbTarget, list_devices
from tf_prune_ofa.device.local import LocalTarget
from tf_prune_ofa.device.ssh import SshTarget
from tf_prune_ofa.device.target import Target
from tf_prune_ofa.errors import UserError


def find_targets(names: list[str], folder: str | None = None) -> list[Target]:
    """Return the targets that are named, each once.

    Args:
        names: "local", "ssh:[USER@]HOST", "adb", "adb:SERIAL" or "adb:all".
        folder: where files go there; None: the usual place.

    Raises:
        UserError: a name of no such form, or no phone for "adb:all".
    """
    targets: list[Target] = []
    for name in dict.fromkeys(names):
        kind, _, which = name.partition(":")
        if kind == "local" and not which:
            targets.append(LocalTarget(folder))
        elif kind == "ssh" and which and not which.startswith("-"):
            targets.append(SshTarget(which, folder))
        elif kind == "adb" and which == "all":
            phones = list_devices()
            if not phones:
                AdbTarget(None, folder).connect()  # says what to do
            targets += [AdbTarget(serial, folder) for serial in phones]
        elif kind == "adb":
            targets.append(AdbTarget(which or None, folder))
        else:
            raise UserError(
                f"--target={name}: write local, ssh:[USER@]HOST, adb, adb:SERIAL or adb:all."
            )
    return targets
