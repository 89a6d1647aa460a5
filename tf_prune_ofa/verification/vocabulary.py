"""Whether a file that has a part of its model's vocabulary still has what every text may need."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.verification.container import VOCABULARY

_ALWAYS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def read_vocabulary(content: bytes) -> list[str] | None:
    """Return the word pieces in a file; None if it has none that can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(VOCABULARY).decode("utf-8")
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, NotImplementedError, RuntimeError):
        return None
    return text.removesuffix("\n").split("\n")


def positions(found: Sequence[str], pieces: Sequence[str]) -> np.ndarray | None:
    """Return where the words of a file stand in the model's vocabulary.

    Returns:
        Ascending ids [words in the file]; None if they are no part of it in its order.
    """
    # Of a piece that is listed twice the last counts.
    places = {piece: index for index, piece in enumerate(pieces)}
    ids = np.array([places.get(piece, -1) for piece in found], np.int64)
    is_part = len(ids) and ids[0] >= 0 and bool(np.all(np.diff(ids) > 0))
    return ids if is_part else None


def find_problems(found: Sequence[str], pieces: Sequence[str], added: Sequence[str]) -> list[str]:
    """Return what a text may need and not find.

    Args:
        found: the word pieces of the file.
        pieces: of the model.
        added: tokens that are looked for before words are split.
    """
    there = set(found)
    special = [piece for piece in (*_ALWAYS, *added) if piece not in there]
    single = [
        piece
        for piece in pieces
        if len(piece.removeprefix("##") if len(piece) > 2 else piece) == 1 and piece not in there
    ]
    return [
        f"{len(missing)} {what} of the model's vocabulary are not in its own, first {missing[0]}"
        for what, missing in (("special tokens", special), ("single characters", single))
        if missing
    ]
