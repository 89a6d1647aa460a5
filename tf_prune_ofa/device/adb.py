"""An Android phone through the adb program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tf_prune_ofa.device.target import Finished, Target, last_line
from tf_prune_ofa.errors import UserError

_FOLDER = "/data/local/tmp"
_PUSH_SECONDS = 600
_STATES = {
    "offline": "Unplug it and plug it in again, or run: adb reconnect offline.",
    "unauthorized": "Unlock its screen and allow USB debugging for this computer.",
    "authorizing": "Unlock its screen and allow USB debugging for this computer.",
    "connecting": "Wait until it is connected.",
    "recovery": "Start Android on it.",
    "sideload": "Start Android on it.",
    "bootloader": "Start Android on it.",
    "no permissions": "Add a udev rule for it (Debian: install android-sdk-platform-tools-common).",
}


class AdbTarget(Target):
    """A phone.

    Args:
        serial: which one, as `adb devices` shows it; None for the only one.
        folder: where files go for the time of the measurement.
    """

    def __init__(self, serial: str | None = None, folder: str | None = None) -> None:
        self.name = f"adb:{serial}" if serial else "adb"
        self.serial = serial
        self.base = folder or _FOLDER

    def connect(self) -> None:
        """Find the phone and make sure that it takes commands."""
        devices = list_devices()
        known = ", ".join(f"{serial} ({state})" for serial, state in devices.items())
        if self.serial is None:
            if not devices:
                raise UserError(
                    "no phone is connected. Turn on USB debugging (Settings, Developer options), "
                    "plug it in, and check with: adb devices."
                )
            if len(devices) > 1:
                raise UserError(
                    f"{len(devices)} phones are connected: {known}. Name one, or several: "
                    f"--target=adb:{next(iter(devices))}."
                )
            [self.serial] = devices
            self.name = f"adb:{self.serial}"
        state = devices.get(self.serial)
        if state is None:
            raise UserError(
                f"the phone {self.serial} is not connected; there {_is_or_are(len(devices))} "
                f"{known or 'none'}. Plug it in, or name another: adb devices."
            )
        if state != "device":
            advice = next((text for key, text in _STATES.items() if state.startswith(key)), "")
            raise UserError(f"the phone {self.serial} is {state}. {advice}".strip())

    def client(self, command: str) -> list[str]:
        """Adb's shell with the command."""
        return [*self._adb(), "shell", command]

    def push(self, local: Path, remote: str) -> None:
        """Copy a file there."""
        self._transfer(["push", str(local), remote], remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from there."""
        self._transfer(["pull", remote, str(local)], remote)

    def lost(self, finished: Finished) -> str | None:
        """What became of the phone, if it is no longer there."""
        try:
            state = list_devices().get(self.serial or "", "")
        except UserError as error:
            return str(error)
        if state == "device" and "error:" not in finished.error:
            return None
        return (
            f"the phone {self.serial} went away ({state or 'unplugged'}). Plug it in and start "
            "again; what was left on it is removed then."
        )

    def _adb(self) -> list[str]:
        return ["adb", *(["-s", self.serial] if self.serial else [])]

    def _transfer(self, arguments: list[str], remote: str) -> None:
        try:
            done = subprocess.run(
                [*self._adb(), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PUSH_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{self.name}: {remote} was not copied after {_PUSH_SECONDS} s. Check the cable."
            ) from None
        if done.returncode == 0:
            return
        said = done.stderr + done.stdout
        if "No space left" in said:
            raise UserError(
                f"{self.name}: no space left on the phone for {remote}. Free some, or measure "
                "fewer files at a time."
            )
        told = self.lost(Finished(done.returncode, done.stdout, done.stderr))
        raise UserError(told or f"{self.name}: cannot copy {remote}: {last_line(said)}.")


def list_devices() -> dict[str, str]:
    """State of each phone that adb knows, by serial number; its server is started if need be.

    Raises:
        UserError: there is no adb, or its server does not start.
    """
    if not shutil.which("adb"):
        raise UserError(
            "there is no adb here. Install Android's platform tools (Debian, Ubuntu: apt install "
            "adb) and put them on the PATH."
        )
    try:
        done = subprocess.run(
            ["adb", "devices"], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            "adb does not answer. Stop its server and try again: adb kill-server."
        ) from None
    if done.returncode:
        raise UserError(f"adb fails: {last_line(done.stderr)}. Stop its server: adb kill-server.")
    found = {}
    for line in done.stdout.splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            found[serial] = state.strip()
    return found


def _is_or_are(count: int) -> str:
    return "are" if count > 1 else "is"
