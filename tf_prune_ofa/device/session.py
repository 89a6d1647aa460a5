"""Our folder on a device, and what is done in it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.device import calibrate
from tf_prune_ofa.device.job import Job, JobRow, Said
from tf_prune_ofa.device.target import Finished, Target, last_line
from tf_prune_ofa.errors import UserError

# Names of what is sent there.
RUNNER, RUNTIME, DELEGATE, COST_BENCH = "runner", "runtime.so", "delegate.so", "cost_bench"

# How much later than the runner itself we give up: it may have been stopped, or the cable is out.
GRACE_SECONDS = 30.0
_ASK_LESS = "Ask for fewer files or runs, or more time: --limit=SECONDS."


class Session:
    """A folder of ours on a device.

    Args:
        target: the device.
        folder: its path there.
        scratch: a folder here, for files on their way.
        limit: seconds that a calibration may take.
        say: called with what is being done.
    """

    def __init__(
        self,
        target: Target,
        folder: str,
        scratch: Path,
        limit: int,
        say: Callable[[str], None],
    ) -> None:
        self._target, self._folder, self._scratch = target, folder, scratch
        self._limit, self._say = limit, say

    def push(self, path: Path, name: str) -> None:
        """Copy a file there."""
        self._target.push(path, f"{self._folder}/{name}")

    def push_bytes(self, content: bytes, name: str) -> None:
        """Write a file there."""
        path = self._scratch / name
        path.write_bytes(content)
        self.push(path, name)

    def pull(self, name: str) -> bytes:
        """Read a file there."""
        path = self._scratch / name
        self._target.pull(f"{self._folder}/{name}", path)
        return path.read_bytes()

    def sh(self, command: str, **how: Any) -> Finished:
        """Run a command in it; `how` as in `Target.sh`."""
        return self._target.sh(f"cd {shlex.quote(self._folder)} && {command}", **how)

    def require_programs_run(self) -> None:
        """Make sure that programs can be started there.

        Raises:
            UserError: they cannot.
        """
        done = self.sh(f"chmod 755 {RUNNER} && ./{RUNNER} --check")
        if done.code == 0:
            return
        name, said = self._target.name, last_line(done.error + done.out)
        if done.code == 126 or "ermission denied" in said:
            raise UserError(
                f"{name}: programs cannot be started in {self._target.base} ({said}); it may be "
                "mounted noexec. Name a folder where they can: --folder=FOLDER."
            )
        raise UserError(
            f"{name}: the runner does not start ({said or f'exit code {done.code}'}). Was it built "
            "for another system (Android, Linux, an older C library)? Build it for this one, or on "
            "the device, and name the folder: --build=FOLDER."
        )

    def calibrate(self, chosen: list[int], processor: str) -> str | None:
        """Measure the delegate's costs; return the table, which is then there as well."""
        self._say("  measuring the delegate's costs on its processor")
        self.push_bytes(calibrate.dense_layer(), "dense.tflite")
        shape = [1, calibrate.TOKENS, calibrate.SIZE]
        inputs = np.random.default_rng(0).integers(-127, 128, shape, np.int8)
        self.push_bytes(inputs.tobytes(), "dense.bin")
        row = JobRow("dense.tflite", False, 1, "dense.bin")
        job = Job([row], f"./{RUNTIME}", cores=chosen, rounds=50, loads=1, seconds=10, limit=120)
        said = self.run(job)
        if 0 in said.refused or not said.rounds:
            return None
        fastest = np.quantile([one.samples_ms[0] for one in said.rounds], 0.25)
        speed = calibrate.products_per_nanosecond(float(fastest))
        pinned = f"taskset {sum(1 << core for core in chosen):x} " if chosen else ""
        command = f"./{COST_BENCH} {speed:.3f}"
        done = self.sh(
            f"chmod 755 {COST_BENCH}; {pinned}{command} || {command}", timeout=self._limit
        )
        table = calibrate.table_of(done.out, processor, speed)
        if table is None:
            self._say(f"  the costs could not be measured ({last_line(done.error + done.out)})")
            return None
        self.push_bytes(table.encode(), calibrate.TABLE)
        return table

    def run(self, job: Job) -> Said:
        """Run the runner.

        Raises:
            UserError: it did not come to its end.
        """
        self.push_bytes(job.text().encode(), "job.txt")
        said = Said()
        try:
            done = self.sh(
                f"./{RUNNER} job.txt; code=$?; rm -f pid; (exit $code)",
                timeout=job.limit + GRACE_SECONDS,
                on_line=said.add,
            )
        except TimeoutError:
            raise UserError(
                f"{self._target.name}: no end after {job.limit + GRACE_SECONDS:.0f} s, "
                f"{said.doing}. {_ASK_LESS}"
            ) from None
        if said.failed or done.code:
            raise UserError(f"{self._target.name}: {_why(said, done, job.limit)}")
        return said


def _why(said: Said, done: Finished, limit: int) -> str:
    """Say why the runner did not come to its end."""
    if said.failed:
        return f"{said.failed} ({said.doing})."
    signal = done.code - 128
    if signal == 14:
        return f"the runner stopped itself after {limit} s, {said.doing}. {_ASK_LESS}"
    if signal == 9:
        return (
            f"the runner was killed {said.doing}, most likely because memory ran out. Measure "
            "fewer files at a time, or close apps."
        )
    reason = f"signal {signal}" if signal > 0 else f"exit code {done.code}"
    words = last_line(done.error)
    return f"the runner ended {said.doing} with {reason}" + (f": {words}" if words else ".")
