"""Run files in another Python process, with other packages than this one has.

Old runtimes, and MediaPipe, cannot be installed beside the pinned packages. Each gets a virtual
environment of its own, made once in a cache folder. A process of its own per file also means that a
runtime that crashes takes nothing else with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime import apart
from tf_prune_ofa.runtime.interpreter import Interpreter

_DONE = "installed.json"


@dataclass(frozen=True)
class FileRun:
    """What became of one file in one runtime.

    `error` is None if it loaded and ran; `outputs` are {name: [N, ...]} over the N examples, None
    after an error.
    """

    error: str | None
    runtime: str = ""
    version: str = ""
    operators: int = 0
    delegated: int = 0
    partitions: int = 0
    outputs: Mapping[str, np.ndarray] | None = None
    sparse: int = 0
    sparse_partitions: int = 0


def make_python(folder: str | os.PathLike[str], requirements: Sequence[str]) -> Path:
    """Make a virtual environment with some packages, unless it is there already.

    Args:
        folder: where; its parents are created.
        requirements: what to install, e.g. `["ai-edge-litert==1.4.0"]`.

    Returns:
        The environment's Python.

    Raises:
        UserError: the packages cannot be installed.
    """
    folder = Path(folder).absolute()
    python = folder / "bin" / "python"
    done = folder / _DONE
    if done.is_file() and json.loads(done.read_text()) == list(requirements):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*install, *requirements]):
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            raise UserError(
                f"cannot install {' '.join(requirements)} into {folder}:\n"
                f"{_last_lines(finished.stderr)}\nCheck that the package index can be reached."
            )
    write_json(done, list(requirements))
    return python


def run_file(
    python: str | os.PathLike[str],
    path: str | os.PathLike[str],
    examples: Mapping[str, np.ndarray],
    runtime: str = "auto",
    delegate: str | os.PathLike[str] | None = None,
    delegate_options: Mapping[str, str] | None = None,
    signature: str | None = None,
    limit_s: float = apart.LIMIT_S,
) -> FileRun:
    """Run one file on examples, with the runtime that another Python has.

    Args:
        python: its interpreter; it needs NumPy, ai-edge-litert (which brings the file format's
            classes) and the runtime.
        path: the .tflite file.
        examples: inputs by name, [N, ...] each.
        runtime: as in `Interpreter`.
        delegate: likewise.
        delegate_options: likewise.
        signature: which of the file's signatures to run; None for its first subgraph.
        limit_s: when to end a run that does not finish.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(folder / "examples.npz", examples)
        job = {
            "path": str(Path(path).absolute()),
            "runtime": runtime,
            "delegate": None if delegate is None else os.fspath(delegate),
            "delegate_options": None if delegate_options is None else dict(delegate_options),
            "signature": signature,
        }
        try:
            result = apart.ask(__name__, job, folder, python=python, limit_s=limit_s)
        except apart.RuntimeEnded as error:
            return FileRun(str(error))
        if result["error"] is not None:
            return FileRun(**result)
        with np.load(folder / "outputs.npz") as stored:
            return FileRun(**result, outputs=dict(stored))


def _run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The other side of `run_file`."""
    signature = job.pop("signature")
    with np.load(folder / "examples.npz") as stored:
        examples = dict(stored)
    interpreter = Interpreter(**job)
    rows = []
    for row in zip(*examples.values(), strict=True):
        values = dict(zip(examples, row, strict=True))
        if signature is not None:
            rows.append(interpreter.run_signature(signature, values))
            continue
        interpreter.set_inputs(values)
        interpreter.invoke()
        rows.append(interpreter.outputs())
    outputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    write_arrays(folder / "outputs.npz", outputs)
    return {
        "runtime": interpreter.runtime_name,
        "version": interpreter.runtime_version,
        "operators": interpreter.node_count,
        "delegated": interpreter.delegated_count,
        "partitions": interpreter.partition_count,
        "sparse": interpreter.sparse_count,
        "sparse_partitions": interpreter.sparse_partition_count,
    }


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


if __name__ == "__main__":
    apart.answer(_run)
