"""Texts of the lengths and forms that tasks have, cut from documents: for distillation.

What a sparse encoder learns on shall look like what tasks will give it: a sentence, some sentences,
two segments that belong together or do not; short more often than long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

LIMIT = 128
# Tokens that sentences are joined up to, and how often.
LENGTHS = (16, 32, 48, 64, 96, 128)
SHARES = (0.2, 0.25, 0.2, 0.15, 0.1, 0.1)
# Of one segment, and of two from one document; the rest have a second one from anywhere.
ONE, TOGETHER = 0.45, 0.35
Text = tuple[np.ndarray, int]  # ids, and where the second segment begins


def with_special_tokens(
    first: Sequence[int] | np.ndarray,
    second: Sequence[int] | np.ndarray | None,
    *,
    cls_id: int,
    sep_id: int,
    limit: int = LIMIT,
) -> Text:
    """Return [CLS] first [SEP], or [CLS] first [SEP] second [SEP], cut to `limit` tokens.

    Of two segments the longer one is cut, as for tasks. Where there is no second one, its beginning
    is the end.
    """
    a = list(first)
    if second is None:
        ids = [cls_id, *a[: limit - 2], sep_id]
        return np.array(ids, np.int32), len(ids)
    b = list(second)
    while len(a) + len(b) > limit - 3:
        (a if len(a) > len(b) else b).pop()
    return np.array([cls_id, *a, sep_id, *b, sep_id], np.int32), len(a) + 2


def texts_of(
    documents: Iterable[Sequence[np.ndarray]],
    rng: np.random.Generator,
    *,
    cls_id: int,
    sep_id: int,
    lengths: Sequence[int] = LENGTHS,
    shares: Sequence[float] = SHARES,
) -> Iterator[Text]:
    """Yield all sentences of documents, joined to texts of one or two segments.

    Args:
        documents: of each, its sentences as ids without special tokens.
        rng: draws lengths and forms.
        cls_id: begins each text.
        sep_id: ends each segment.
        lengths: tokens that sentences are joined up to; texts have no more than the greatest.
        shares: how often each length is drawn; they add up to 1.
    """
    documents = list(documents)
    others = [s for document in documents for s in document if 4 <= len(s) <= 60]
    special = {"cls_id": cls_id, "sep_id": sep_id, "limit": max(lengths)}
    for document in documents:
        place = 0
        while place < len(document):
            length = int(rng.choice(lengths, p=shares))
            taken, size = [document[place]], len(document[place])
            place += 1
            while place < len(document) and size + len(document[place]) <= length - 3:
                taken.append(document[place])
                size += len(document[place])
                place += 1
            form = rng.random()
            if form < ONE or not others:
                yield with_special_tokens(np.concatenate(taken), None, **special)
            elif len(taken) > 1 and form < ONE + TOGETHER:
                cut = int(rng.integers(1, len(taken)))
                first, second = np.concatenate(taken[:cut]), np.concatenate(taken[cut:])
                yield with_special_tokens(first, second, **special)
            else:
                other = others[rng.integers(len(others))]
                yield with_special_tokens(np.concatenate(taken), other, **special)
