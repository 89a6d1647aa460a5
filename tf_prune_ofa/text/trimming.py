"""Which word pieces of a vocabulary some texts need: the others' rows can leave a file.

Where the pieces go with them, a word whose piece is gone falls into shorter pieces. Those of one
character, "a" and "##a", always stay, and so no text loses a word: WordPiece gives up ([UNK]) only
at a character that it has no piece for, and every character of a known word has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.added_tokens import SPECIAL_TOKENS
from tf_prune_ofa.text.tokenizer import TextTokenizer

_CONTINUED = "##"
_TEXTS_AT_A_TIME = 20_000
_SHARE_OF_MORE = 0.1


def kept_pieces(
    tokenizer: TextTokenizer, texts: Sequence[str], *, at_least: int = 1, size: int = 0
) -> np.ndarray:
    """Return the ids that stay, ascending: those that texts use, and those that any text may need.

    Args:
        tokenizer: of the whole vocabulary.
        texts: what the model is for.
        at_least: times that a piece must be used to stay.
        size: of the pieces that are left, if there are more: the least used go; 0 for no limit.

    Raises:
        UserError: a tokenizer without word pieces, a vocabulary in which a character has no piece
            of its own, or a size that even the single characters do not fit into.
    """
    tokenizer.require_word_pieces("a vocabulary of the pieces that texts use")
    is_basic, counts = _basic_pieces(tokenizer), _use(tokenizer, texts)
    needed = "that any text may need, those of one character among them"
    return _first(is_basic, counts >= at_least, counts, size, needed=needed)


def pieces_with_rows(
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    more: Sequence[str] = (),
    *,
    at_least: int = 1,
    size: int = 0,
) -> np.ndarray:
    """Return the ids that have rows of their own where others share them, ascending.

    Args:
        tokenizer: of the whole vocabulary, which stays.
        texts: what the model is for.
        more: further texts, which say what of the rest is likely at all; together they weigh a
            tenth of `texts`.
        at_least: times that a piece must be used, in any of them.
        size: at most so many, the most used; 0 for no limit.

    Raises:
        UserError: a size that leaves no row to share beside special and added tokens, or texts
            that use nothing so often.
    """
    is_basic = np.zeros(tokenizer.vocab_size, bool)
    is_basic[special_pieces(tokenizer)] = True
    own, further = _use(tokenizer, texts), _use(tokenizer, more)
    rank = own + further * (_SHARE_OF_MORE * own.sum() / max(int(further.sum()), 1))
    needed = "special and added tokens"
    found = _first(is_basic, own + further >= at_least, rank, size, needed=needed)
    if is_basic[found].all():
        raise UserError(
            f"only the {len(found)} {needed} would have rows, and the other pieces none to share; "
            "ask for more rows, give more texts, or lower at_least"
        )
    return found


def special_pieces(tokenizer: TextTokenizer) -> np.ndarray:
    """Return the ids of special and added tokens."""
    added = set(tokenizer.added)
    ids = [index for index, piece in enumerate(tokenizer.pieces) if piece in added]
    return np.union1d(tokenizer.special_ids, np.array(ids, np.int64))


def _first(
    is_basic: np.ndarray, is_used: np.ndarray, rank: np.ndarray, size: int, *, needed: str
) -> np.ndarray:
    """Return the ids of basic pieces and of those that are used, ascending.

    Args:
        is_basic: which stay in any case.
        is_used: which others may.
        rank: the larger, the sooner does one stay.
        size: of all that are left, if there are more; 0 for no limit.
        needed: what the basic ones are, for the message.

    Raises:
        UserError: the basic ones are more.
    """
    is_used = is_used & ~is_basic
    if size:
        room = size - int(is_basic.sum())
        if room < 0:
            raise UserError(
                f"a vocabulary of {size} pieces has no room for the {is_basic.sum()} {needed}; ask "
                "for more"
            )
        # Of equals the earlier piece stays: BERT's vocabularies begin with frequent words.
        ranked = np.argsort(-np.where(is_used, rank, 0), kind="stable")
        is_first = np.zeros(len(rank), bool)
        is_first[ranked[:room]] = True
        is_used &= is_first
    return np.flatnonzero(is_basic | is_used)


def _basic_pieces(tokenizer: TextTokenizer) -> np.ndarray:
    """Return which pieces stay whatever the texts: special and added tokens, single characters.

    Raises:
        UserError: a character inside a piece has none of its own.
    """
    pieces = tokenizer.pieces
    stay = {*SPECIAL_TOKENS, *tokenizer.added}
    needed = set()
    for piece in pieces:
        if piece and piece not in stay and not _is_spare(piece):
            characters = piece.removeprefix(_CONTINUED) if _goes_on(piece) else piece[1:]
            needed |= {_CONTINUED + one for one in characters}
            needed |= set() if _goes_on(piece) else {piece[0]}
    missing = sorted(needed.difference(pieces))
    if missing:
        raise UserError(
            f"{len(missing)} characters of the vocabulary have no piece of their own, such as "
            f"{', '.join(missing[:5])}: without longer pieces, words with them would become "
            "[UNK]. Keep the whole vocabulary"
        )
    stay |= needed
    last = {piece: index for index, piece in enumerate(pieces) if piece in stay}
    is_basic = np.zeros(len(pieces), bool)
    # A piece that is listed twice has its last id.
    is_basic[list(last.values())] = True
    return is_basic


def _is_spare(piece: str) -> bool:
    """Return whether a piece is a place holder such as [unused7], which no text becomes."""
    return piece.startswith("[unused") and piece.endswith("]")


def _goes_on(piece: str) -> bool:
    return piece.startswith(_CONTINUED) and piece != _CONTINUED


def _use(tokenizer: TextTokenizer, texts: Sequence[str]) -> np.ndarray:
    """Return how often texts use each piece, int [V]."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        ids = tokenizer.tokenize(texts[start : start + _TEXTS_AT_A_TIME])
        if ids:
            counts += np.bincount(np.concatenate(ids), minlength=len(counts))
    return counts
