"""What every tokenizer here does: texts to ids, framed for the encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError

_TEXTS_PER_CALL = 4096
WORD_PIECE = "WordPiece"  # as tokenizer.json calls it


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Encoded texts, one pair of arrays for each.

    Attributes:
        ids: int32 arrays, [CLS] first, [SEP] last (and between the texts of a pair).
        type_ids: int32 arrays of the same lengths; 1 for the second text of a pair and its [SEP].
    """

    ids: list[np.ndarray]
    type_ids: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, [CLS] and [SEP] included."""
        return np.array([len(ids) for ids in self.ids], np.int64)


class TextTokenizer:
    """A tokenizer of one vocabulary; subclasses say which.

    Special tokens written out in a text, such as "[SEP]", are ordinary text, never the special id.

    Attributes:
        kind: of its model, as tokenizer.json calls it.
        pieces: the vocabulary with the added tokens; the position is the id.
        vocab_size: rows that the embedding table needs.
        lower_case: whether text is lower-cased first.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens, whatever their names.
        special_ids: the five of them, int32 [5].
        replacement_ids: every id that may stand in for a masked token.
        added: tokens that are looked for before words are split.
        middle_separators: how many stand between the texts of a pair.
    """

    kind: str
    pieces: list[str]
    vocab_size: int
    lower_case: bool
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    special_ids: np.ndarray
    replacement_ids: np.ndarray
    added: Sequence[str] = ()
    middle_separators: int = 1
    _tokenizer: Any  # a `tokenizers.Tokenizer`, or `plain_word_pieces.PlainWordPieces`

    def require_word_pieces(self, what: str) -> None:
        """Raise a `UserError` unless words are cut into WordPiece's pieces.

        Args:
            what: which rests on "##", and on [CLS] and [SEP] as BERT puts them.
        """
        if self.kind != WORD_PIECE:
            raise UserError(
                f"{what} works with WordPiece vocabularies only; this one is {self.kind}. Choose "
                "an encoder such as BERT, DistilBERT, MiniLM or ELECTRA"
            )

    def _prepare(self, text: str) -> str:
        """Return a text of the same number of characters that the tokenizer can take."""
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text as an int32 array, without [CLS] and [SEP], at full length."""
        if isinstance(texts, str):
            raise TypeError("tokenize takes a list of texts, not one text.")
        ids = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = [self._prepare(text) for text in texts[start : start + _TEXTS_PER_CALL]]
            for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
                ids.append(np.array(encoding.ids, np.int32))
        return ids

    def tokenize_with_offsets(
        self, texts: Sequence[str]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """As `tokenize`, and where each token stands in its text.

        Returns:
            ids, int32 [T] for each text; first and last (exclusive) character of each token in the
            text as it was given, int32 [T, 2].
        """
        ids, offsets = [], []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = [self._prepare(text) for text in texts[start : start + _TEXTS_PER_CALL]]
            for encoding in self._tokenizer.encode_batch(chunk, add_special_tokens=False):
                ids.append(np.array(encoding.ids, np.int32))
                offsets.append(np.array(encoding.offsets, np.int32).reshape(-1, 2))
        return ids, offsets

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
    ) -> Encoded:
        """Encodes texts, or pairs of texts, for the model.

        Args:
            texts: first texts.
            pairs: second texts, or None.
            max_length: longest sequence to return, special tokens included. Longer texts lose
                their end; of a pair, the longer text loses first (`truncate_pair`).

        Raises:
            UserError: `max_length` leaves no room for a token of each text.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise ValueError(f"{len(texts)} texts but {len(pairs)} second texts.")
        special = 2 if pairs is None else 2 + self.middle_separators
        room = max_length - special
        if room < (1 if pairs is None else 2):
            raise UserError(
                f"A sequence length of {max_length} leaves no room for text: "
                f"use at least {special + (1 if pairs is None else 2)}."
            )
        cls, sep = np.array([self.cls_id], np.int32), np.array([self.sep_id], np.int32)
        if pairs is None:
            ids = [np.concatenate([cls, a[:room], sep]) for a in self.tokenize(texts)]
            return Encoded(ids, [np.zeros(len(one), np.int32) for one in ids])
        ids, type_ids = [], []
        for first, second in zip(self.tokenize(texts), self.tokenize(pairs), strict=True):
            first, second = truncate_pair(first, second, room)
            middle = np.repeat(sep, self.middle_separators)
            ids.append(np.concatenate([cls, first, middle, second, sep]))
            lengths = [len(first) + 1 + len(middle), len(second) + 1]
            type_ids.append(np.repeat(np.array([0, 1], np.int32), lengths))
        return Encoded(ids, type_ids)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's spelling of each id."""
        return [self.pieces[index] for index in ids]


def truncate_pair(
    first: np.ndarray, second: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the ends of two texts until both together have at most `room` tokens.

    The same result as BERT's loop, which drops one token at a time from the longer text, and from
    the second where both are equally long.
    """
    if len(first) + len(second) <= room:
        return first, second
    half = room // 2
    if len(second) <= half:
        return first[: room - len(second)], second
    if len(first) <= room - half:
        return first, second[: room - len(first)]
    return first[: room - half], second[:half]
