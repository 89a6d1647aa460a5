"""What files are measured on: texts, or random ids of a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.bench.inputs import make_inputs, open_inputs
from tf_prune_ofa.bench.rows import Row
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.ports import plain_name
from tf_prune_ofa.tflite import flatbuffer

# On how many inputs the results of two rows are compared.
COMPARED = 4

Examples = Sequence[Mapping[str, np.ndarray]]


def examples_of(
    rows: Sequence[Row], reference: int | None, settings: BenchSettings
) -> tuple[list[Row], list[Examples]]:
    """The rows, and inputs by name for each: those of its own file, or else the reference's."""
    known: dict[Path, Examples] = {}
    lengths: dict[Path, int] = {}
    found, opened = [], []
    for row in rows:
        if not row.path.is_file():
            raise UserError(f"No such file: {row.path}. Give paths of model files.")
        source = row.path
        if source.suffix != ".tflite":
            if reference is None or rows[reference].path.suffix != ".tflite":
                raise UserError(
                    f"{source} is no .tflite file, so it needs the inputs of the reference. Name a "
                    ".tflite file as reference."
                )
            source = rows[reference].path
        if source not in known:
            # What is no model is refused here, before minutes of measuring.
            model = flatbuffer.read_model(source)
            length = _length(source, model, settings)
            graph = model.subgraphs[0]
            names = [plain_name(flatbuffer.text(graph.tensors[i].name)) for i in graph.inputs]
            examples = [
                make_inputs(model, seed=settings.seed + step, sequence_length=length)
                for step in range(COMPARED)
            ]
            known[source] = [dict(zip(names, one, strict=True)) for one in examples]
            if length is not None:
                lengths[source] = length
        found.append(known[source])
        if row.path in lengths:
            row = replace(row, options={**row.options, "sequence_length": lengths[row.path]})
        opened.append(row)
    return opened, found


def _length(path: Path, model: schema.ModelT, settings: BenchSettings) -> int | None:
    """How many tokens a file is run on; None where its shapes are fixed.

    Raises:
        UserError: the settings do not say, or say otherwise.
    """
    shapes = open_inputs(model)
    if shapes and settings.sequence_length is None:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(
            f"{path} leaves the length of its inputs open ({listed}), and a time means nothing "
            "without one. Say how many tokens with --sequence_length=128."
        )
    if shapes and settings.runtime == "compiled_model":
        raise UserError(
            f"{path} leaves the length of its inputs open, which --runtime=compiled_model is not "
            "measured with. Take --runtime=litert, or a file of fixed shapes."
        )
    if not shapes and settings.sequence_length is not None:
        graph = model.subgraphs[0]
        fixed = {flatbuffer.shape_of(graph.tensors[int(i)]) for i in graph.inputs}
        if not any(settings.sequence_length in shape for shape in fixed):
            raise UserError(
                f"{path} has the fixed input shapes {', '.join(map(str, sorted(fixed)))}, but "
                f"--sequence_length is {settings.sequence_length}. Leave it out, or convert the "
                "model for that length."
            )
        return None
    return settings.sequence_length if shapes else None
