"""Our folder on a device, and what is done in it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.device import calibrate
from tf_prune_ofa.device.job import Job, JobRow, Said
from tf_prune_ofa.device.target import Finished, Target, TimedOut, last_line
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.calibrate import LayerRace
from tf_prune_ofa.runtime.costs import LayerTimes
from tf_prune_ofa.runtime.layer_chain import LayerShape

# Names of what is sent there.
RUNNER, RUNTIME, DELEGATE = "runner", "runtime.so", "delegate.so"

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

    def calibrate(self, rows: Sequence[JobRow], chosen: list[int], sys: str) -> str | None:
        """Measure those layers of files that the delegate has no times of.

        Args:
            rows: of the files, which are there; those without the delegate do not matter.
            chosen: cores to run on.
            sys: where sysfs is mounted.

        Returns:
            The cost table, which is then there as well; None if there was nothing to measure.
        """
        common: dict[str, Any] = {"runtime": f"./{RUNTIME}", "delegate": f"./{DELEGATE}"}
        common |= {"cores": chosen, "sys": sys, "limit": self._limit, "loads": 1, "warmup": 0}
        opened = self.run(Job([row for row in rows if row.is_sparse], rounds=0, **common))
        shapes, about = calibrate.unmeasured(opened), calibrate.processor(opened)
        if not shapes or about is None:
            return None
        name, kernels, tile = about
        times: list[LayerTimes] = []
        done: set[LayerShape] = set()
        for shape in shapes:
            if shape in done:
                continue
            done |= {shape, shape.turned()}
            self._say(
                f"  measuring layers of {shape.rows} x {shape.columns}, {shape.threads} threads"
            )
            race = LayerRace(shape, tile)
            self.push_bytes(calibrate.an_input(shape), "chain.bin")
            chains = []
            for index, (file, options) in enumerate(race.files()):
                self.push_bytes(file, f"chain{index}.tflite")
                is_sparse = options is not None
                chains.append(
                    JobRow(
                        f"chain{index}.tflite", is_sparse, shape.threads, "chain.bin", options or {}
                    )
                )
            seconds, rounds = calibrate.SECONDS, calibrate.ROUNDS
            said = self.run(Job(chains, rounds=rounds, burst=1, seconds=seconds, **common))
            self.sh("rm -f chain* out*.bin")
            us = calibrate.microseconds(said, len(chains), shape.threads)
            times += race.times(us, kernels)
        if not times:
            return None
        table = calibrate.table(name, f"tflite_c {opened.runtime}", times)
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
        except TimedOut:
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
