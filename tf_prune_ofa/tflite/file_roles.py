"""Which tensors of a graph are read and written.

Runtimes take for granted that inputs can be written, that constants are not, that what is read was
written, and that operators have the inputs they cannot do without: they crash where it is not so.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import file_values as values

# How many of its first inputs an operator cannot do without; of others nothing is said here.
_NEEDED = {
    **dict.fromkeys(
        ("ABS", "DEQUANTIZE", "EXP", "GELU", "LOGISTIC", "NEG", "QUANTIZE", "RELU", "RELU6",
         "RESHAPE", "RSQRT", "SOFTMAX", "SQRT", "SQUARE", "SQUEEZE", "TANH"),
        1,
    ),
    **dict.fromkeys(
        ("ADD", "BATCH_MATMUL", "BROADCAST_TO", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV",
         "EMBEDDING_LOOKUP", "EQUAL", "EXPAND_DIMS", "FLOOR_DIV", "FULLY_CONNECTED", "GATHER",
         "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "MAXIMUM",
         "MEAN", "MINIMUM", "MUL", "NOT_EQUAL", "PAD", "POW", "PRELU", "REDUCE_MAX", "REDUCE_MIN",
         "SPLIT", "SQUARED_DIFFERENCE", "SUB", "SUM", "TILE", "TRANSPOSE"),
        2,
    ),
    **dict.fromkeys(("PADV2", "SELECT", "SELECT_V2", "SLICE", "TRANSPOSE_CONV"), 3),
    **dict.fromkeys(("ONE_HOT", "STRIDED_SLICE"), 4),
}  # fmt: skip
_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"}


def check(model: schema.ModelT) -> None:
    """Raise ValueError where a graph reads or writes what it cannot.

    Args:
        model: a file of which every index points at something (`file_checks`).
    """
    for graph in model.subgraphs:
        for problem in _problems(model, graph):
            raise ValueError(problem)


def _problems(model: schema.ModelT, graph: schema.SubGraphT) -> Iterator[str]:
    tensors = graph.tensors or []
    constants = {i for i, one in enumerate(tensors) if _has_data(model, one)}
    # An empty constant has no bytes to tell it by.
    ready = constants | {
        i for i, one in enumerate(tensors)
        if one.isVariable or (values.numbers(one.shape).size and not prod(values.shape_of(one)))
    }  # fmt: skip
    ports = {"input": _ints(graph.inputs), "output": _ints(graph.outputs)}
    for what, indices in ports.items():
        if min(indices, default=0) < 0:
            yield f"an {what} of the graph is left out"
    for index in constants & set(ports["input"]):
        yield f"tensor {index} is an input of the graph, and a constant"
    written = ready | set(ports["input"])
    for number, operator in enumerate(graph.operators or []):
        for index in _ints(operator.outputs):
            if index in constants:
                yield f"operator {number} writes tensor {index}, which is a constant"
            written.add(index)
    for number, operator in enumerate(graph.operators or []):
        inputs = _ints(operator.inputs)
        name = _name(model, operator)
        given = next((n for n, index in enumerate(inputs) if index < 0), len(inputs))
        if given < _NEEDED.get(name, 0):
            yield f"operator {number}, {name}, has {given} of the {_NEEDED[name]} inputs it needs"
        for index in inputs:
            if index >= 0 and index not in written:
                yield f"operator {number}, {name}, reads tensor {index}, which nothing writes"
    for index in set(ports["output"]) - written:
        yield f"tensor {index} is an output of the graph, and nothing writes it"


def _has_data(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    # Of files beyond 2 GB the data lie behind the model, at an offset.
    is_behind = (getattr(model.buffers[tensor.buffer], "offset", 0) or 0) > 1
    return is_behind or values.constant_bytes(model, tensor) is not None


def _name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return _NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "an unknown operator")


def _ints(vector: Any) -> list[int]:
    return [int(index) for index in vector] if isinstance(vector, np.ndarray) else []
