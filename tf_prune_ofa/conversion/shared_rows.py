"""A table of words with fewer rows than words: a rare word has the row of one that is like it.

Tokens stay what they are, so no text changes; a vocabulary file, whose line is the id, cannot say
that two words share a row, and so the graph does: GATHER in the list of each word's row, then
GATHER in the shorter table. Rows are numbers of 16 bits, 2 bytes for each word, where they fit.

Legend: V words · R rows · H columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.conversion.embeddings import WORDS
from tf_prune_ofa.tflite.graph import Graph, schema

ROWS = f"{WORDS}/rows"
_INT16_GATHER_VERSION = 4
_WORDS_AT_A_TIME = 1000


@dataclass(frozen=True)
class SharedRows:
    """Which row each word has.

    Attributes:
        own: ids of the words with a row of their own, ascending, int64 [R].
        row_of: row of each word, int64 [V].
    """

    own: np.ndarray
    row_of: np.ndarray


def nearest(table: np.ndarray, own: np.ndarray, special: np.ndarray) -> SharedRows:
    """Return for each word its own row, or the one that its own is nearest to.

    Rows of special tokens are nobody else's: [PAD]'s is small, and so nearer to most rare words
    than that of any word is.

    Args:
        table: float [V, H].
        own: ids of the words that keep their rows, ascending.
        special: ids of those that no other word may share.
    """
    row_of = np.zeros(len(table), np.int64)
    rows = table[own]
    sizes = np.square(rows).sum(axis=1)
    sizes[np.isin(own, special)] = np.inf
    others = np.setdiff1d(np.arange(len(table)), own)
    for start in range(0, len(others), _WORDS_AT_A_TIME):
        some = others[start : start + _WORDS_AT_A_TIME]
        # Squared distances, but for the word's own size.
        row_of[some] = np.argmin(sizes - 2 * table[some] @ rows.T, axis=1)
    row_of[own] = np.arange(len(own))
    return SharedRows(own, row_of)


def share(float32_file: bytes, shared: SharedRows) -> bytes:
    """Return a float file whose table of words has no rows but those of `shared`."""
    graph = Graph(float32_file)
    operators: list[Any] = []
    for operator in graph.operators:
        if graph.op_name(operator) == "GATHER" and graph.name(int(operator.inputs[0])) == WORDS:
            operators += _lookup_of_row(graph, operator, shared)
        operators.append(operator)
    graph.set_operators(operators)
    return graph.to_bytes()


def _lookup_of_row(graph: Graph, operator: Any, shared: SharedRows) -> list[Any]:
    """Let a GATHER of words read rows of the shorter table; return what finds the rows."""
    table, ids = (int(tensor) for tensor in operator.inputs)
    shape = graph.shape(ids)
    is_short = len(shared.own) <= np.iinfo(np.int16).max
    rows = graph.add_constant(ROWS, shared.row_of.astype(np.int16 if is_short else np.int32))
    found = graph.add_tensor(f"{ROWS}/int32", shape, np.int32)
    operator.inputs = np.array(
        [graph.add_constant(WORDS, graph.constant(table)[shared.own]), found], np.int32
    )
    if not is_short:
        return [graph.new_operator("GATHER", [rows, ids], [found], schema.GatherOptionsT())]
    short, options = graph.add_tensor(f"{ROWS}/int16", shape, np.int16), schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.INT16, schema.TensorType.INT32
    return [
        graph.new_operator(
            "GATHER", [rows, ids], [short], schema.GatherOptionsT(), _INT16_GATHER_VERSION
        ),
        graph.new_operator("CAST", [short], [found], options),
    ]
