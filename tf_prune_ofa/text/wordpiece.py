"""Text to WordPiece ids, by the rules that BERT's checkpoints were pre-trained with.

The work is done by Hugging Face `tokenizers`. On the review corpus (12,808 sentences, one thread)
it does 28,000 texts a second and loads in 0.02 s; keras-nlp 0.32's BertTokenizer does 9,400 and
loads in 3 s. By default that one also leaves accents on lower-cased text, so that "cliché" becomes
[UNK]: 1.4 % of those sentences get other ids for it. With its `strip_accents=True` the two differ
in 0.3 %, where keras-nlp folds compatibility characters ("…" becomes "...") and BERT did not.
Given texts that BERT's clean-up has gone over, both have the same ids (tests/data, 5,000 texts).
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from tokenizers import AddedToken, Tokenizer, models

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.added_tokens import SPECIAL_TOKENS
from tf_prune_ofa.text.clean_up import CLEAN_UPS, bert_clean_up, mediapipe_clean_up
from tf_prune_ofa.text.tokenizer_files import tokenizer_settings
from tf_prune_ofa.text.vocabulary import find_vocab, is_uncased, read_pieces, vocab_lines

__all__ = [
    "Encoded",
    "WordPiece",
    "find_vocab",
    "is_uncased",
    "tokenizer_settings",
    "truncate_pair",
    "vocab_lines",
]

_UNUSED_TOKEN = re.compile(r"\[unused\d+\]")
_TEXTS_PER_CALL = 4096


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


class WordPiece:
    """WordPiece tokenizer of one vocabulary.

    Special tokens written out in a text, such as "[SEP]", are ordinary text: they become their
    brackets and letters, never the special id.

    Args:
        vocab: vocab.txt, one token per line, where the line number is the id; a tokenizer.json
            of a WordPiece tokenizer; or the lines.
        lower_case: lower-case the text, as uncased checkpoints need.
        strip_accents: remove accents; None does as BERT did, which is to follow `lower_case`.
        split_chinese: make each CJK ideograph a word of its own, as BERT did.
        clean_up: "bert", or "mediapipe" for what MediaPipe's TextClassifier does to a text instead
            of the three settings before; see `text.clean_up`.
        added_tokens: tokens that are looked for before words are split, each a mapping as
            `added_tokens.read_added_tokens` returns it; the ids of those that are no pieces follow
            the vocabulary's. A list of lines may hold these at its end.

    Attributes:
        pieces: the vocabulary with the added tokens; the position is the id.
        vocab_size: rows that the embedding table needs.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
        special_ids: the five of them, int32 [5].
        replacement_ids: every id that may stand in for a masked token: not special, not [unusedN].

    Raises:
        UserError: the vocabulary is missing, unreadable or lacks a special token.
    """

    def __init__(
        self,
        vocab: str | os.PathLike[str] | Sequence[str],
        lower_case: bool = True,
        *,
        strip_accents: bool | None = None,
        split_chinese: bool = True,
        clean_up: Literal["bert", "mediapipe"] = "bert",
        added_tokens: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if clean_up not in CLEAN_UPS:
            raise UserError(f"clean_up is {clean_up!r}; choose one of {', '.join(CLEAN_UPS)}")
        if clean_up == "mediapipe" and added_tokens:
            raise UserError(
                "MediaPipe knows no added tokens, and the tokenizer has "
                f"{', '.join(token['content'] for token in added_tokens[:3])}; leave clean_up out"
            )
        is_path = isinstance(vocab, str | os.PathLike)
        tokens = read_pieces(vocab) if is_path else list(vocab)
        new = [token["content"] for token in added_tokens if not token["is_piece"]]
        if new and tokens[-len(new) :] == new:
            tokens = tokens[: -len(new)]
        # A token that is listed twice has its last id, as in BERT's own loader.
        ids = {token: index for index, token in enumerate(tokens) if token}
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise UserError(
                f"The vocabulary {vocab if is_path else ''} has {len(ids)} tokens but not "
                f"{', '.join(missing)}. Give a BERT WordPiece vocab.txt; vocabularies of other "
                "tokenizers (SentencePiece, byte-level BPE) do not work here."
            )
        self.lower_case = lower_case or clean_up == "mediapipe"
        self.pieces = tokens + new
        self.vocab_size = len(self.pieces)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            ids[token] for token in SPECIAL_TOKENS
        )
        self.special_ids = np.array([ids[token] for token in SPECIAL_TOKENS], np.int32)
        signs = {token["content"] for token in added_tokens if token["special"]}
        every = ids | {token: len(tokens) + index for index, token in enumerate(new)}
        self.replacement_ids = np.array(
            sorted(
                index
                for token, index in every.items()
                if token not in signs.union(SPECIAL_TOKENS) and not _UNUSED_TOKEN.fullmatch(token)
            ),
            np.int32,
        )
        self._clean_up = (
            mediapipe_clean_up()
            if clean_up == "mediapipe"
            else bert_clean_up(
                lower_case=lower_case, strip_accents=strip_accents, split_chinese=split_chinese
            )
        )
        self._tokenizer = Tokenizer(
            models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        if self._clean_up.normalizer is not None:
            self._tokenizer.normalizer = self._clean_up.normalizer
        self._tokenizer.pre_tokenizer = self._clean_up.pre_tokenizer
        # One by one: each gets the next id, whatever kind it is of.
        for token in added_tokens:
            flags = {key: value for key, value in token.items() if key != "is_piece"}
            self._tokenizer.add_tokens([AddedToken(**flags)])

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "WordPiece":
        """Makes the tokenizer of a model folder, with the settings written there.

        Raises:
            UserError: no vocabulary in the folder, or a settings file that is not JSON.
        """
        return cls(find_vocab(folder), **tokenizer_settings(folder))

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text as an int32 array, without [CLS] and [SEP], at full length."""
        if isinstance(texts, str):
            raise TypeError("tokenize takes a list of texts, not one text.")
        ids = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = [
                self._clean_up.prepare(text) for text in texts[start : start + _TEXTS_PER_CALL]
            ]
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
            chunk = [
                self._clean_up.prepare(text) for text in texts[start : start + _TEXTS_PER_CALL]
            ]
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
        special = 2 if pairs is None else 3
        room = max_length - special
        if room < special - 1:
            raise UserError(
                f"A sequence length of {max_length} leaves no room for text: "
                f"use at least {2 * special - 1}."
            )
        cls, sep = np.array([self.cls_id], np.int32), np.array([self.sep_id], np.int32)
        if pairs is None:
            ids = [np.concatenate([cls, a[:room], sep]) for a in self.tokenize(texts)]
            return Encoded(ids, [np.zeros(len(one), np.int32) for one in ids])
        ids, type_ids = [], []
        for first, second in zip(self.tokenize(texts), self.tokenize(pairs), strict=True):
            first, second = truncate_pair(first, second, room)
            ids.append(np.concatenate([cls, first, sep, second, sep]))
            type_ids.append(
                np.repeat(np.array([0, 1], np.int32), [len(first) + 2, len(second) + 1])
            )
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
