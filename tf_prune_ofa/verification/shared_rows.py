"""Whether words that share rows share the right ones, and a file looks them up so.

Which words have rows of their own is read from a file, and held against how often texts use them
and how near the others' rows are; then every file must hold that list, exactly.

Legend: V words · R rows · H columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.verification import arithmetic
from tf_prune_ofa.verification.reading import Operator, TfliteFile

TABLE = "embeddings/word/embeddings"
ROWS = f"{TABLE}/rows"
_IDS = "input_word_ids"
_TOLERANCE = 1e-4  # as a share: distances and weights may be computed in two ways
_WORDS_AT_A_TIME = 500


@dataclass(frozen=True)
class SharedRows:
    """Which row each word has.

    Attributes:
        own: ids of the words with rows of their own, in the order of the rows, int64 [R].
        row_of: row of each word, int64 [V].
    """

    own: np.ndarray
    row_of: np.ndarray


def read(file: TfliteFile, words: np.ndarray, used: np.ndarray) -> SharedRows | None:
    """Return which words of a file share rows; None if its tables do not say.

    A row belongs to that of its words whose numbers it has, of equals to the most used.

    Args:
        file: a quantized file.
        words: the model's table, float [V, H].
        used: times that texts use each word, int [V].
    """
    found = {file.tensors[tensor].name: tensor for _, _, tensor in file.constants()}
    if not {ROWS, TABLE, f"{TABLE}/scales"} <= set(found):
        return None
    row_of = file.values(found[ROWS]).ravel().astype(np.int64)
    rows, scales = file.values(found[TABLE]), file.values(found[f"{TABLE}/scales"]).ravel()
    if len(row_of) != len(words) or set(row_of.tolist()) != set(range(len(rows))):
        return None
    if 2 * rows.shape[1] == words.shape[1]:
        wanted = arithmetic.word_scales(words)
        numbers = arithmetic.word_bytes(words, wanted)
    else:
        wanted = arithmetic.channel_scales(words)
        numbers = arithmetic.weight_integers(words, wanted)
    if numbers.shape[1] != rows.shape[1] or len(scales) != len(rows):
        return None
    wrong = np.count_nonzero(numbers != rows[row_of], axis=1) + (wanted != scales[row_of])
    order = np.lexsort((-used, wrong, row_of))
    first = np.searchsorted(row_of[order], np.arange(len(rows)))
    return SharedRows(order[first], row_of)


def choice_problems(
    shared: SharedRows,
    words: np.ndarray,
    used: np.ndarray,
    besides: np.ndarray,
    *,
    needed: np.ndarray,
    at_least: int,
    size: int,
) -> list[str]:
    """Return what is wrong with the choice of words that have rows of their own.

    Args:
        shared: as a file has it.
        words: the model's table, float [V, H].
        used: times that the task's texts use each word, int [V].
        besides: times that further texts do, which together count a tenth of those.
        needed: ids of those that have rows in any case, which no other word shares.
        at_least: times that others must be used.
        size: of the table, at most; 0 for no limit.
    """
    has_row = np.zeros(len(words), bool)
    has_row[shared.own] = True
    is_needed = np.zeros(len(words), bool)
    is_needed[needed] = True
    problems = []
    if np.any(np.diff(shared.own) <= 0):
        problems.append("its rows of words are not in the order of the vocabulary")
    if missing := np.count_nonzero(is_needed & ~has_row):
        problems.append(f"{missing} special tokens have no rows of their own")
    is_chosen, is_rare = has_row & ~is_needed, used + besides < at_least
    if too_rare := np.count_nonzero(is_chosen & is_rare):
        problems.append(f"{too_rare} words have rows that texts use less than {at_least} times")
    tenth = used.sum() / max(float(besides.sum()), 1.0) / 10
    weight = used + tenth * besides
    left = weight[~has_row & ~is_needed & ~is_rare]
    is_full = bool(size) and len(shared.own) == size
    least = weight[is_chosen].min(initial=np.inf) * (1 + _TOLERANCE)
    if len(left) and (not is_full or left.max() > least):
        problems.append(
            f"words without rows of their own are used up to {left.max():g} times, with "
            f"{len(shared.own)} rows"
        )
    if size and len(shared.own) > max(size, len(needed)):
        problems.append(f"it has {len(shared.own)} rows of words instead of {size}")
    farther = _count_farther(shared, words, is_needed)
    if farther:
        problems.append(f"{farther} words share a row though another one is nearer")
    return problems


def _count_farther(shared: SharedRows, words: np.ndarray, is_needed: np.ndarray) -> int:
    """Return how many words share a row that is not the nearest, or a special token's."""
    rows, count = words[shared.own], 0
    sizes = np.where(is_needed[shared.own], np.inf, np.square(rows).sum(axis=1))
    others = np.setdiff1d(np.arange(len(words)), shared.own)
    for start in range(0, len(others), _WORDS_AT_A_TIME):
        ids = others[start : start + _WORDS_AT_A_TIME]
        own_size = np.square(words[ids]).sum(axis=1)
        distances = own_size[:, np.newaxis] + sizes - 2 * (words[ids] @ rows.T)
        found = distances[np.arange(len(ids)), shared.row_of[ids]]
        is_near = found <= distances.min(axis=1) + _TOLERANCE * own_size
        count += int(np.count_nonzero(~(is_near & np.isfinite(found))))
    return count


def file_problems(file: TfliteFile, shared: SharedRows | None) -> Iterator[str]:
    """Say where a file does not look words up by their rows.

    Args:
        file: the file.
        shared: which row each word has; None where each must have its own.
    """
    tables = (TABLE, f"{TABLE}/scales")
    for operator in file.operators:
        name = file.tensors[operator.inputs[0]].name if operator.inputs else ""
        if operator.name != "GATHER" or name not in tables:
            continue
        if operator.options.get("axis", 0) or operator.options.get("batchDims", 0):
            yield f"GATHER (operator {operator.index}) of words is along another axis"
        ids = operator.inputs[1]
        if shared is None:
            is_right = file.inputs.get(_IDS) == ids
        else:
            is_right = _is_lookup(file, file.producers.get(ids), shared)
        if not is_right:
            yield f"GATHER (operator {operator.index}) does not look words up by their rows"


def _is_lookup(file: TfliteFile, made_by: Operator | None, shared: SharedRows) -> bool:
    """Return whether an operator gives the rows of the words of a text."""
    if made_by is not None and made_by.name == "CAST":
        is_whole = file.tensors[made_by.outputs[0]].dtype == "int32"
        made_by = file.producers.get(made_by.inputs[0]) if is_whole else None
    if made_by is None or made_by.name != "GATHER":
        return False
    options = made_by.options
    rows, ids = made_by.inputs
    entry = file.tensors[rows]
    return (
        not options.get("axis", 0)
        and not options.get("batchDims", 0)
        and ids == file.inputs.get(_IDS)
        and entry.is_constant
        and entry.name == ROWS
        and np.array_equal(file.values(rows).ravel(), shared.row_of)
    )
