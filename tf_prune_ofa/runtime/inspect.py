"""What is in a `.tflite` file, and how much of it XNNPACK and the sparse delegate take over.

Everything but `loaded` comes from the file alone, so it can be read even of a file that no runtime
accepts.
"""

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import apart
from tf_prune_ofa.runtime.delegate import DelegateReport, LayerVerdict
from tf_prune_ofa.runtime.installed import Runtime
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.summaries import (
    FileSummary,
    LoadSummary,
    OpSummary,
    PortSummary,
    TypeSummary,
    WeightSummary,
)
from tf_prune_ofa.tflite import flatbuffer, packed_files


def inspect(path: str | os.PathLike[str]) -> FileSummary:
    """Summarizes a `.tflite` file without running it.

    Raises:
        UserError: no such file, not a TFLite file, or a damaged or cut one.
    """
    data = flatbuffer.read_bytes(path)
    model = flatbuffer.parse_model(data, name=os.fspath(path))
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors or []]
    main = model.subgraphs[0]
    ops = Counter(
        (flatbuffer.op_name(code), code.version)
        for graph in model.subgraphs
        for code in (model.operatorCodes[op.opcodeIndex] for op in graph.operators or [])
    )
    return FileSummary(
        path=os.fspath(path),
        size_bytes=len(data),
        buffer_bytes=sum(len(flatbuffer.numbers(buffer.data)) for buffer in model.buffers),
        description=flatbuffer.text(model.description),
        operators=sum(ops.values()),
        graphs=len(model.subgraphs),
        ops=tuple(OpSummary(*key, count) for key, count in ops.most_common()),
        inputs=_ports(main, main.inputs),
        outputs=_ports(main, main.outputs),
        types=_types(model, tensors),
        weights=tuple(_weights(model)),
        dynamic_tensors=tuple(_name(t) for t in tensors if flatbuffer.is_dynamic(t)),
        metadata=tuple(flatbuffer.text(entry.name) for entry in model.metadata or []),
        associated_files=packed_files.names(data),
    )


def load(
    summary: FileSummary,
    runtime: Runtime = "auto",
    delegate: str | os.PathLike[str] | None = None,
) -> FileSummary:
    """Adds what a runtime does with the file to its summary.

    The runtime has the file in a process of its own: it may crash on what nothing is wrong with in
    the summary.

    Args:
        summary: what `inspect` gave.
        runtime: which runtime; see `interpreter.Interpreter`.
        delegate: the sparse INT8 delegate; see there.

    Returns:
        The summary with `loaded`.

    Raises:
        UserError: the runtime is not installed, refuses the file, crashes, or does not finish.
    """
    job = {
        "path": os.path.abspath(summary.path),
        "runtime": runtime,
        "delegate": None if delegate is None else os.fspath(delegate),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = apart.ask(__name__, job, Path(folder))
        except apart.RuntimeEnded as error:
            raise UserError(
                f"{error} when it was given {summary.path}. The file is damaged, or has a form "
                "that this runtime is not made for: export it again, or choose another --runtime."
            ) from error
    if answer["error"] is not None:
        raise UserError(answer["error"])
    report = answer["loaded"].pop("sparse_report")
    if report is not None:
        layers = tuple(LayerVerdict(**layer) for layer in report.pop("layers"))
        report = DelegateReport(**report, layers=layers)
    return replace(summary, loaded=LoadSummary(**answer["loaded"], sparse_report=report))


class _Listening(logging.Handler):
    """Keeps what is logged as warnings."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def _load(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The other side of `load`."""
    said: list[str] = []
    handler = _Listening(said)
    logging.getLogger("tf_prune_ofa").addHandler(handler)
    opened = Interpreter(**job)
    loaded = LoadSummary(
        runtime=opened.runtime_name,
        version=opened.runtime_version,
        operators=opened.node_count,
        delegated=opened.delegated_count,
        partitions=opened.partition_count,
        sparse=opened.sparse_count,
        sparse_partitions=opened.sparse_partition_count,
        sparse_report=opened.delegate_report,
        sparse_missing=" ".join(said) if opened.delegate_report is None else "",
    )
    return {"loaded": asdict(loaded)}


def _ports(graph: schema.SubGraphT, indices: np.ndarray | None) -> tuple[PortSummary, ...]:
    ports = []
    for tensor in (graph.tensors[i] for i in flatbuffer.numbers(indices) if i >= 0):
        scales, zero_points = _scales(tensor)
        is_open = flatbuffer.is_dynamic(tensor)
        open_shape = tuple(flatbuffer.numbers(tensor.shapeSignature).tolist())
        ports.append(
            PortSummary(
                name=_name(tensor),
                shape=open_shape if is_open else flatbuffer.shape_of(tensor),
                dtype=flatbuffer.dtype_name(tensor),
                is_dynamic=flatbuffer.is_dynamic(tensor),
                scale=float(scales[0]) if len(scales) else None,
                zero_point=int(zero_points[0]) if len(scales) else None,
            )
        )
    return tuple(ports)


def _types(model: schema.ModelT, tensors: list[schema.TensorT]) -> tuple[TypeSummary, ...]:
    summaries: dict[str, TypeSummary] = {}
    counted: set[int] = set()
    for tensor in tensors:
        dtype = flatbuffer.dtype_name(tensor)
        so_far = summaries.get(dtype, TypeSummary(dtype, 0, 0, 0))
        size = flatbuffer.stored_bytes(model, tensor)
        summaries[dtype] = TypeSummary(
            dtype=dtype,
            tensors=so_far.tensors + 1,
            constants=so_far.constants + (size > 0),
            # Equal constants share one buffer, which is in the file only once.
            stored_bytes=so_far.stored_bytes + (0 if tensor.buffer in counted else size),
        )
        counted.add(tensor.buffer)
    return tuple(sorted(summaries.values(), key=lambda kind: -kind.stored_bytes))


def _weights(model: schema.ModelT) -> Iterator[WeightSummary]:
    for graph in model.subgraphs:
        readers: dict[int, list[str]] = {}
        for operator in graph.operators or []:
            name = flatbuffer.op_name(model.operatorCodes[operator.opcodeIndex])
            for index in flatbuffer.numbers(operator.inputs):
                readers.setdefault(int(index), []).append(name)
        # In the order of use, which is the order of the layers; unused ones come last.
        order = [*readers, *(i for i in range(len(graph.tensors or [])) if i not in readers)]
        for index in order:
            if index < 0:  # an optional input that is left out
                continue
            tensor = graph.tensors[index]
            is_matrix = sum(size > 1 for size in flatbuffer.shape_of(tensor)) >= 2
            if is_matrix and flatbuffer.constant_bytes(model, tensor) is not None:
                yield _weight(model, tensor, tuple(dict.fromkeys(readers.get(index, []))))


def _weight(
    model: schema.ModelT, tensor: schema.TensorT, used_by: tuple[str, ...]
) -> WeightSummary:
    shape = flatbuffer.shape_of(tensor)
    scales, _ = _scales(tensor)
    return WeightSummary(
        name=_name(tensor),
        used_by=used_by,
        shape=shape,
        dtype=flatbuffer.dtype_name(tensor),
        quantization=("none", "per-tensor", "per-channel")[min(len(scales), 2)],
        encoding=_encoding(tensor, len(shape)),
        elements=prod(shape),
        zeros=_count_zeros(model, tensor),
        stored_bytes=flatbuffer.stored_bytes(model, tensor),
    )


def _count_zeros(model: schema.ModelT, tensor: schema.TensorT) -> int | None:
    """How many numbers of a weight mean zero; None where the file does not say what does."""
    values = flatbuffer.stored_values(model, tensor)
    if values is None:
        return None
    shape = flatbuffer.shape_of(tensor)
    _, zero_points = _scales(tensor)
    zero_points = zero_points if len(zero_points) else np.zeros(1, np.int64)
    if tensor.sparsity is not None:
        # What a sparse tensor does not store is the integer 0.
        is_zero = not zero_points.any()
        return prod(shape) - int(np.count_nonzero(values)) if is_zero else None
    if len(zero_points) > 1:
        axis = tensor.quantization.quantizedDimension
        if not 0 <= axis < len(shape) or shape[axis] != len(zero_points):
            return None
        zero_points = zero_points.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return int(np.count_nonzero(values.reshape(shape) == zero_points))


def _scales(tensor: schema.TensorT) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points; both empty for a tensor that is not quantized.

    A file without zero points means 0; one of as many as it likes is shown as it is.
    """
    quantization = tensor.quantization
    scales = flatbuffer.numbers(None if quantization is None else quantization.scale)
    if not len(scales):
        return np.zeros(0), np.zeros(0, np.int64)
    zero_points = flatbuffer.numbers(quantization.zeroPoint)
    return scales, zero_points if len(zero_points) else np.zeros(len(scales), np.int64)


def _encoding(tensor: schema.TensorT, rank: int) -> str:
    if tensor.sparsity is None:
        return "dense"
    # The levels after the tensor's own dimensions are those inside a block.
    order = list(tensor.sparsity.traversalOrder)
    blocks = tensor.sparsity.blockMap
    block = [1] * rank
    for i, dimension in enumerate([] if blocks is None else blocks):
        block[dimension] = tensor.sparsity.dimMetadata[order.index(rank + i)].denseSize
    return "sparse" if prod(block) == 1 else "sparse " + "x".join(map(str, block))


def _name(tensor: schema.TensorT) -> str:
    # The converter joins the names of fused operations with semicolons; the first says enough.
    return flatbuffer.text(tensor.name).split(";")[0] or "(no name)"


if __name__ == "__main__":
    apart.answer(_load)
