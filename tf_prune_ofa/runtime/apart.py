"""Let a runtime have a file in a process of its own.

Runtimes trust the files that they are given: a damaged one can crash them, keep them busy for ever,
or let them take all memory. Here that is an error with a message, and takes nothing else with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tf_prune_ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json

# Far more than any file takes that is ever going to be finished.
LIMIT_S = 600.0
# Of the machine's memory; a file that needs more cannot be used on it beside anything else.
MEMORY_SHARE = 0.5


class RuntimeEnded(UserError):
    """The process crashed, or did not finish in time."""


def ask(
    module: str,
    job: Mapping[str, Any],
    folder: Path,
    *,
    python: str | os.PathLike[str] = sys.executable,
    limit_s: float = LIMIT_S,
    memory_share: float = MEMORY_SHARE,
) -> dict[str, Any]:
    """Start a module that calls `answer`, and return what it answers.

    Args:
        module: of this package, by its full name.
        job: what it is asked, as JSON values.
        folder: a temporary folder, for this job alone.
        python: which Python; of this package it needs nothing installed.
        limit_s: when to end it.
        memory_share: of this machine's memory, what it may ask for; where the system can be told.

    Raises:
        RuntimeEnded: it crashed, for want of memory, say, or did not finish in time.
        RuntimeError: it ended without an answer: a mistake in this package.
    """
    # The package itself may not be installed there; of it, only light modules are used.
    environment = os.environ | {"PYTHONPATH": str(Path(tf_prune_ofa.__file__).parents[1])}
    write_json(folder / "job.json", {**job, "memory_share": memory_share})
    try:
        finished = subprocess.run(
            [str(python), "-m", module, str(folder)],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeEnded(f"the runtime did not finish within {limit_s:g} s") from error
    if finished.returncode < 0:
        number = -finished.returncode
        names = {one.value: one.name for one in signal.Signals}
        name = names.get(number, "unknown")
        raise RuntimeEnded(f"the runtime crashed with signal {number} ({name})")
    answer = folder / "answer.json"
    if not answer.is_file():
        raise RuntimeError("\n".join(finished.stderr.strip().splitlines()[-15:]))
    return json.loads(answer.read_text())


def answer(work: Callable[[dict[str, Any], Path], dict[str, Any]]) -> None:
    """The other side of `ask`: do the job and write the answer, an `error` where that fails."""
    folder = Path(sys.argv[1])
    try:
        job = json.loads((folder / "job.json").read_text())
        _limit_memory(job.pop("memory_share"))
        found = {"error": None, **work(job, folder)}
    # Besides our own messages, whatever a runtime's Python part says of a file that it cannot use.
    except (UserError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        found = {"error": str(error) or type(error).__name__}
    write_json(folder / "answer.json", found)


def _limit_memory(share: float) -> None:
    """Limit what is allocated from now on; files that are mapped do not count."""
    # Elsewhere than on Linux one of these is missing, and nothing is limited.
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        page = os.sysconf("SC_PAGE_SIZE")
        allocated = int(Path("/proc/self/statm").read_text().split()[5]) * page
        limit = allocated + int(share * page * os.sysconf("SC_PHYS_PAGES"))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most == resource.RLIM_INFINITY or most > limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
