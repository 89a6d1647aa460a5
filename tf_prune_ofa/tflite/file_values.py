"""Tensors of a `.tflite` file as data: their names, shapes, and constants as plain arrays.

`tensor_values` gives a constant whatever way the file stores it (dense, sparse, packed INT4).
"""

from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError

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
# A sparse tensor can claim any size in a few bytes.
_MAX_ELEMENTS = 2**31


def bits_of(tensor: schema.TensorT) -> int | None:
    """Bits of one element; None for types without a fixed size."""
    return _BITS.get(dtype_name(tensor).upper())


def numbers(vector: Any) -> np.ndarray:
    """A vector of the file; the schema's classes give None or 0 for one that is not there."""
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, np.int64)


def dtype_name(tensor: schema.TensorT) -> str:
    """Name of a tensor's element type in lower case, such as `int8`."""
    return _DTYPE_NAMES.get(tensor.type, f"UNKNOWN_{tensor.type}").lower()


def text(value: bytes | str | None) -> str:
    """A string of the file, read (bytes, None where there is none) or set by a pass."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value or ""


def shape_of(tensor: schema.TensorT) -> tuple[int, ...]:
    """A tensor's shape; for a dynamic tensor the one that it starts with."""
    return tuple(int(size) for size in numbers(tensor.shape))


def is_dynamic(tensor: schema.TensorT) -> bool:
    """Whether a size of the tensor is left open (-1) until the model runs."""
    return bool(np.any(numbers(tensor.shapeSignature) < 0))


def constant_bytes(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """The stored bytes (uint8) of a constant tensor, or None if it is computed at run time."""
    data = model.buffers[tensor.buffer].data
    return data if isinstance(data, np.ndarray) and len(data) else None


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


def stored_values(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """The stored numbers of a constant in a row: without the zeros that a sparse one leaves out.

    Returns:
        The array, or None as in `tensor_values`.
    """
    data, bits = constant_bytes(model, tensor), bits_of(tensor)
    if data is None or bits is None:
        return None
    count = prod(shape_of(tensor)) if tensor.sparsity is None else len(data) * 8 // bits
    return _unpacked(data, dtype_name(tensor), count)


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
    if prod(shape) > _MAX_ELEMENTS:
        raise UserError(
            f"The sparse tensor {text(tensor.name)!r} of shape {list(shape)} is too large to be "
            f"written out: at most {_MAX_ELEMENTS:,} numbers. Export the file again."
        )
    values = stored_values(model, tensor)
    if values is None:
        return None
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
