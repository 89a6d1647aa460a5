"""Which processor a program or a library is for, by its first bytes."""

from __future__ import annotations

import struct
from pathlib import Path

from tf_prune_ofa.errors import UserError

# e_machine of the ELF format.
_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64"}


def architecture(path: Path) -> str:
    """Return "aarch64", "x86_64" or another name.

    Raises:
        UserError: no such file, or it is no program or library for Linux or Android.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise UserError(f"{path} is no program or library for Linux or Android.")
    [machine] = struct.unpack_from("<H", head, 18)
    return _MACHINES.get(machine, f"machine {machine}")


def require(path: Path, wanted: str, device: str) -> None:
    """Make sure that a file is for a device's processor.

    Raises:
        UserError: it is for another one.
    """
    found = architecture(path)
    if found != wanted:
        raise UserError(
            f"{path} is for {found}, but {device} is {wanted}. Give the one for {wanted}."
        )
