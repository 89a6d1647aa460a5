"""Write a model as the bytes of a `.tflite` file.

Everything that the file had stays in it, but for what a pass has stopped using: tensors of the
edited subgraph, and the constants and operator codes that only they needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import flatbuffer

# The C++ writer aligns constants to 16 bytes, so that kernels may read them with vector loads
# straight from the mapped file. Python's generated classes would align them to 4.
BUFFER_ALIGNMENT = 16


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes start at a multiple of BUFFER_ALIGNMENT."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (the generated name)
        data = None
        if self.data is not None and len(self.data):
            content = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors once.

    Per-channel parameters repeat (a zero point for every channel of every kernel and bias: 16 bytes
    for each output), which would be a tenth of a sparse file.
    """

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (the library's name)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def buffer(data: Any) -> schema.BufferT:
    """Return a buffer with some bytes, aligned when it is written."""
    made = _AlignedBuffer()
    made.data = data
    return made


def unreferenced_buffers(model: schema.ModelT) -> set[int]:
    """Return the buffers with content that nothing in the file refers to.

    Whoever put them there knows them by their content; a pass has no business with them.
    """
    used = {holder.buffer for holder in _holders(model)} | set(_numbers(model.metadataBuffer))
    filled = {i for i, entry in enumerate(model.buffers) if entry.data is not None}
    return {i for i in filled if len(model.buffers[i].data)} - used


def write(model: schema.ModelT, subgraph: int, spare_buffers: Collection[int]) -> bytes:
    """Return a model's bytes; positions in it change.

    Args:
        model: the file.
        subgraph: the one that was edited; of it, tensors that nothing uses are left out.
        spare_buffers: buffers to keep though nothing refers to them.
    """
    _drop_unused_tensors(model, subgraph)
    _drop_unused_buffers(model, spare_buffers)
    _drop_unused_opcodes(model)
    builder = _SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


def _drop_unused_tensors(model: schema.ModelT, index: int) -> None:
    subgraph = model.subgraphs[index]
    operators = subgraph.operators or []
    named = [d for d in model.signatureDefs or [] if d.subgraphIndex == index]
    entries = [e for d in named for e in [*(d.inputs or []), *(d.outputs or [])]]
    used = {int(t) for t in [*_numbers(subgraph.inputs), *_numbers(subgraph.outputs)]}
    used.update(entry.tensorIndex for entry in entries)
    for operator in operators:
        used.update(int(t) for t in [*operator.inputs, *operator.outputs] if t >= 0)
        used.update(int(t) for t in _numbers(operator.intermediates) if t >= 0)
    position = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}

    def move(tensors: Iterable[int]) -> np.ndarray:
        return np.asarray([position[int(t)] for t in tensors], np.int32)

    subgraph.tensors = [subgraph.tensors[old] for old in sorted(used)]
    subgraph.inputs = move(_numbers(subgraph.inputs))
    subgraph.outputs = move(_numbers(subgraph.outputs))
    for operator in operators:
        operator.inputs, operator.outputs = move(operator.inputs), move(operator.outputs)
        operator.intermediates = move(_numbers(operator.intermediates))
    for entry in entries:
        entry.tensorIndex = position[entry.tensorIndex]


def _drop_unused_buffers(model: schema.ModelT, spare: Collection[int]) -> None:
    buffers = model.buffers or [schema.BufferT()]
    kept = [0]  # by convention buffer 0 is empty and means: no constant
    position = {0: 0}
    by_content: dict[bytes, int] = {}
    listed = _numbers(model.metadataBuffer)
    for old in [*(holder.buffer for holder in _holders(model)), *map(int, listed), *sorted(spare)]:
        if old in position:
            continue
        data = buffers[old].data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        # Every tensor that is computed may have an empty buffer of its own; they stay apart, as
        # the converter writes them. Equal constants are stored once.
        if content and content in by_content:
            position[old] = by_content[content]
            continue
        position[old] = by_content[content] = len(kept)
        kept.append(old)
    for holder in _holders(model):
        holder.buffer = position[holder.buffer]
    if len(listed):
        model.metadataBuffer = np.asarray([position[int(old)] for old in listed], np.int32)
    model.buffers = [buffer(buffers[old].data) for old in kept]


def _drop_unused_opcodes(model: schema.ModelT) -> None:
    operators = [op for subgraph in model.subgraphs for op in subgraph.operators or []]
    kept = sorted({op.opcodeIndex for op in operators})
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[old] for old in kept]


def _holders(model: schema.ModelT) -> list[Any]:
    """Return what refers to a buffer."""
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors or []]
    return [*tensors, *(model.metadata or [])]


def _numbers(vector: Any) -> Any:
    # The generated classes read an empty vector as None or 0.
    return vector if isinstance(vector, list | np.ndarray) else []
