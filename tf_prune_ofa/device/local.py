"""This machine as a target."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tf_prune_ofa.device.target import Finished, Target
from tf_prune_ofa.errors import UserError


class LocalTarget(Target):
    """This machine.

    Args:
        folder: where files go for the time of the measurement; None: the system's place for them.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.name = "local"
        self.base = folder or tempfile.gettempdir()

    def connect(self) -> None:
        """Nothing to do."""

    def client(self, command: str) -> list[str]:
        """A shell."""
        return ["sh", "-c", command]

    def push(self, local: Path, remote: str) -> None:
        """Copy a file."""
        self._copy(local, Path(remote))

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file."""
        self._copy(Path(remote), local)

    def lost(self, finished: Finished) -> str | None:
        """Never: there is no connection."""
        return None

    def _copy(self, source: Path, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise UserError(
                f"cannot copy {source} to {target}: {error.strerror}. Free some space, or name "
                "another folder: --folder=FOLDER."
            ) from error
