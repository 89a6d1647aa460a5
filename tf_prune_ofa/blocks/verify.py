"""Run a file and what a pass made of it, and compare their outputs bit for bit."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.elsewhere import FileRun, run_file
from tf_prune_ofa.runtime.ports import plain_name
from tf_prune_ofa.tflite import flatbuffer


def verify_equal(before: bytes, after: bytes, examples: int = 3, seed: int = 0) -> None:
    """Refuse a file that does not compute what another one does.

    Both run in processes of their own: a damaged file can crash a runtime.

    Args:
        before: bytes of the file that is right.
        after: bytes of the file that was made from it.
        examples: how many random inputs to compare on; a file of several signatures on so many
            for each.
        seed: of the inputs.

    Raises:
        UserError: one of them does not load or run here, or an output differs.
    """
    model = flatbuffer.parse_model(before)
    keys = [flatbuffer.text(one.signatureKey) for one in model.signatureDefs or []]
    for key in keys if len(model.subgraphs) > 1 and keys else [None]:
        _verify_one(before, after, key, _examples(model, key, examples, seed))


def _examples(
    model: schema.ModelT, key: str | None, examples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return random inputs by name, [N, ...] each, of a signature or of the first subgraph."""
    named = [one for one in model.signatureDefs or [] if flatbuffer.text(one.signatureKey) == key]
    subgraph = model.subgraphs[named[0].subgraphIndex if named else 0]
    if named:
        entries = {entry.tensorIndex: flatbuffer.text(entry.name) for entry in named[0].inputs}
        names = [entries[int(i)] for i in subgraph.inputs if int(i) in entries]
    else:
        full = [flatbuffer.text(subgraph.tensors[int(i)].name) for i in subgraph.inputs]
        plain = [plain_name(name) for name in full]
        names = plain if len(set(plain)) == len(plain) else full
    rows = [make_inputs(model, subgraph, seed=seed + index) for index in range(examples)]
    return {name: np.stack(values) for name, *values in zip(names, *rows, strict=True)}


def _verify_one(
    before: bytes, after: bytes, signature: str | None, inputs: dict[str, np.ndarray]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected, found = (
            _run(Path(folder, name), content, inputs, signature)
            for name, content in (("input.tflite", before), ("output.tflite", after))
        )
    if expected.outputs is None:
        raise UserError(
            f"the runtime cannot run the input file: {expected.error}\nExport it again, or leave "
            "out the comparison with --noverify."
        )
    if found.outputs is None:
        raise UserError(
            f"the file that was made does not run: {found.error}\nNothing is written. Please "
            "report it, with the input file."
        )
    for name, values in expected.outputs.items():
        other = found.outputs[name]
        if values.tobytes() != other.tobytes():
            largest = np.abs(values.astype(np.float64) - other).max()
            raise UserError(
                f"output {name} of the new file differs by up to {largest:g} on {found.runtime} "
                f"{found.version}; nothing is written. Name another --block, and please report it."
            )


def _run(
    path: Path, content: bytes, inputs: dict[str, np.ndarray], signature: str | None
) -> FileRun:
    path.write_bytes(content)
    return run_file(sys.executable, path, inputs, signature=signature)
