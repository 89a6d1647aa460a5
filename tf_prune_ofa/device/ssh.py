"""A Raspberry Pi, or any Linux machine, through the ssh program.

Files go as the standard input of `cat`: boards without an SFTP server (dropbear) take them too.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tf_prune_ofa.device.target import Finished, Target, last_line
from tf_prune_ofa.errors import UserError

# Asks for nothing, fails soon where nobody answers, and notices within 15 s that a cable is out.
_OPTIONS = (
    "-oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=5 -oServerAliveCountMax=3"
).split()
_ADVICE = {
    "Permission denied (": "Put your key there: ssh-copy-id HOST.",
    "Host key verification failed": "Connect once by hand to accept its key: ssh HOST.",
    "Could not resolve": "Check the name, or use its IP address.",
    "Connection refused": "Enable ssh there (Raspberry Pi: sudo raspi-config, Interface Options).",
    "timed out": "Check that it is on and in the same network.",
    "No route": "Check that it is on and in the same network.",
}


class SshTarget(Target):
    """A machine behind ssh.

    Args:
        host: as for ssh: [user@]host, or a name in ~/.ssh/config.
        folder: where files go for the time of the measurement.
        options: further options of ssh.
    """

    def __init__(self, host: str, folder: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.name = f"ssh:{host}"
        self.host = host
        self.base = folder or "/tmp"
        self._command = ["ssh", *_OPTIONS, *options]

    def connect(self) -> None:
        """Make sure that the machine answers."""
        if not shutil.which("ssh"):
            raise UserError(f"{self.name}: there is no ssh here. Install openssh-client.")
        self.sh("true")

    def client(self, command: str) -> list[str]:
        """Ssh with the command."""
        # A shell of its own: the user's there may be fish.
        return [*self._command, "--", self.host, f"exec sh -c {shlex.quote(command)}"]

    def push(self, local: Path, remote: str) -> None:
        """Copy a file there."""
        with open(local, "rb") as file:
            self._transfer(f"cat > {shlex.quote(remote)}", remote, stdin=file)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from there."""
        with open(local, "wb") as file:
            self._transfer(f"cat {shlex.quote(remote)}", remote, stdout=file)

    def lost(self, finished: Finished) -> str | None:
        """What ssh says, and what to do."""
        if finished.code != 255:
            return None
        said = last_line(finished.error)
        advice = next((what for mark, what in _ADVICE.items() if mark in finished.error), "")
        return f"cannot reach {self.host} by ssh: {said or 'the connection broke'}. " + (
            advice or "Check the network and start again."
        ).replace("HOST", self.host)

    def _transfer(self, command: str, remote: str, **streams: Any) -> None:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        done = subprocess.run(self.client(command), stderr=subprocess.PIPE, check=False, **streams)
        error = done.stderr.decode(errors="replace")
        if done.returncode:
            told = self.lost(Finished(done.returncode, "", error))
            raise UserError(told or f"{self.name}: cannot copy {remote}: {last_line(error)}.")
