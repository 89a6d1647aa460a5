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

import numpy as np

import tf_prune_ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
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
) -> FileRun:
    """Run one file on examples, with the runtime that another Python has.

    Args:
        python: its interpreter; it needs NumPy, ai-edge-litert (which brings the file format's
            classes) and the runtime.
        path: the .tflite file.
        examples: inputs by name, int [N, S] each.
        runtime: as in `Interpreter`.
        delegate: likewise.
        delegate_options: likewise.
    """
    # The package itself is not installed there; of it, only light modules are used.
    package_root = Path(tf_prune_ofa.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(package_root)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "examples.npz", **examples)
        job = {
            "path": str(Path(path).absolute()),
            "runtime": runtime,
            "delegate": None if delegate is None else os.fspath(delegate),
            "delegate_options": None if delegate_options is None else dict(delegate_options),
        }
        write_json(folder / "job.json", job)
        command = [str(python), "-m", __name__, str(folder)]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
        answer = folder / "answer.json"
        if finished.returncode < 0:
            return FileRun(f"the runtime crashed with signal {-finished.returncode}")
        if not answer.is_file():
            raise RuntimeError(_last_lines(finished.stderr))
        result = json.loads(answer.read_text())
        if result["error"] is not None:
            return FileRun(**result)
        with np.load(folder / "outputs.npz") as stored:
            return FileRun(**result, outputs=dict(stored))


def _answer(folder: Path) -> None:
    """The other side of `run_file`."""
    with np.load(folder / "examples.npz") as stored:
        examples = dict(stored)
    try:
        interpreter = Interpreter(**json.loads((folder / "job.json").read_text()))
        rows = []
        for row in zip(*examples.values(), strict=True):
            interpreter.set_inputs(dict(zip(examples, row, strict=True)))
            interpreter.invoke()
            rows.append(interpreter.outputs())
    except (UserError, RuntimeError) as error:
        write_json(folder / "answer.json", {"error": str(error)})
        return
    np.savez(
        folder / "outputs.npz", **{name: np.stack([r[name] for r in rows]) for name in rows[0]}
    )
    answer = {
        "error": None,
        "runtime": interpreter.runtime_name,
        "version": interpreter.runtime_version,
        "operators": interpreter.node_count,
        "delegated": interpreter.delegated_count,
        "partitions": interpreter.partition_count,
        "sparse": interpreter.sparse_count,
        "sparse_partitions": interpreter.sparse_partition_count,
    }
    write_json(folder / "answer.json", answer)


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))
