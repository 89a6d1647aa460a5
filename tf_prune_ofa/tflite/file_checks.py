"""What of a `.tflite` file is checked before anything reads it.

That every index points at something, that every constant has the bytes its shape asks for, that
the index arrays of sparse tensors describe exactly the values that are stored, and that nothing
reads what is not there or writes what it must not (`file_roles`). It is not checked whether
operators make sense otherwise: a file that passes can still be refused by a runtime, or crash one.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import file_roles
from tf_prune_ofa.tflite import file_values as values


def check(model: schema.ModelT) -> None:
    """Raise ValueError where a file contradicts itself.

    Args:
        model: the whole file.
    """
    if not model.subgraphs or model.buffers is None:
        raise ValueError("it holds no graph")
    for graph in model.subgraphs:
        for position, tensor in enumerate(graph.tensors or []):
            _check_tensor(model, tensor, position)
        _check_indices(model, graph)
    for entry in model.metadata or []:
        if not 0 <= entry.buffer < len(model.buffers):
            raise ValueError(f"metadata buffer {entry.buffer} of {len(model.buffers)} is missing")
    _check_signatures(model)
    file_roles.check(model)


def _check_indices(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    count = len(graph.tensors or [])
    used = [graph.inputs, graph.outputs]
    for operator in graph.operators or []:
        if not 0 <= operator.opcodeIndex < len(model.operatorCodes or []):
            raise ValueError(f"operator code {operator.opcodeIndex} is not in the file")
        used += [operator.inputs, operator.outputs, operator.intermediates]
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for subgraph in _subgraphs_of(options):
                if not -1 <= subgraph < len(model.subgraphs):
                    raise ValueError(f"subgraph {subgraph} of {len(model.subgraphs)} is missing")
    for indices in used:
        for index in indices if isinstance(indices, np.ndarray) else ():
            if not -1 <= index < count:  # -1: an optional input that is left out
                raise ValueError(f"tensor {index} of {count} is not in the file")


def _subgraphs_of(options: Any) -> Iterator[int]:
    """Yield the subgraphs that an operator of control flow runs."""
    for name, value in vars(options).items() if options is not None else ():
        if name.lower().endswith("subgraphindex"):
            yield value


def _check_signatures(model: schema.ModelT) -> None:
    for definition in model.signatureDefs or []:
        if not 0 <= definition.subgraphIndex < len(model.subgraphs):
            raise ValueError(f"a signature is of subgraph {definition.subgraphIndex}")
        count = len(model.subgraphs[definition.subgraphIndex].tensors or [])
        for entry in [*(definition.inputs or []), *(definition.outputs or [])]:
            if not 0 <= entry.tensorIndex < count:
                raise ValueError(f"a signature names tensor {entry.tensorIndex} of {count}")


def _check_tensor(model: schema.ModelT, tensor: schema.TensorT, position: int) -> None:
    if not 0 <= tensor.buffer < len(model.buffers):
        raise ValueError(f"buffer {tensor.buffer} of {len(model.buffers)} is not in the file")
    data = values.constant_bytes(model, tensor)
    shape, what = values.shape_of(tensor), f"tensor {position}, {values.text(tensor.name)!r},"
    bits = values.bits_of(tensor)
    if tensor.sparsity is not None:
        stored = None if data is None or bits is None else len(data) * 8 // bits
        _check_sparsity(tensor.sparsity, shape, stored, what)
        return
    if data is None or bits is None:
        return
    if any(size < 0 for size in shape):
        raise ValueError(f"{what} is a constant of the shape {list(shape)}")
    expected = (prod(shape) * bits + 7) // 8
    if len(data) != expected:
        raise ValueError(f"{what[:-1]}, has {len(data)} bytes instead of {expected}")


def _check_sparsity(
    sparsity: schema.SparsityParametersT, shape: tuple[int, ...], stored: int | None, what: str
) -> None:
    """Follow the levels (see `file_values`) by the number of their nodes."""
    levels = sparsity.dimMetadata or []
    order = [int(i) for i in values.numbers(sparsity.traversalOrder)]
    blocks = [int(i) for i in values.numbers(sparsity.blockMap)]
    if not (
        len(levels) == len(shape) + len(blocks)
        and sorted(order) == list(range(len(levels)))
        and all(0 <= dimension < len(shape) for dimension in blocks)
        and all(size > 0 for size in shape)
    ):
        raise ValueError(f"{what} has a sparse form that contradicts its shape {list(shape)}")
    # How many coordinates each dimension has: of the tensor in whole blocks, then inside a block.
    sizes = list(shape)
    for block, dimension in enumerate(blocks, start=len(shape)):
        level = levels[order.index(block)]
        inside = level.denseSize if level.format == schema.DimensionType.DENSE else 0
        if inside < 1 or sizes[dimension] % inside:
            raise ValueError(f"{what} has sparse blocks that do not fit its shape {list(shape)}")
        sizes[dimension] //= inside
        sizes.append(inside)
    nodes = 1
    for level, dimension in zip(levels, order, strict=True):
        if level.format == schema.DimensionType.DENSE:
            if level.denseSize != sizes[dimension]:
                raise ValueError(f"{what} has a sparse form that contradicts its shape")
            nodes *= level.denseSize
            continue
        segments, index = (_indices(a) for a in (level.arraySegments, level.arrayIndices))
        if len(segments) != nodes + 1 or segments[0] != 0 or segments[-1] != len(index):
            raise ValueError(f"{what} has index arrays that do not fit that shape")
        if np.any(np.diff(segments) < 0) or np.any((index < 0) | (index >= sizes[dimension])):
            raise ValueError(f"{what} has index arrays that do not fit that shape")
        nodes = len(index)
    if stored is not None and nodes != stored:
        raise ValueError(f"{what} stores {stored} values for {nodes} positions")


def _indices(array: Any) -> np.ndarray:
    found = None if array is None else array.values
    if not isinstance(found, np.ndarray):
        raise ValueError("a sparse tensor has no index arrays")
    return found.astype(np.int64)
