"""A machine that files are measured on: commands go there, files go there and come back."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import shlex
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_prune_ofa.errors import UserError

# Folders of ours on a device; what an unplugged device kept is found by it.
PREFIX = "tf_prune_ofa-"
_EXIT = "tf_prune_ofa_exit="


class TimedOut(UserError):
    """A command on a device that did not come to its end in time."""


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and what it wrote."""

    code: int
    out: str
    error: str


class Target(ABC):
    """A machine. Every method raises `UserError` where the machine cannot be reached.

    Attributes:
        name: as the user wrote it.
        base: the folder there in which ours is made.
    """

    name: str
    base: str

    @abstractmethod
    def connect(self) -> None:
        """Make sure that the machine answers.

        Raises:
            UserError: it does not, with what to do about it.
        """

    @abstractmethod
    def client(self, command: str) -> list[str]:
        """The local program that runs a shell command there, with its arguments."""

    @abstractmethod
    def push(self, local: Path, remote: str) -> None:
        """Copy a file there.

        Raises:
            UserError: it cannot be written there.
        """

    @abstractmethod
    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from there.

        Raises:
            UserError: it cannot be read there.
        """

    @abstractmethod
    def lost(self, finished: Finished) -> str | None:
        """What to tell the user if the connection, not the command, failed; else None."""

    def sh(
        self, command: str, timeout: float = 120, on_line: Callable[[str], None] | None = None
    ) -> Finished:
        """Run a command in the machine's shell.

        Args:
            command: for a POSIX shell.
            timeout: seconds; then the local client is ended.
            on_line: called with each line of the output as it comes.

        Raises:
            UserError: the connection failed.
            TimedOut: it took longer.
        """
        # The exit code comes in the output: adb tells none from Android 6 and older.
        sent = self.client(f"{{ {command}\n}}; echo {_EXIT}$?")
        try:
            code, out, error = _run(sent, timeout, on_line)
        except TimeoutError:
            raise TimedOut(
                f"{self.name} did not answer within {timeout:.0f} s. Check that it is awake and "
                "not busy, then start again."
            ) from None
        head, mark, tail = out.rpartition(_EXIT)
        if not mark:
            finished = Finished(code, out, error)
            said = last_line(error) or "no answer"
            raise UserError(
                self.lost(finished)
                or f"{self.name} went away while it ran a command ({said}). Check the cable or the "
                "network and start again."
            )
        return Finished(int(tail.split()[0]), head, error)


@contextlib.contextmanager
def workspace(target: Target) -> Iterator[str]:
    """Make a folder on the machine; remove it, and what runs in it, at the end of the block.

    Folders that earlier runs could not remove (the cable was pulled) go, too, unless something
    still runs in them.
    """
    base = shlex.quote(target.base)
    target.sh(
        f"for d in {base}/{PREFIX}*; do [ -d $d ] || continue; "
        f"if {_runs('$d')}; then continue; fi; rm -rf $d; done"
    )
    folder = f"{target.base}/{PREFIX}{secrets.token_hex(4)}"
    made = target.sh(f"mkdir -p {shlex.quote(folder)}")
    if made.code:
        said = last_line(made.out + made.error)
        raise UserError(
            f"{target.name}: cannot make a folder in {target.base} ({said}). Name another one: "
            "--folder=FOLDER."
        )
    try:
        yield folder
    finally:
        # Where the machine has gone away there is nothing to be done; the next run cleans up.
        with contextlib.suppress(UserError):
            name = shlex.quote(folder)
            target.sh(
                f"if {_runs(name)}; then kill -9 $(cat {name}/pid); fi; rm -rf {name}", timeout=60
            )


def _runs(folder: str) -> str:
    """A condition of the shell: the program whose number is in a folder's file still runs."""
    # Not kill -0: the number may be another's by now, or of one that ended and is not cleared away.
    number = f"$(cat {folder}/pid 2>/dev/null)"
    return f'grep -q runner "/proc/{number}/cmdline" 2>/dev/null'


def _run(
    command: Sequence[str], timeout: float, on_line: Callable[[str], None] | None
) -> tuple[int, str, str]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + timeout
    assert process.stdout is not None and process.stderr is not None  # both are pipes
    parts = {process.stdout: bytearray(), process.stderr: bytearray()}
    lines_told = 0
    try:
        with selectors.DefaultSelector() as selector:
            for stream in parts:
                selector.register(stream, selectors.EVENT_READ, data=stream)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no end after {timeout:.0f} s")
                for key, _ in selector.select(left):
                    data = key.data.read1(65536)
                    if not data:
                        selector.unregister(key.data)
                    parts[key.data] += data
                if on_line:
                    whole = parts[process.stdout].count(b"\n")
                    if whole > lines_told:
                        lines = parts[process.stdout].split(b"\n")[lines_told:whole]
                        for line in lines:
                            on_line(line.decode(errors="replace"))
                        lines_told = whole
        code = process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"no end after {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in parts:
            stream.close()
    out, error = (data.decode(errors="replace").replace("\r\n", "\n") for data in parts.values())
    return code, out, error


def last_line(text: str) -> str:
    """The last line of a text that says something; "" if none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-300:] if lines else ""
