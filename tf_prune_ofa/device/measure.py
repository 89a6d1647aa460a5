"""Measure files on one device, from the first question to the table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.device import calibrate, cores, elf, machine
from tf_prune_ofa.device.build import Programs
from tf_prune_ofa.device.job import Job, JobRow, Said
from tf_prune_ofa.device.machine import Machine
from tf_prune_ofa.device.session import DELEGATE, RUNNER, RUNTIME, Session
from tf_prune_ofa.device.target import Target, workspace
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer

# On how many inputs the results of two rows are compared.
EXAMPLES = 4
# What a device needs beside our files: outputs, files of single layers, a little room.
_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class DeviceSettings:
    """How to measure.

    Attributes:
        threads: of the runtime; a row for each.
        delegate: also measure every file with the sparse INT8 delegate.
        calibrate: measure the delegate's costs on the device first, and use them.
        cores: "all", "big", "little" or numbers; see `cores.choose`.
        runs: counted runs of each row.
        burst: counted runs in a row before the next row has its turn.
        warmup: runs of each row before the first turn.
        seconds: stop taking turns after this long.
        loads: fresh processes for each row that measure load time and memory.
        limit: seconds after which the runner gives up, whatever it is at.
        seed: of the inputs.
        sys: where sysfs is mounted on the device.
    """

    threads: tuple[int, ...] = (1,)
    delegate: bool = True
    calibrate: bool = True
    cores: str = "all"
    runs: int = 200
    burst: int = 2
    warmup: int = 5
    seconds: float = 60.0
    loads: int = 3
    limit: int = 900
    seed: int = 0
    sys: str = "/sys"


@dataclass(frozen=True)
class RowSpec:
    """A row that was asked for: which file, how, and what it is called."""

    path: Path
    is_sparse: bool
    threads: int
    label: str


@dataclass(frozen=True)
class Measured:
    """All that came back from a device.

    Attributes:
        machine: what it said before.
        after: what it said at the end.
        cores: numbers of those that it ran on; empty: the system's choice.
        rows: what was asked for.
        said: what the runner said.
        outputs: bytes of each row's outputs, by place.
        cost_table: the delegate's costs there; None if they were not measured.
    """

    machine: Machine
    after: Machine
    cores: list[int]
    rows: list[RowSpec]
    said: Said
    outputs: dict[int, bytes]
    cost_table: str | None


def rows_of(files: Sequence[Path], settings: DeviceSettings) -> list[RowSpec]:
    """Return a row for each file, number of threads, and without and with the delegate."""
    rows = []
    for path in files:
        for threads in settings.threads:
            for is_sparse in (False, True) if settings.delegate else (False,):
                label = path.name + (", delegate" if is_sparse else "")
                if len(settings.threads) > 1:
                    label += f", {threads} thread{'s' if threads > 1 else ''}"
                rows.append(RowSpec(path, is_sparse, threads, label))
    return rows


def check(files: Sequence[Path], settings: DeviceSettings) -> None:
    """Refuse what cannot be measured anywhere, before any device is asked.

    Raises:
        UserError: settings without sense, no file, or one that is missing or damaged.
    """
    if not files:
        raise UserError("No file to measure. Name at least one .tflite file.")
    for path in files:
        flatbuffer.read_model(path)
    for threads in settings.threads:
        if not 1 <= threads <= 64:
            raise UserError(f"--threads has {threads}; write numbers from 1 to 64, such as 1,4.")
    for name, least in (("runs", 1), ("warmup", 0), ("loads", 1), ("limit", 10)):
        if getattr(settings, name) < least:
            raise UserError(f"--{name} is {getattr(settings, name)}; it must be {least} or more.")
    if not settings.seconds > 0:
        raise UserError(f"--seconds is {settings.seconds}; it must be more than 0.")


def measure(
    target: Target,
    files: Sequence[Path],
    settings: DeviceSettings,
    programs_for: Callable[[Machine], Programs],
    runtime_for: Callable[[Machine], Path],
    say: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Measure files on a device. Nothing of it stays there, whatever happens.

    Args:
        target: the device.
        files: `.tflite` files.
        settings: how to measure.
        programs_for: returns runner and delegate for a machine.
        runtime_for: returns TFLite's C library for it.
        say: called with what is being done, for the console.

    Raises:
        UserError: the device cannot be reached, programs do not run there, or the measurement was
            cut off.
    """
    check(files, settings)
    target.connect()
    found = machine.ask(target, settings.sys)
    say(f"{target.name}: {found.name or 'no name'}, {found.processor}, {found.system}")
    chosen = cores.choose(settings.cores, found)
    programs, runtime = programs_for(found), runtime_for(found)
    there = {RUNNER: programs.runner, RUNTIME: runtime}
    if settings.delegate:
        there |= {DELEGATE: programs.delegate}
    for path in there.values():
        elf.require(path, found.architecture, found.name or target.name)
    models = {f"model{index}.tflite": path for index, path in enumerate(files)}
    _require_space(target, found, [*there.values(), *models.values()])
    with workspace(target) as folder, tempfile.TemporaryDirectory() as scratch:
        session = Session(target, folder, Path(scratch), settings.limit, say)
        for name, path in there.items():
            session.push(path, name)
        session.require_programs_run()
        for index, (name, path) in enumerate(models.items()):
            say(f"  sending {path.name}")
            session.push(path, name)
            session.push_bytes(_inputs(path, settings.seed), f"inputs{index}.bin")
        rows = rows_of(files, settings)
        places = {path: index for index, path in enumerate(files)}
        job_rows = [
            JobRow(f"model{i}.tflite", row.is_sparse, row.threads, f"inputs{i}.bin")
            for row in rows
            for i in [places[row.path]]
        ]
        table = None
        if settings.delegate and settings.calibrate:
            table = session.calibrate(job_rows, chosen, settings.sys)
        job = Job(
            rows=job_rows,
            runtime=f"./{RUNTIME}",
            delegate=f"./{DELEGATE}" if settings.delegate else "",
            options={"cost_table": calibrate.TABLE} if table else {},
            cores=chosen,
            sys=settings.sys,
            warmup=settings.warmup,
            rounds=max(1, -(-settings.runs // settings.burst)),
            burst=settings.burst,
            loads=settings.loads,
            seconds=settings.seconds,
            limit=settings.limit,
        )
        said = session.run(job)
        outputs = {place: session.pull(event["file"]) for place, event in said.opened.items()}
        after = machine.ask(target, settings.sys)
    return Measured(found, after, chosen, rows, said, outputs, table)


def _require_space(target: Target, found: Machine, files: Sequence[Path]) -> None:
    needed = sum(path.stat().st_size for path in files) + _SPARE_BYTES
    if found.free_bytes is not None and found.free_bytes < needed:
        raise UserError(
            f"{target.name}: {target.base} has {found.free_bytes / 1e6:.0f} MB free, "
            f"{needed / 1e6:.0f} MB are needed. Free some, measure fewer files at a time, "
            "or name another folder: --folder=FOLDER."
        )


def _inputs(path: Path, seed: int) -> bytes:
    return b"".join(
        np.ascontiguousarray(array).tobytes()
        for step in range(EXAMPLES)
        for array in make_inputs(flatbuffer.read_model(path), seed=seed + step)
    )


def with_threads(settings: DeviceSettings, threads: Sequence[str]) -> DeviceSettings:
    """Return the settings with numbers of threads as the user wrote them.

    Raises:
        UserError: one is no number.
    """
    try:
        return replace(settings, threads=tuple(dict.fromkeys(int(text) for text in threads)))
    except ValueError:
        raise UserError(f"--threads={','.join(threads)}: write numbers, such as 1,4.") from None
