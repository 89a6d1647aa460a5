"""Compare the numbers of a dense layer with those it must have: whole, or with rows left out.

Legend: N outputs · K inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Numbers:
    """The numbers of a layer as a file holds them.

    Attributes:
        kernel: [N, K], float32 or INT8.
        scales: [N], or empty if the kernel is float.
        bias: [N], float32 or INT32, or None.
        bias_scales: [N], or empty.
    """

    kernel: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None
    bias_scales: np.ndarray


def differences(found: Numbers, wanted: Numbers) -> Iterator[str]:
    """Return what of a layer that is whole is not as wanted."""
    if found.kernel.dtype != wanted.kernel.dtype:
        yield f"its weights are {found.kernel.dtype} instead of {wanted.kernel.dtype}"
        return
    wrong = found.kernel != wanted.kernel
    if wrong.any():
        out, into = np.argwhere(wrong)[0]
        pruned = int(np.count_nonzero(wrong & (wanted.kernel == 0)))
        yield (
            f"{np.count_nonzero(wrong)} of {wrong.size} weights are not the model's "
            f"({pruned} of them are 0 in the model), first from input {into} to output {out}: "
            f"{found.kernel[out, into]:g} instead of {wanted.kernel[out, into]:g}"
        )
    for what, one, other in (
        ("scales", found.scales, wanted.scales),
        ("biases", found.bias, _zeros_if_none(wanted.bias, found.bias)),
        ("scales of the bias", found.bias_scales, _bias_scales(wanted, found)),
    ):
        yield from _array_differences(what, one, other)


def _array_differences(
    what: str, found: np.ndarray | None, wanted: np.ndarray | None
) -> Iterator[str]:
    if found is None or wanted is None:
        if found is not wanted:
            yield f"its {what} are {'missing' if found is None else 'not in the model'}"
    elif found.shape != wanted.shape or found.dtype != wanted.dtype:
        yield f"its {what} are {found.dtype} {found.shape}, not {wanted.dtype} {wanted.shape}"
    elif not np.array_equal(found, wanted):
        place = int(np.flatnonzero(found != wanted)[0])
        count = np.count_nonzero(found != wanted)
        yield (
            f"{count} of {wanted.size} {what} are not the model's, first of output {place}: "
            f"{found[place]:g} instead of {wanted[place]:g}"
        )


def _zeros_if_none(wanted: np.ndarray | None, found: np.ndarray | None) -> np.ndarray | None:
    # A convolution must have a bias: zeros where the layer has none.
    return np.zeros_like(found) if wanted is None and found is not None else wanted


def _bias_scales(wanted: Numbers, found: Numbers) -> np.ndarray:
    return found.bias_scales if wanted.bias is None else wanted.bias_scales


def shorter_problems(found: Numbers, wanted: Numbers, unread: np.ndarray) -> Iterator[str]:
    """Compare a layer with fewer rows, or fewer columns; those that are there are in order."""
    rows, columns = wanted.kernel.shape
    if found.kernel.shape[1] == columns and found.bias is not None and wanted.bias is not None:
        own = _lines(found.kernel, found.scales, found.bias)
        model = _lines(wanted.kernel, wanted.scales, wanted.bias)
        needed, what = ~unread, "rows"
    elif found.kernel.shape[0] == rows:
        own, model = _lines(found.kernel.T), _lines(wanted.kernel.T)
        needed, what = np.any(wanted.kernel != 0, axis=0), "columns"
        yield from _array_differences("scales", found.scales, wanted.scales)
        yield from _array_differences("biases", found.bias, wanted.bias)
    else:
        yield f"its weights are {found.kernel.shape}, fewer than the model's both ways"
        return
    first = _first_foreign(own, model)
    missing = Counter(line for line, is_needed in zip(model, needed, strict=True) if is_needed)
    missing -= Counter(own)
    if first is not None:
        yield f"its {what} are not the model's, in order, from number {first} on"
    elif missing:
        yield f"{missing.total()} of its {what} are not in the file, and are needed"


def _lines(*parts: np.ndarray) -> list[bytes]:
    """Return what stands in each row of some arrays, side by side."""
    return [b"|".join(np.asarray(one).tobytes() for one in row) for row in zip(*parts, strict=True)]


def _first_foreign(found: list[bytes], wanted: list[bytes]) -> int | None:
    """Return which line is the first that does not stand behind those before it; None if all do."""
    place = 0
    for number, line in enumerate(found):
        try:
            place = wanted.index(line, place) + 1
        except ValueError:
            return number
    return None


def row_problems(parts: list[Numbers], wanted: Numbers, unread: np.ndarray) -> Iterator[str]:
    """Compare the rows of a layer with the model's where some, or columns, are left out or moved.

    A part with all columns has them in order, one with all rows those.
    """
    if any(part.kernel.dtype != wanted.kernel.dtype or part.bias is None for part in parts):
        yield f"its pieces are not all {wanted.kernel.dtype} with a bias"
        return
    bias = np.zeros(len(wanted.kernel), np.int32) if wanted.bias is None else wanted.bias
    is_in_order = all(part.kernel.shape[1] == wanted.kernel.shape[1] for part in parts)
    rows = list(_row_keys(wanted.kernel, wanted.scales, bias, is_in_order=is_in_order))
    left = Counter(rows)
    for part in parts:
        assert part.bias is not None  # see above
        left.subtract(_row_keys(part.kernel, part.scales, part.bias, is_in_order=is_in_order))
    foreign = -sum(count for count in left.values() if count < 0)
    if foreign:
        yield f"{foreign} rows of its pieces are none of the model's {len(rows)} rows"
    if not is_in_order and len(parts) == 1 and len(parts[0].kernel) == len(rows):
        if _columns(parts[0].kernel) != _columns(wanted.kernel):
            yield "the columns of its weights are not the model's"
    for part in parts:
        if wanted.bias is not None and len(wanted.bias_scales) and len(part.scales):
            ratio = part.bias_scales / part.scales
            if not np.allclose(ratio, wanted.bias_scales[0] / wanted.scales[0], rtol=1e-5):
                yield "the scales of its bias are not input scale times weight scale"
    spare = Counter(key for key, is_unread in zip(rows, unread, strict=True) if is_unread)
    missing = sum(max(0, count - spare[key]) for key, count in left.items())
    if missing:
        yield f"{missing} of its {len(rows)} rows are not in the file, and are read by the model"


def _row_keys(
    kernel: np.ndarray, scales: np.ndarray, bias: np.ndarray, *, is_in_order: bool
) -> Iterator[tuple[float, int, bytes]]:
    for row, scale, summand in zip(kernel, scales, bias, strict=True):
        numbers = row if is_in_order else np.sort(row[row != 0])
        yield float(scale), int(summand), numbers.tobytes()


def _columns(kernel: np.ndarray) -> Counter[bytes]:
    """Return how often each column that is not all zero is there."""
    return Counter(column.tobytes() for column in kernel.T if column.any())
