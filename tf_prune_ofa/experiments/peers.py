"""Other runtimes to compare with, each in an environment of its own.

None of them can be installed beside this package's pinned packages, and none is needed for anything
but the comparison. They read ONNX; `onnx_encoder` writes the suite's encoder for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tf_prune_ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import atomic_path
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime.elsewhere import make_python

# `onnx` writes the graphs. DeepSparse ended with 1.8, for Python up to 3.11, and brings the `onnx`
# of its time.
PEERS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime==1.31.1", "onnx==1.23.2"),
    "openvino": ("openvino==2026.4.1", "onnx==1.23.2"),
    "deepsparse": ("deepsparse==1.8.0",),
}


def make(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    on_peer: Callable[[str], None] = lambda name: None,
) -> dict[str, Path]:
    """Make the environments of some peers, unless they are there already.

    Args:
        folder: holds one environment for each peer.
        names: keys of `PEERS`.
        on_peer: called with each name before its turn.

    Returns:
        The Python of each.

    Raises:
        UserError: there is no such peer, or its packages cannot be installed.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise UserError(f"There is no peer {', '.join(unknown)}. There are: {', '.join(PEERS)}.")
    pythons = {}
    for name in names:
        on_peer(name)
        pythons[name] = make_python(Path(folder) / name, PEERS[name])
    return pythons


def installed(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the Python of each peer whose environment `make` has finished in a folder."""
    found = {}
    for name, requirements in PEERS.items():
        done = Path(folder, name, "installed.json")
        if done.is_file() and json.loads(done.read_text()) == list(requirements):
            found[name] = Path(folder, name, "bin", "python").absolute()
    return found


def write_onnx(python: Path, output: Path, **arguments: Any) -> None:
    """Write the encoder with a Python that has `onnx`; see `onnx_encoder.main` for arguments."""
    with atomic_path(output) as temporary, tempfile.TemporaryDirectory() as folder:
        job = Path(folder, "job.json")
        write_json(job, {**arguments, "output": temporary})
        _run(python, ["-m", "tf_prune_ofa.experiments.onnx_encoder", str(job)])


def quantize_dynamically(python: Path, source: Path, output: Path) -> None:
    """Quantize an ONNX file with ONNX Runtime's tool: INT8 weights, one scale for each output."""
    code = (
        "import sys; from onnxruntime.quantization import QuantType, quantize_dynamic as q; "
        "q(sys.argv[1], sys.argv[2], per_channel=True, weight_type=QuantType.QInt8)"
    )
    with atomic_path(output) as temporary:
        _run(python, ["-c", code, str(source), str(temporary)])


def _run(python: Path, arguments: Sequence[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(tf_prune_ofa.__file__).parents[1])}
    done = subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{python} ended with {done.returncode}:\n{done.stderr}")
