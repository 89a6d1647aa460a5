"""Whether dense layers hold the model's numbers: weights, scales, biases and ranges, exactly.

A file in blocks holds the rows of a layer in pieces, each with the columns that are not all zero
for it. There every row is compared by its scale, its bias and its numbers other than zero; that
they stand in the right places shows in the results, which equal the dense file's bit for bit.

Legend: N outputs · K inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.verification import arithmetic
from tf_prune_ofa.verification.arithmetic import Grid
from tf_prune_ofa.verification.comparison import (
    Numbers,
    differences,
    row_problems,
    shorter_problems,
)
from tf_prune_ofa.verification.expected import Dense, Expected
from tf_prune_ofa.verification.reading import Operator, TfliteFile

_KERNEL, _PIECE = "/kernel", "/kernel/rows_"
_ROUNDED_TWICE = 2.0**-22


def layer_of(kernel_name: str) -> tuple[str, bool]:
    """Return the layer that a stored kernel belongs to, and whether it is a piece of it."""
    layer, _, rows = kernel_name.partition(_PIECE)
    if rows.isdecimal():
        return layer, True
    return kernel_name.removesuffix(_KERNEL), False


def find_problems(
    file: TfliteFile,
    form: str,
    expected: Expected,
    *,
    may_rearrange: bool = False,
    may_shorten: bool = False,
) -> list[str]:
    """Return what is wrong with the dense layers of a file.

    Args:
        file: the file.
        form: "float", "dynamic", "dynamic_int4" or "static".
        expected: what it must hold.
        may_rearrange: whether rows may be moved, left out where nothing reads them, and computed in
            pieces (files in blocks).
        may_shorten: whether rows that nothing reads, and columns of zeros, may be left out.
    """
    problems: list[str] = []
    found: dict[str, list[tuple[Operator, int]]] = {name: [] for name in expected.dense}
    for operator, kernel in file.dense_operators():
        name, _ = layer_of(file.tensors[kernel].name)
        if name not in found:
            problems.append(f"the kernel {file.tensors[kernel].name} is of no layer of the model")
            continue
        found[name].append((operator, kernel))
    for name, uses in found.items():
        dense = expected.dense[name]
        if not uses:
            problems.append(f"{name}: the file does not compute this layer")
            continue
        wanted = wanted_numbers(dense, form)
        problems += [f"{name}: {text}" for text in _grid_problems(file, uses, dense, form)]
        parts = [_read(file, operator, kernel) for operator, kernel in uses]
        if may_rearrange:
            unread = _unread_rows(dense, expected, form)
            problems += [f"{name}: {text}" for text in row_problems(parts, wanted, unread)]
        elif may_shorten and len(parts) == 1 and parts[0].kernel.size < wanted.kernel.size:
            unread = _unread_rows(dense, expected, form)
            problems += [f"{name}: {text}" for text in shorter_problems(parts[0], wanted, unread)]
        elif len(parts) > 1 or parts[0].kernel.shape != wanted.kernel.shape:
            shapes = ", ".join("x".join(map(str, part.kernel.shape)) for part in parts)
            problems.append(f"{name}: its weights are {shapes}, not those of the model")
        else:
            problems += [f"{name}: {text}" for text in differences(parts[0], wanted)]
    return problems


@dataclass(frozen=True)
class Stored:
    """How a file stores a layer: bytes, indices included, and whether zeros are left out."""

    size_bytes: int = 0
    is_sparse: bool = False
    is_in_pieces: bool = False


def stored_layers(file: TfliteFile) -> dict[str, Stored]:
    """Return how each dense layer is stored, by its name."""
    found: dict[str, Stored] = {}
    for kernel in dict.fromkeys(kernel for _, kernel in file.dense_operators()):
        name, is_piece = layer_of(file.tensors[kernel].name)
        size = found.get(name, Stored()).size_bytes + file.stored_bytes(kernel)
        found[name] = Stored(size, file.is_sparse(kernel) or is_piece, is_piece)
    return found


def wanted_numbers(dense: Dense, form: str) -> Numbers:
    """Return the numbers that a layer must have in a file."""
    none = np.zeros(0, np.float32)
    if form == "float":
        return Numbers(dense.kernel, none, dense.bias, none)
    if is_int4(dense, form):
        scales = arithmetic.int4_channel_scales(dense.kernel)
        kernel = arithmetic.int4_integers(dense.kernel, scales)
        return Numbers(kernel, scales, dense.bias, none)
    if form in ("dynamic", "dynamic_int4"):
        scales = arithmetic.channel_scales(dense.kernel)
        kernel = arithmetic.weight_integers(dense.kernel, scales)
        return Numbers(kernel, scales, dense.bias, none)
    if dense.source is None:
        return Numbers(dense.kernel, none, dense.bias, none)
    kernel, bias = dense.kernel, dense.bias
    if dense.outlier_scales is not None:
        kernel = kernel / dense.outlier_scales[:, None]
        bias = None if bias is None else bias / dense.outlier_scales
    scales = arithmetic.channel_scales(kernel, bias, float(dense.source.scale))
    integers = arithmetic.weight_integers(kernel, scales)
    if bias is None:
        return Numbers(integers, scales, None, none)
    bias_scales = dense.source.scale * scales
    return Numbers(integers, scales, arithmetic.bias_integers(bias, bias_scales), bias_scales)


def is_int4(dense: Dense, form: str) -> bool:
    """Return whether a layer's weights are INT4 in files of a form: those inside the encoder."""
    is_inside = dense.name.startswith("encoder_")
    return form == "dynamic_int4" and is_inside and dense.kernel.shape[1] % 2 == 0


def grid_of(file: TfliteFile, tensor: int) -> Grid | None:
    """Return the grid of an INT8 tensor; None if it is float, or has not one."""
    entry = file.tensors[tensor]
    if entry.dtype != "int8" or len(entry.scales) != 1 or len(entry.zero_points) != 1:
        return None
    return Grid(np.float32(entry.scales[0]), int(entry.zero_points[0]))


def _read(file: TfliteFile, operator: Operator, kernel: int) -> Numbers:
    values = file.values(kernel)
    # What the runtime reads is the unpacked kernel's scales.
    scales = file.tensors[operator.inputs[1]].scales
    bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
    return Numbers(
        kernel=values.reshape(len(values), -1),
        scales=scales,
        bias=None if bias < 0 else file.values(bias),
        bias_scales=np.zeros(0, np.float32) if bias < 0 else file.tensors[bias].scales,
    )


def _grid_problems(
    file: TfliteFile, uses: list[tuple[Operator, int]], dense: Dense, form: str
) -> Iterator[str]:
    for operator, kernel in uses:
        is_static = form == "static" and dense.source is not None
        wanted = (dense.source, dense.result) if is_static else (None, None)
        ends = ("input", operator.inputs[0]), ("output", operator.outputs[0])
        # A power of two moves into a range exactly; other factors round once more.
        is_exact = np.frexp(dense.factor)[0] == 0.5
        for (what, tensor), grid in zip(ends, wanted, strict=True):
            text = _grid_problem(file, tensor, grid, is_exact=bool(is_exact) or what == "input")
            if text:
                yield f"its {what} {text}"
        for tensor in {kernel, operator.inputs[1]}:
            entry = file.tensors[tensor]
            # Both kinds of integers are read as INT8 numbers: the type says what the runtime reads.
            if (entry.dtype == "int4") != is_int4(dense, form):
                yield f"its weights are {entry.dtype}, which other variants have"
            if np.any(entry.zero_points) or (len(entry.scales) and entry.axis != 0):
                yield "its weights have a zero point, or scales along another axis"
            if not np.array_equal(entry.scales, file.tensors[operator.inputs[1]].scales):
                yield "its weights have other scales stored than unpacked"
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            if np.any(file.tensors[operator.inputs[2]].zero_points):
                yield "its bias has a zero point"


def _grid_problem(file: TfliteFile, tensor: int, wanted: Grid | None, *, is_exact: bool) -> str:
    found, dtype = grid_of(file, tensor), file.tensors[tensor].dtype
    if wanted is None:
        return "" if dtype == "float32" else f"is {dtype} instead of float32"
    if found is None:
        return f"is {dtype} instead of INT8 with one scale"
    is_near = abs(found.scale / wanted.scale - 1) < _ROUNDED_TWICE
    if found == wanted or (is_near and not is_exact and found.zero_point == wanted.zero_point):
        return ""
    return (
        f"has scale {found.scale:g} and zero point {found.zero_point}; the range gives "
        f"{wanted.scale:g} and {wanted.zero_point}"
    )


def _unread_rows(dense: Dense, expected: Expected, form: str) -> np.ndarray:
    """Return which outputs of a layer the next one gives no weight [N]; they may be left out."""
    unread = np.zeros(len(dense.kernel), bool)
    readers = [
        one
        for one in expected.dense.values()
        if dense.name in one.feeds and one.kernel.shape[1] == len(unread)
    ]
    if readers:
        reader = min(readers, key=lambda one: len(one.feeds))
        unread = ~np.any(wanted_numbers(reader, form).kernel, axis=0)
    return unread


def count_zeros(file: TfliteFile, layers: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Return (zeros, weights) of some layers, counted in a file.

    What a file in pieces leaves out is zero, or is multiplied by zero.

    Args:
        file: the file.
        layers: shapes of kernels by layer name.
    """
    live = 0
    for _, kernel in file.dense_operators():
        if layer_of(file.tensors[kernel].name)[0] in layers:
            live += int(np.count_nonzero(file.values(kernel)))
    size = sum(int(np.prod(shape)) for shape in layers.values())
    return size - live, size
