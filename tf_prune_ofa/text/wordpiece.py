"""Text to WordPiece ids, by the rules that BERT's checkpoints were pre-trained with.

The work is done by Hugging Face `tokenizers`. On the review corpus (12,808 sentences, one thread)
it does 28,000 texts a second and loads in 0.02 s; keras-nlp 0.32's BertTokenizer does 9,400 and
loads in 3 s. By default that one also leaves accents on lower-cased text, so that "cliché" becomes
[UNK]: 1.4 % of those sentences get other ids for it. With its `strip_accents=True` the two differ
in 0.3 %, where keras-nlp folds compatibility characters ("…" becomes "...") and BERT did not.
Given texts that BERT's clean-up has gone over, both have the same ids (tests/data, 5,000 texts).
"""

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tf_prune_ofa.errors import UserError

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNUSED_TOKEN = re.compile(r"\[unused\d+\]")
# Where a Hugging Face folder and a keras-nlp preset keep the vocabulary.
_VOCAB_NAMES = ("vocab.txt", "assets/tokenizer/vocabulary.txt")
_SURROGATE = re.compile("[\ud800-\udfff]")
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
        vocab: vocab.txt, one token per line, or its lines; the line number is the id.
        lower_case: lower-case the text, as uncased checkpoints need.
        strip_accents: remove accents; None does as BERT did, which is to follow `lower_case`.
            False is close to MediaPipe's TextClassifier, which lower-cases ASCII letters and
            leaves accents alone (read in its source; not run).
        split_chinese: make each CJK ideograph a word of its own, as BERT did.

    Attributes:
        pieces: the vocabulary; the position is the id.
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
    ) -> None:
        is_path = isinstance(vocab, str | os.PathLike)
        tokens = _read_vocab(Path(vocab)) if is_path else list(vocab)
        # A token that is listed twice has its last id, as in BERT's own loader.
        ids = {token: index for index, token in enumerate(tokens) if token}
        missing = [token for token in _SPECIAL_TOKENS if token not in ids]
        if missing:
            raise UserError(
                f"The vocabulary {vocab if is_path else ''} has {len(ids)} tokens but not "
                f"{', '.join(missing)}. Give a BERT WordPiece vocab.txt; vocabularies of other "
                "tokenizers (SentencePiece, byte-level BPE) do not work here."
            )
        self.lower_case = lower_case
        self.vocab_size = len(tokens)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            ids[token] for token in _SPECIAL_TOKENS
        )
        self.special_ids = np.array([ids[token] for token in _SPECIAL_TOKENS], np.int32)
        self.replacement_ids = np.array(
            sorted(
                index
                for token, index in ids.items()
                if token not in _SPECIAL_TOKENS and not _UNUSED_TOKEN.fullmatch(token)
            ),
            np.int32,
        )
        self.pieces = tokens
        self._tokenizer = Tokenizer(
            models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        self._tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=split_chinese,
            strip_accents=strip_accents,
            lowercase=lower_case,
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

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
            chunk = [_without_surrogates(text) for text in texts[start : start + _TEXTS_PER_CALL]]
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
            chunk = [_without_surrogates(text) for text in texts[start : start + _TEXTS_PER_CALL]]
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
            type_ids.append(np.repeat(np.int32([0, 1]), [len(first) + 2, len(second) + 1]))
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


def find_vocab(folder: str | os.PathLike[str]) -> Path:
    """Path of the vocabulary in a Hugging Face folder or a keras-nlp preset folder.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    for name in _VOCAB_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"No vocabulary in {folder}: looked for {' and '.join(_VOCAB_NAMES)}. Copy the vocab.txt "
        "of the checkpoint there."
    )


def tokenizer_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Keyword arguments for `WordPiece` that a model folder states.

    Read from tokenizer_config.json, then from tokenizer.json (of `tokenizers`, or of a keras-nlp
    preset). Where neither tells the case, the vocabulary does: an uncased one has no capitals.

    Returns:
        lower_case, strip_accents and split_chinese.

    Raises:
        UserError: no vocabulary in the folder, or one of those files is not JSON.
    """
    folder = Path(folder)
    vocab_path = find_vocab(folder)
    config = _read_json(folder / "tokenizer_config.json")
    state = _read_json(folder / "tokenizer.json")
    normalizer = state.get("normalizer") or {}
    preset = state.get("config") or {}
    lower_case = _first_stated(
        config.get("do_lower_case"), normalizer.get("lowercase"), preset.get("lowercase")
    )
    if lower_case is None:
        lower_case = is_uncased(_read_vocab(vocab_path))
    # A keras-nlp preset's strip_accents is left out: False is only that library's default there,
    # and not what its checkpoints were trained with.
    strip_accents = _first_stated(config.get("strip_accents"), normalizer.get("strip_accents"))
    split_chinese = _first_stated(
        config.get("tokenize_chinese_chars"), normalizer.get("handle_chinese_chars"), True
    )
    return {
        "lower_case": bool(lower_case),
        "strip_accents": strip_accents,
        "split_chinese": bool(split_chinese),
    }


def vocab_lines(content: bytes) -> list[str]:
    """The word pieces in the bytes of a vocab.txt."""
    # Not splitlines(): multilingual vocabularies hold U+2028 and other Unicode line ends as tokens.
    lines = content.decode("utf-8-sig").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.rstrip("\r") for line in lines]


def is_uncased(pieces: Sequence[str]) -> bool:
    """Whether a vocabulary is of an uncased checkpoint: no capitals but in [SPECIAL] pieces."""
    return all(p == p.lower() or re.fullmatch(r"\[.*\]", p) for p in pieces)


def _first_stated(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _read_vocab(path: Path) -> list[str]:
    try:
        return vocab_lines(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"No vocabulary at {path}. Give the vocab.txt of the checkpoint that is trained."
        ) from None
    except IsADirectoryError:
        raise UserError(f"The vocabulary {path} is a folder: name the file in it.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"The vocabulary {path} is not UTF-8 text (byte {error.start}). Copy it again."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}). Copy it again, or remove it.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object. Copy it again, or remove it.")
    return value


def _without_surrogates(text: str) -> str:
    """Hides half surrogate pairs, which JSON escapes can smuggle in and UTF-8 cannot hold.

    U+FFFD in their place, which BERT's clean-up drops, keeps the other characters where they are.
    """
    return _SURROGATE.sub("\ufffd", text)
