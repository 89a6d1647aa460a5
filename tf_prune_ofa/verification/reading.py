"""A .tflite file as plain tables, to be checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer

# Operators whose output holds the numbers of their first input (or, joined, of all inputs).
MOVERS = ("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "CONCATENATION")


@dataclass(frozen=True)
class Tensor:
    """One tensor: what the file says of it. `scales` and `zero_points` are empty if it is float."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    is_constant: bool


@dataclass(frozen=True)
class Operator:
    """One operator; an input that is left out is -1."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


class TfliteFile:
    """The one subgraph of a file.

    Attributes:
        tensors: by position.
        operators: in order of execution.
        inputs: tensors by name, in the file's order; so are `outputs`.
        metadata: the named parts of the file.
    """

    def __init__(self, content: bytes) -> None:
        """Read a file.

        Raises:
            UserError: these bytes are no whole .tflite file of one subgraph.
        """
        self.content = content
        self.model = flatbuffer.parse_model(content)
        if len(self.model.subgraphs) != 1:
            raise UserError(f"the file has {len(self.model.subgraphs)} subgraphs instead of one")
        graph = self.model.subgraphs[0]
        self.tensors = [self._tensor(index, one) for index, one in enumerate(graph.tensors)]
        self.operators = [self._operator(index, one) for index, one in enumerate(graph.operators)]
        self.inputs = {self.tensors[int(t)].name: int(t) for t in graph.inputs}
        self.outputs = {self.tensors[int(t)].name: int(t) for t in graph.outputs}
        self.metadata = {
            flatbuffer.text(entry.name): bytes(self.model.buffers[entry.buffer].data)
            for entry in self.model.metadata or []
        }

    def _tensor(self, index: int, entry: Any) -> Tensor:
        numbers = entry.quantization
        scales = [] if numbers is None or numbers.scale is None else numbers.scale
        zeros = [] if numbers is None or numbers.zeroPoint is None else numbers.zeroPoint
        return Tensor(
            index=index,
            name=flatbuffer.text(entry.name),
            shape=flatbuffer.shape_of(entry),
            dtype=flatbuffer.dtype_name(entry),
            scales=np.atleast_1d(np.asarray(scales, np.float32)),
            zero_points=np.atleast_1d(np.asarray(zeros, np.int64)),
            axis=0 if numbers is None else numbers.quantizedDimension,
            is_constant=flatbuffer.constant_bytes(self.model, entry) is not None,
        )

    def _operator(self, index: int, entry: Any) -> Operator:
        inputs, outputs = (
            tuple(int(t) for t in (vector if isinstance(vector, list | np.ndarray) else ()))
            for vector in (entry.inputs, entry.outputs)
        )
        name = flatbuffer.op_name(self.model.operatorCodes[entry.opcodeIndex])
        options = vars(entry.builtinOptions) if entry.builtinOptions is not None else {}
        return Operator(index, name, inputs, outputs, options)

    @cached_property
    def producers(self) -> dict[int, Operator]:
        """The operator that writes each computed tensor."""
        return {tensor: op for op in self.operators for tensor in op.outputs}

    @cached_property
    def signatures(self) -> list[tuple[dict[str, int], dict[str, int]]]:
        """(inputs, outputs) of each signature, tensors by name."""
        return [
            (_tensors_by_name(one.inputs), _tensors_by_name(one.outputs))
            for one in self.model.signatureDefs or []
        ]

    def values(self, tensor: int) -> np.ndarray:
        """Return a constant as a plain array, zeros that are not stored included."""
        found = flatbuffer.tensor_values(self.model, self.model.subgraphs[0].tensors[tensor])
        if found is None:
            raise UserError(f"tensor {tensor} is no constant whose numbers can be read")
        return found

    def stored_bytes(self, tensor: int) -> int:
        """Return the bytes that a constant takes, with the indices of a sparse one."""
        return flatbuffer.stored_bytes(self.model, self.model.subgraphs[0].tensors[tensor])

    def is_sparse(self, tensor: int) -> bool:
        """Return whether a constant is stored without its zeros."""
        return self.model.subgraphs[0].tensors[tensor].sparsity is not None

    def stored(self, tensor: int) -> int:
        """Return the constant that a tensor is unpacked from, or the tensor itself."""
        made_by = self.producers.get(tensor)
        if made_by is not None and made_by.name == "DENSIFY":
            return made_by.inputs[0]
        return tensor

    def constants(self) -> Iterator[tuple[Operator, int, int]]:
        """Yield (operator, which input, tensor) of every constant that an operator reads."""
        for operator in self.operators:
            for slot, tensor in enumerate(operator.inputs):
                if tensor >= 0 and self.tensors[tensor].is_constant:
                    yield operator, slot, tensor

    def dense_operators(self) -> Iterator[tuple[Operator, int]]:
        """Yield each operator that multiplies by a constant kernel, and that stored kernel."""
        for operator in self.operators:
            if operator.name in ("FULLY_CONNECTED", "CONV_2D"):
                stored = self.stored(operator.inputs[1])
                if self.tensors[stored].is_constant:
                    yield operator, stored


def _tensors_by_name(entries: Iterable[Any] | None) -> dict[str, int]:
    return {flatbuffer.text(entry.name): entry.tensorIndex for entry in entries or ()}
