"""Read a `.tflite` file as data, without running it.

The Python classes of the TFLite schema trust every offset they read. `read_model` checks what they
do not: the file's identifier, that all parts lie inside the file, that every index points at
something, and that every constant has the bytes its shape asks for. `tensor_values` gives a
constant tensor as a plain array whatever way the file stores it (dense, sparse, packed INT4).
"""

import os
import struct
from math import prod
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError

IDENTIFIER = b"TFL3"

_OP_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()
}
_DTYPE_NAMES = {
    number: name for name, number in vars(schema.TensorType).items() if not name.startswith("_")
}

# Bits per element of the types that constants are stored in. Strings have no fixed size.
_BITS = {
    "FLOAT64": 64,
    "INT64": 64,
    "UINT64": 64,
    "FLOAT32": 32,
    "INT32": 32,
    "UINT32": 32,
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT16": 16,
    "UINT16": 16,
    "INT8": 8,
    "UINT8": 8,
    "BOOL": 8,
    "INT4": 4,
    "UINT4": 4,
    "INT2": 2,
}

_DENSE = schema.DimensionType.DENSE


def read_model(path: str | os.PathLike[str]) -> schema.ModelT:
    """Reads and checks a `.tflite` file.

    Args:
        path: the file.

    Returns:
        The model as the schema's own objects. The data of its buffers are views of one read-only
        copy of the file (also for buffers that files above 2 GB keep behind the flatbuffer).

    Raises:
        UserError: no such file, not a TFLite file, or a damaged or cut one.
    """
    return parse_model(read_bytes(path), name=os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file; raises UserError if there is none at `path`."""
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}. Give the path of a .tflite file.")
    return path.read_bytes()


def parse_model(data: bytes, *, name: str = "the model") -> schema.ModelT:
    """As `read_model`, from bytes; `name` is what error messages call them."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        start = data[:8].hex(" ") or "nothing, it is empty"
        raise UserError(
            f"{name} is not a TFLite file: bytes 5 to 8 should read TFL3, the file starts with "
            f"{start} ({len(data)} bytes in all). Export it again or fetch it again."
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        _attach_far_buffers(model, data)
        _check(model)
    # What the generated classes raise when an offset or a length leads out of the file.
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{name} is a damaged TFLite file or only a part of one ({len(data)} bytes; {error}). "
            "Export it again or fetch it again."
        ) from error
    return model


def op_name(code: schema.OperatorCodeT) -> str:
    """Name of an operator, such as `FULLY_CONNECTED`, or `CUSTOM:name` of a custom one."""
    # Files made before 2020 keep the number in a field of 8 bits only.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _OP_NAMES.get(number, f"UNKNOWN_{number}")
    return f"CUSTOM:{text(code.customCode)}" if name == "CUSTOM" else name


def dtype_name(tensor: schema.TensorT) -> str:
    """Name of a tensor's element type in lower case, such as `int8`."""
    return _DTYPE_NAMES.get(tensor.type, f"UNKNOWN_{tensor.type}").lower()


def text(value: bytes | None) -> str:
    """A string of the file; the schema's classes give bytes, or None where there is none."""
    return "" if value is None else value.decode("utf-8", errors="replace")


def shape_of(tensor: schema.TensorT) -> tuple[int, ...]:
    """A tensor's shape; for a dynamic tensor the one that it starts with."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def is_dynamic(tensor: schema.TensorT) -> bool:
    """Whether a size of the tensor is left open (-1) until the model runs."""
    return tensor.shapeSignature is not None and bool(np.any(np.asarray(tensor.shapeSignature) < 0))


def constant_bytes(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """The stored bytes (uint8) of a constant tensor, or None if it is computed at run time."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or len(data) == 0 else data


def stored_bytes(model: schema.ModelT, tensor: schema.TensorT) -> int:
    """Bytes that a constant takes in the file: its values, and the index arrays of sparse ones."""
    data = constant_bytes(model, tensor)
    if data is None:
        return 0
    indices = 0
    if tensor.sparsity is not None:
        for level in tensor.sparsity.dimMetadata:
            if level.format != _DENSE:
                indices += level.arraySegments.values.nbytes + level.arrayIndices.values.nbytes
    return len(data) + indices


def tensor_values(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """The values of a constant tensor, in the tensor's shape.

    Integers come as they are stored, without scale and zero point. Sparse-encoded tensors are
    written out with their zeros, INT4 and INT2 get one element per value, BFLOAT16 becomes float32.

    Args:
        model: what `read_model` gave.
        tensor: a tensor of it.

    Returns:
        The array, or None where the tensor has no constant data or is of a type without a decoder
        (strings, resources, complex numbers, 8-bit floats).

    Raises:
        UserError: the index arrays of a sparse tensor contradict its shape.
    """
    data = constant_bytes(model, tensor)
    dtype = dtype_name(tensor)
    if data is None or dtype.upper() not in _BITS:
        return None
    shape = shape_of(tensor)
    if tensor.sparsity is None:
        return _unpacked(data, dtype, prod(shape)).reshape(shape)
    values = _unpacked(data, dtype, len(data) * 8 // _BITS[dtype.upper()])
    try:
        return _written_out(values, tensor.sparsity, shape)
    except (IndexError, ValueError) as error:
        raise UserError(
            f"The sparse tensor {text(tensor.name)!r} of shape {list(shape)} is damaged: its index "
            f"arrays do not fit that shape ({error}). Export the file again."
        ) from error


def _unpacked(data: np.ndarray, dtype: str, count: int) -> np.ndarray:
    """Stored bytes -> `count` numbers."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    bits = _BITS[dtype.upper()]
    if bits >= 8:
        return data.view(dtype)
    # Several values in a byte, the first one in the lowest bits.
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((data[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:count].astype(np.int8)
    if dtype.startswith("int"):
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values).astype(np.int8)
    return values


def _written_out(
    values: np.ndarray, sparsity: schema.SparsityParametersT, shape: tuple[int, ...]
) -> np.ndarray:
    """Sparse-encoded values -> dense array.

    The format is TACO's: the dimensions, then the dimensions inside a block, are levels of a tree
    (in `traversal_order`); a dense level lists all its coordinates, a compressed one (CSR) only
    those that `indices` names, between `segments[p]` and `segments[p + 1]` for the p-th parent. The
    leaves, in order, are the stored values. All nodes of a level are handled at once.
    """
    order = np.asarray(sparsity.traversalOrder)
    # coordinates[:, i]: coordinate of each node on level i, so far.
    coordinates = np.zeros((1, 0), dtype=np.int64)
    for level in sparsity.dimMetadata:
        parents = len(coordinates)
        if level.format == _DENSE:
            counts = np.full(parents, level.denseSize)
            index = np.tile(np.arange(level.denseSize), parents)
        else:
            segments = np.asarray(level.arraySegments.values, dtype=np.int64)
            counts = np.diff(segments)
            index = np.asarray(level.arrayIndices.values, dtype=np.int64)
            if len(counts) != parents or segments[-1] != len(index):
                raise ValueError(f"{len(counts)} segments for {parents} rows")
            if np.any(index < 0):
                raise ValueError("a negative index")
        coordinates = np.column_stack([np.repeat(coordinates, counts, axis=0), index])
    if len(coordinates) != len(values):
        raise ValueError(f"{len(values)} values for {len(coordinates)} positions")

    by_dimension = {int(dimension): coordinates[:, i] for i, dimension in enumerate(order)}
    block_map = () if sparsity.blockMap is None else sparsity.blockMap
    for block_dimension, dimension in enumerate(block_map, start=len(shape)):
        level = sparsity.dimMetadata[int(np.flatnonzero(order == block_dimension)[0])]
        inside = by_dimension[block_dimension]
        by_dimension[dimension] = by_dimension[dimension] * level.denseSize + inside
    dense = np.zeros(shape, dtype=values.dtype)
    dense[tuple(by_dimension[dimension] for dimension in range(len(shape)))] = values
    return dense


def _attach_far_buffers(model: schema.ModelT, data: bytes) -> None:
    # Files above 2 GB keep buffers behind the flatbuffer; 0 and 1 mean that a buffer is inside it.
    for buffer in model.buffers or []:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, count=buffer.size, offset=buffer.offset)


def _check(model: schema.ModelT) -> None:
    """Raises ValueError where an index points at nothing or a constant has too few bytes."""
    if not model.subgraphs or model.buffers is None:
        raise ValueError("it holds no graph")
    for graph in model.subgraphs:
        tensors = graph.tensors or []
        for position, tensor in enumerate(tensors):
            _check_tensor(model, tensor, position)
        used = [graph.inputs, graph.outputs]
        for operator in graph.operators or []:
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes or []):
                raise ValueError(f"operator code {operator.opcodeIndex} is not in the file")
            used += [operator.inputs, operator.outputs]
        for indices in used:
            for index in () if indices is None else indices:
                if not -1 <= index < len(tensors):  # -1: an optional input that is left out
                    raise ValueError(f"tensor {index} of {len(tensors)} is not in the file")


def _check_tensor(model: schema.ModelT, tensor: schema.TensorT, position: int) -> None:
    if not 0 <= tensor.buffer < len(model.buffers):
        raise ValueError(f"buffer {tensor.buffer} of {len(model.buffers)} is not in the file")
    data = constant_bytes(model, tensor)
    if tensor.sparsity is not None:
        _check_sparsity(tensor.sparsity, shape_of(tensor))
        return
    bits = _BITS.get(dtype_name(tensor).upper())
    if data is None or bits is None:
        return
    expected = (prod(shape_of(tensor)) * bits + 7) // 8
    if len(data) != expected:
        raise ValueError(
            f"tensor {position}, {text(tensor.name)!r}, has {len(data)} bytes instead of {expected}"
        )


def _check_sparsity(sparsity: schema.SparsityParametersT, shape: tuple[int, ...]) -> None:
    levels = sparsity.dimMetadata or []
    order = [] if sparsity.traversalOrder is None else list(sparsity.traversalOrder)
    blocks = [] if sparsity.blockMap is None else list(sparsity.blockMap)
    is_consistent = (
        len(levels) == len(shape) + len(blocks)
        and sorted(order) == list(range(len(levels)))
        and all(0 <= dimension < len(shape) for dimension in blocks)
    )
    for level in levels:
        if level.format == _DENSE:
            is_consistent &= 0 <= level.denseSize <= prod(shape)
        else:
            arrays = (level.arraySegments, level.arrayIndices)
            is_consistent &= all(a is not None and a.values is not None for a in arrays)
    if not is_consistent:
        raise ValueError("a sparse tensor's description contradicts its shape")
