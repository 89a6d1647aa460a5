"""Whether all other numbers in a file are the model's: embeddings, norms, scales, single numbers.

Every constant that an operator reads is accounted for; one that is none of the model's is a
problem, and so is data that nothing reads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tf_prune_ofa.verification import arithmetic, shared_rows
from tf_prune_ofa.verification.expected import WORDS, Expected
from tf_prune_ofa.verification.reading import Operator, TfliteFile

_TABLE, _TABLE_SCALES, _OUTLIER_SCALES = "/embeddings", "/embeddings/scales", "/factors"
# What parts two INT4 words of a byte.
_PARTING = {f"{WORDS}{_TABLE}/sixteen": 16.0, f"{WORDS}{_TABLE}/eight": 8.0}
_DENSE = ("FULLY_CONNECTED", "CONV_2D", "DENSIFY")


def find_problems(file: TfliteFile, form: str, expected: Expected) -> list[str]:
    """Return what is wrong with the constants of a file, but for those of dense layers.

    Args:
        file: the file.
        form: "float", "dynamic", "dynamic_int4" or "static".
        expected: what it must hold.
    """
    problems: list[str] = []
    tables: dict[str, list[int]] = {}
    scales: dict[str, list[tuple[Operator, int]]] = {}
    vectors: list[int] = []
    for operator, slot, tensor in file.constants():
        entry = file.tensors[tensor]
        if operator.name in _DENSE and slot > 0 or operator.name == "DENSIFY":
            continue
        if entry.name == shared_rows.ROWS and expected.shared is not None and form != "float":
            continue  # `shared_rows` looks at how the words are found
        if entry.dtype in ("int32", "int64"):
            problems += _index_problems(file, operator, slot, tensor)
        elif entry.name.endswith((_TABLE, _TABLE_SCALES)):
            tables.setdefault(entry.name, []).append(tensor)
        elif entry.name.endswith(_OUTLIER_SCALES) and operator.name == "MUL":
            layer = entry.name.removesuffix(_OUTLIER_SCALES)
            scales.setdefault(layer, []).append((operator, tensor))
        elif entry.dtype == "float32" and int(np.prod(entry.shape)) == 1:
            problems += _scalar_problems(file, tensor, expected, form)
        elif entry.dtype == "float32" and len(entry.shape) == 1:
            vectors.append(tensor)
        else:
            problems.append(
                f"{operator.name} reads {entry.name}, {entry.dtype} of {list(entry.shape)}, which "
                "is nothing of the model's"
            )
    problems += _table_problems(file, form != "float", tables, expected)
    problems += _vector_problems([file.values(tensor) for tensor in vectors], expected)
    problems += _outlier_problems(file, form, scales, expected)
    return problems + list(_unread(file))


def _index_problems(file: TfliteFile, operator: Operator, slot: int, tensor: int) -> Iterator[str]:
    """Compare shapes and axes with those of the tensors that they are about."""
    values = file.values(tensor).ravel().tolist()
    result = file.tensors[operator.outputs[0]]
    source = file.tensors[operator.inputs[0]]
    if operator.name == "RESHAPE" and slot == 1 and values != list(result.shape):
        yield f"RESHAPE to {values} writes {result.name} of {list(result.shape)}"
    last = len(source.shape) - 1
    if operator.name == "MEAN" and values not in ([last], [-1]):
        yield f"{result.name} is a mean over the axes {values} instead of the last one"


def _scalar_problems(file: TfliteFile, tensor: int, expected: Expected, form: str) -> Iterator[str]:
    value = np.float32(file.values(tensor).ravel()[0])
    name = file.tensors[tensor].name
    if expected.int4_words and form != "float" and name in _PARTING:
        is_right = value == _PARTING[name]
    else:
        is_right = bool(np.any(expected.scalars == value))
    if not is_right:
        yield f"{file.tensors[tensor].name} is {value:g}, which is no number of the model's"


def _table_problems(
    file: TfliteFile, is_int8: bool, tables: dict[str, list[int]], expected: Expected
) -> Iterator[str]:
    for layer, rows in expected.tables.items():
        found = tables.pop(layer + _TABLE, [])
        scales = tables.pop(layer + _TABLE_SCALES, [])
        if len(set(found)) != 1 or len(set(scales)) != int(is_int8):
            yield f"{layer}: {len(set(found))} tables with {len(set(scales))} columns of scales"
            continue
        if is_int8 and expected.shared is not None and layer == WORDS:
            rows = rows[expected.shared.own]
        values = file.values(found[0])
        stored = values.reshape(-1, values.shape[-1])
        wanted, steps, scale = rows, None, 1.0
        if is_int8 and expected.int4_words and layer == WORDS:
            steps = arithmetic.word_scales(rows)
            wanted, scale = arithmetic.word_bytes(rows, steps), 1 / 16
        elif is_int8:
            steps = arithmetic.channel_scales(rows)
            wanted = arithmetic.weight_integers(rows, steps)
        if is_int8:
            entry = file.tensors[found[0]]
            if entry.scales.tolist() != [scale] or np.any(entry.zero_points):
                yield f"{layer}: its integers have a scale other than {scale:g}, or a zero point"
        if stored.shape != wanted.shape or stored.dtype != wanted.dtype:
            yield f"{layer}: {stored.dtype} {stored.shape}, not {wanted.dtype} {wanted.shape}"
            continue
        wrong = np.flatnonzero(np.any(stored != wanted, axis=1))
        if len(wrong):
            yield (
                f"{layer}: {len(wrong)} of {len(wanted)} rows are not the model's, first row "
                f"{wrong[0]}"
            )
        if steps is not None:
            column = file.values(scales[0]).ravel()
            if not np.array_equal(column, steps):
                is_as_long = column.shape == steps.shape
                wrong = np.flatnonzero(column != steps) if is_as_long else np.array([0])
                yield f"{layer}: {len(wrong)} rows' scales are not the model's, first {wrong[0]}"
    for name in tables:
        yield f"{name} is of no layer of the model"


def _vector_problems(found: list[np.ndarray], expected: Expected) -> Iterator[str]:
    """Compare the norms' weights and biases, in order; a 1 or a 0 may have been left out."""
    left = list(found)
    for name, wanted in expected.vectors:
        if left and np.array_equal(left[0], wanted):
            left.pop(0)
        elif not np.all(wanted == (1.0 if name.endswith("/gamma") else 0.0)):
            if left and left[0].shape == wanted.shape:
                wrong = np.count_nonzero(left.pop(0) != wanted)
                yield f"{name}: {wrong} of {wanted.size} numbers are not the model's"
            else:
                yield f"{name} is not in the file"
    if left:
        yield f"{len(left)} vectors of numbers are nothing of the model's"


def _outlier_problems(
    file: TfliteFile,
    form: str,
    scales: dict[str, list[tuple[Operator, int]]],
    expected: Expected,
) -> Iterator[str]:
    for name, dense in expected.dense.items():
        found = scales.pop(name, [])
        wanted = dense.outlier_scales if form == "static" else None
        if wanted is None:
            if found:
                yield f"{name}: outlier scales that the model does not have"
        elif not found:
            yield f"{name}: its outlier scales are not in the file"
        elif any(not np.array_equal(file.values(tensor).ravel(), wanted) for _, tensor in found):
            yield f"{name}: its outlier scales are not the model's"
    for name in scales:
        yield f"outlier scales of {name}, which is no layer of the model"


def _unread(file: TfliteFile) -> Iterator[str]:
    graph = file.model.subgraphs[0]
    read = {graph.tensors[tensor].buffer for _, _, tensor in file.constants()}
    read |= {entry.buffer for entry in file.model.metadata or []}
    unread = [
        len(buffer.data)
        for index, buffer in enumerate(file.model.buffers)
        if index not in read and buffer.data is not None and len(buffer.data)
    ]
    if unread:
        yield f"{sum(unread)} bytes of data that nothing reads"
