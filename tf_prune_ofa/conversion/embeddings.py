"""Embedding tables in INT8 with one scale for each row; the words in INT4, if that is asked for.

A row is looked up as integers and multiplied by its scale: GATHER on the INT8 table, DEQUANTIZE
with scale 1, GATHER on the column of scales, MUL. GATHER itself knows one scale for a whole table
only, and a few large entries would then set the step of all rows. EMBEDDING_LOOKUP with a scale for
each row needs a newer runtime than tflite-runtime 2.14, and so do tables of the type INT4.

So two INT4 numbers share a byte of an INT8 table, and ordinary operators part them: a byte is
16 * upper + (lower + 8), its sixteenth is upper + (lower + 8) / 16, and FLOOR gives the upper one.
All of it is exact in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_prune_ofa.conversion import integers
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

SUFFIX = "/embeddings"
WORDS = f"embeddings/word{SUFFIX}"
_SIXTEENTH = 1 / 16
_INT8_GATHER_VERSION = 2
_INT8_DEQUANTIZE_VERSION = 2


def to_int8(graph: Graph, words: str = "int8") -> None:
    """Store the tables named `<layer>/embeddings` in INT8, in place.

    A table that positions index directly (a constant summand [1, S, H]) is scaled row by row too.

    Args:
        graph: of a float file.
        words: "int4" stores the table of words in INT4.

    Raises:
        UserError: INT4 for rows of an odd number of columns, which do not fill their bytes.
    """
    operators = []
    for operator in graph.operators:
        table = _table_slot(graph, operator)
        if table is None:
            operators.append(operator)
        elif graph.op_name(operator) == "GATHER":
            is_int4 = words == "int4" and graph.name(int(operator.inputs[table])) == WORDS
            operators += (_packed_lookup if is_int4 else _lookup)(graph, operator)
        else:
            operators += _summand(graph, operator, table)
    graph.set_operators(operators)


def _table_slot(graph: Graph, operator: Any) -> int | None:
    """Return which input of an operator is a float embedding table; None if none is."""
    if graph.op_name(operator) not in ("GATHER", "ADD"):
        return None
    for slot, tensor in enumerate(operator.inputs):
        is_table = graph.is_constant(tensor) and graph.name(tensor).endswith(SUFFIX)
        if is_table and graph.dtype(tensor) == np.float32:
            return slot
    return None


def _lookup(graph: Graph, operator: Any) -> list[Any]:
    table, ids = (int(tensor) for tensor in operator.inputs)
    result = int(operator.outputs[0])
    shape = graph.shape(result)
    stored, scales = _store(graph, table)
    rows = graph.add_tensor(f"{graph.name(result)}/int8", shape, np.int8, quantization(1.0))
    factors = graph.add_tensor(f"{graph.name(result)}/scale", [*shape[:-1], 1], np.float32)
    options = operator.builtinOptions
    return [
        graph.new_operator("GATHER", [stored, ids], [rows], options, _INT8_GATHER_VERSION),
        graph.new_operator("GATHER", [scales, ids], [factors], options),
        *_scaled(graph, rows, factors, result),
    ]


def _packed_lookup(graph: Graph, operator: Any) -> list[Any]:
    table, ids = (int(tensor) for tensor in operator.inputs)
    result = int(operator.outputs[0])
    value, name, shape = graph.constant(table), graph.name(table), graph.shape(result)
    if value.shape[1] % 2:
        raise UserError(
            f"words of {value.shape[1]} columns cannot be INT4, of which two fill a byte; export "
            "them as int8"
        )
    half = [*shape[:-1], shape[-1] // 2]
    scales = integers.int4_row_scales(value)
    packed = integers.pack_int4(integers.quantize_int4(value, scales))
    stored = graph.add_constant(name, packed, quantization(_SIXTEENTH))
    column = graph.add_constant(f"{name}/scales", scales[:, None])
    sixteen = graph.add_constant(f"{name}/sixteen", np.array(16.0, np.float32))
    eight = graph.add_constant(f"{name}/eight", np.array(8.0, np.float32))

    def new(part: str, size: list[int] = half) -> int:
        return graph.add_tensor(f"{graph.name(result)}/{part}", size, np.float32)

    rows = graph.add_tensor(f"{graph.name(result)}/int4", half, np.int8, quantization(_SIXTEENTH))
    sixteenths, upper, rest, above, lower = map(
        new, ("sixteenths", "upper", "rest", "above", "lower")
    )
    steps, factors = new("steps", shape), new("scale", [*shape[:-1], 1])
    options, join = operator.builtinOptions, schema.ConcatenationOptionsT()
    join.axis = len(shape) - 1
    make = graph.new_operator
    return [
        make("GATHER", [stored, ids], [rows], options, _INT8_GATHER_VERSION),
        make("GATHER", [column, ids], [factors], options),
        make("DEQUANTIZE", [rows], [sixteenths], version=_INT8_DEQUANTIZE_VERSION),
        make("FLOOR", [sixteenths], [upper]),
        make("SUB", [sixteenths, upper], [rest], schema.SubOptionsT()),
        make("MUL", [rest, sixteen], [above], schema.MulOptionsT()),
        make("SUB", [above, eight], [lower], schema.SubOptionsT()),
        make("CONCATENATION", [upper, lower], [steps], join),
        make("MUL", [steps, factors], [result], schema.MulOptionsT()),
    ]


def _summand(graph: Graph, operator: Any, slot: int) -> list[Any]:
    table = int(operator.inputs[slot])
    stored, scales = _store(graph, table)
    result = graph.add_tensor(f"{graph.name(table)}/float", graph.shape(table), np.float32)
    operator.inputs[slot] = result
    return [*_scaled(graph, stored, scales, result), operator]


def _store(graph: Graph, table: int) -> tuple[int, int]:
    """Add a table [..., rows, H] as INT8, and its scales [..., rows, 1]; return both tensors."""
    value = graph.constant(table)
    rows = value.reshape(-1, value.shape[-1])
    scales = integers.row_scales(rows)
    stored = integers.quantize_weights(rows, scales).reshape(value.shape)
    name = graph.name(table)
    column = scales.reshape([*value.shape[:-1], 1])
    return (
        graph.add_constant(name, stored, quantization(1.0)),
        graph.add_constant(f"{name}/scales", column),
    )


def _scaled(graph: Graph, rows: int, scales: int, result: int) -> list[Any]:
    """Return the operators for result = rows * scales."""
    steps = graph.add_tensor(f"{graph.name(result)}/steps", graph.shape(result), np.float32)
    options = schema.MulOptionsT()
    return [
        graph.new_operator("DEQUANTIZE", [rows], [steps], version=_INT8_DEQUANTIZE_VERSION),
        graph.new_operator("MUL", [steps, scales], [result], options),
    ]
