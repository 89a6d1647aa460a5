"""A .tflite file as a graph that can be read, changed and written back, without TensorFlow.

The file is a flatbuffer; its generated Python classes come with the LiteRT wheel (and with
TensorFlow). Only the first subgraph is edited: a BERT encoder has no control flow, hence no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer, graph_bytes, packed_files

_NUMPY_TYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.FLOAT64: np.dtype(np.float64),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
    schema.TensorType.BOOL: np.dtype(np.bool_),
}
_TENSOR_TYPES = {dtype: code for code, dtype in _NUMPY_TYPES.items()}


class Graph:
    """One subgraph of a .tflite file, to be read and changed; all else in the file stays.

    Attributes:
        model: the whole file as generated object classes (`ModelT`).
        subgraph_index: which of its subgraphs this is.
        subgraph: that subgraph (`SubGraphT`).
        tensors: its tensors (`TensorT`); operators refer to them by position.
        operators: its operators (`OperatorT`) in order of execution.
        packed: what is packed behind the model, such as a vocabulary.
    """

    def __init__(self, content: bytes, subgraph: int = 0) -> None:
        """Parse a file.

        Args:
            content: the bytes of a .tflite file.
            subgraph: which one; a file has several for several signatures, or for control flow.

        Raises:
            UserError: these bytes are not a whole .tflite file, or hold what could not be written
                back.
        """
        self.model = flatbuffer.parse_model(content)
        self.packed = packed_files.read(content)
        self._spare_buffers = graph_bytes.unreferenced_buffers(self.model)
        self.subgraph_index = subgraph
        self.subgraph = self.model.subgraphs[subgraph]
        self.tensors = self.subgraph.tensors = self.subgraph.tensors or []
        self.operators = self.subgraph.operators = self.subgraph.operators or []
        self.subgraph.inputs = np.array(_list(self.subgraph.inputs), np.int32)
        self.subgraph.outputs = np.array(_list(self.subgraph.outputs), np.int32)
        for operator in (op for graph in self.model.subgraphs for op in graph.operators or []):
            _require_known_options(operator)
        for operator in self.operators:
            # Vectors are read-only views of the file; passes redirect inputs one by one.
            operator.inputs = np.array(_list(operator.inputs), np.int32)
            operator.outputs = np.array(_list(operator.outputs), np.int32)

    # Reading

    def op_name(self, operator: Any) -> str:
        """Return the operator's name, e.g. `FULLY_CONNECTED`, or `CUSTOM:name`."""
        return flatbuffer.op_name(self.model.operatorCodes[operator.opcodeIndex])

    def op_version(self, operator: Any) -> int:
        """Return the version of the operator's definition that the file asks for."""
        return self.model.operatorCodes[operator.opcodeIndex].version

    def name(self, tensor: int) -> str:
        """Return a tensor's name."""
        return flatbuffer.text(self.tensors[tensor].name)

    def dtype(self, tensor: int) -> np.dtype | None:
        """Return a tensor's NumPy type; None where NumPy has none (INT4, STRING, ...)."""
        return _NUMPY_TYPES.get(self.tensors[tensor].type)

    def shape(self, tensor: int) -> list[int]:
        """Return a tensor's shape."""
        return list(flatbuffer.shape_of(self.tensors[tensor]))

    def is_constant(self, tensor: int) -> bool:
        """Return whether the tensor's value is in the file."""
        return tensor >= 0 and self._data(tensor) is not None

    def stored_bytes(self, tensor: int) -> int:
        """Return how many bytes the file holds for a tensor: values, and indices if sparse."""
        return flatbuffer.stored_bytes(self.model, self.tensors[tensor])

    def values(self, tensor: int) -> np.ndarray:
        """Return the value of a constant, zeros that are not stored included.

        Raises:
            ValueError: the tensor is no constant, or of a type that is not read.
        """
        found = flatbuffer.tensor_values(self.model, self.tensors[tensor])
        if found is None:
            raise ValueError(f"tensor {self.name(tensor)!r} is no constant whose value can be read")
        return found

    def constant(self, tensor: int) -> np.ndarray:
        """Return the value of a constant that is stored densely.

        Raises:
            ValueError: the tensor is no constant, or is stored sparsely.
        """
        data = self._data(tensor)
        if data is None or self.tensors[tensor].sparsity is not None or self.dtype(tensor) is None:
            raise ValueError(f"tensor {self.name(tensor)!r} is not stored as a dense constant")
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), self.dtype(tensor))
        return values.reshape(self.shape(tensor))

    def consumers(self, tensor: int) -> list[Any]:
        """Return the operators that read a tensor."""
        return [op for op in self.operators if tensor in op.inputs]

    def signature(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return {name: tensor} of the inputs and of the outputs, in their order in the file."""
        names = {}
        for definition in self.signatures()[:1]:
            for entry in [*(definition.inputs or []), *(definition.outputs or [])]:
                names[entry.tensorIndex] = flatbuffer.text(entry.name)
        inputs, outputs = (
            {names.get(int(tensor), self.name(tensor)): int(tensor) for tensor in tensors}
            for tensors in (self.subgraph.inputs, self.subgraph.outputs)
        )
        return inputs, outputs

    def ports(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return the positions of the inputs and of the outputs."""
        return self.subgraph.inputs, self.subgraph.outputs

    def signatures(self) -> list[Any]:
        """Return the signatures (`SignatureDefT`) of this subgraph."""
        every = self.model.signatureDefs or []
        return [one for one in every if one.subgraphIndex == self.subgraph_index]

    # Changing

    def add_tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype | type,
        quantization: Any = None,
    ) -> int:
        """Add a tensor that an operator will write, and return its position."""
        return self._append(name, shape, _tensor_type(dtype), quantization, None, buffer=0)

    def add_like(self, tensor: int, name: str, shape: Sequence[int]) -> int:
        """Add a tensor of another one's type and quantization, and return its position."""
        old = self.tensors[tensor]
        return self._append(name, shape, old.type, old.quantization, None, buffer=0)

    def add_constant(
        self,
        name: str,
        value: np.ndarray,
        quantization: Any = None,
        sparsity: Any = None,
        shape: Sequence[int] | None = None,
    ) -> int:
        """Add a constant and return its position.

        Args:
            name: the tensor's name.
            value: its value, or only the stored values if `sparsity` says where they belong.
            quantization: `QuantizationParametersT`, or None.
            sparsity: `SparsityParametersT`, or None.
            shape: the tensor's shape where it is not `value.shape`.
        """
        content = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self.model.buffers.append(graph_bytes.buffer(content))
        shape = value.shape if shape is None else shape
        buffer = len(self.model.buffers) - 1
        tensor_type = _tensor_type(value.dtype)
        return self._append(name, shape, tensor_type, quantization, sparsity, buffer)

    def add_int4(self, name: str, value: np.ndarray, quantization: Any) -> int:
        """Add a constant of the type INT4 and return its position.

        Args:
            name: the tensor's name.
            value: INT8 numbers of -8 to 7, an even count; two share a byte, the first in its lower
                bits.
            quantization: `QuantizationParametersT`.
        """
        lower, upper = value.reshape(-1, 2).T
        packed = (lower & 15) | ((upper & 15) << 4)
        tensor = self.add_constant(name, packed.astype(np.int8), quantization, shape=value.shape)
        self.tensors[tensor].type = schema.TensorType.INT4
        return tensor

    def alias(self, tensor: int, name: str) -> int:
        """Add a second name for a constant, sharing its bytes, and return its position."""
        old = self.tensors[tensor]
        shape = self.shape(tensor)
        return self._append(name, shape, old.type, old.quantization, None, old.buffer)

    def new_operator(
        self,
        op_name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> Any:
        """Return a new operator; put it where it belongs in `operators`.

        Args:
            op_name: builtin name, e.g. "CONV_2D".
            inputs: positions of the tensors that it reads.
            outputs: positions of the tensors that it writes.
            options: generated options object, e.g. `Conv2DOptionsT`, or None.
            version: the version of the operator's definition.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self.opcode(op_name, version)
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        return operator

    def opcode(self, op_name: str, version: int) -> int:
        """Return the position of an operator's definition, added if the file has none."""
        for index, code in enumerate(self.model.operatorCodes):
            if flatbuffer.op_name(code) == op_name and code.version == version:
                return index
        wanted = getattr(schema.BuiltinOperator, op_name)
        code = schema.OperatorCodeT()
        code.builtinCode = wanted
        # Codes above 127 do not fit the old field, which then holds 127.
        code.deprecatedBuiltinCode = min(wanted, 127)
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def set_operators(self, operators: Iterable[Any]) -> None:
        """Replace the list of operators, which must be in order of execution."""
        self.subgraph.operators = self.operators = list(operators)

    def set_metadata(self, name: str, content: bytes) -> None:
        """Store bytes under a name in the file's metadata, replacing older ones."""
        kept = [entry for entry in self.model.metadata or [] if flatbuffer.text(entry.name) != name]
        self.model.buffers.append(graph_bytes.buffer(np.frombuffer(content, np.uint8)))
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = len(self.model.buffers) - 1
        self.model.metadata = [*kept, entry]

    def metadata(self, name: str) -> bytes | None:
        """Return the bytes stored under a name in the file's metadata; None if there are none."""
        for entry in self.model.metadata or []:
            if flatbuffer.text(entry.name) == name:
                return np.asarray(self.model.buffers[entry.buffer].data, np.uint8).tobytes()
        return None

    # Writing

    def to_bytes(self) -> bytes:
        """Return the file's bytes, without what a pass has stopped using; see `graph_bytes`.

        What is packed behind the model goes behind it again.
        """
        content = graph_bytes.write(self.model, self.subgraph_index, self._spare_buffers)
        self.tensors = self.subgraph.tensors
        self._spare_buffers = graph_bytes.unreferenced_buffers(self.model)
        return self.packed.behind(content)

    # Parts

    def _data(self, tensor: int) -> np.ndarray | None:
        return flatbuffer.constant_bytes(self.model, self.tensors[tensor])

    def _append(
        self,
        name: str,
        shape: Sequence[int],
        tensor_type: int,
        quantization: Any,
        sparsity: Any,
        buffer: int,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = np.asarray(shape, np.int32)
        tensor.type = tensor_type
        tensor.quantization = quantization
        tensor.sparsity = sparsity
        tensor.buffer = buffer
        tensor.hasRank = True
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _tensor_type(dtype: np.dtype | type) -> int:
    return _TENSOR_TYPES[np.dtype(dtype)]


def quantization(
    scales: np.ndarray | float, zero_point: int = 0, axis: int = 0
) -> schema.QuantizationParametersT:
    """Return quantization parameters: one scale for the tensor, or one for each slice of `axis`."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.atleast_1d(np.asarray(scales, np.float32))
    parameters.zeroPoint = np.full(parameters.scale.shape, zero_point, np.int64)
    parameters.quantizedDimension = axis
    return parameters


def _require_known_options(operator: Any) -> None:
    """Refuse options that the format's classes do not know: they would be lost in writing."""
    for options in ("builtinOptions", "builtinOptions2"):
        number = getattr(operator, f"{options}Type")
        known = schema.BuiltinOptions if options == "builtinOptions" else schema.BuiltinOptions2
        if number not in vars(known).values():
            raise UserError(
                f"the file has an operator with options of kind {number}, which this package's "
                "version of the format does not know, so that it could not be written back. "
                "Install a newer ai-edge-litert, or export the file with an older converter."
            )


def _list(vector: Any) -> Any:
    # The generated classes read an empty vector as None or 0.
    return vector if isinstance(vector, list | np.ndarray) else []
