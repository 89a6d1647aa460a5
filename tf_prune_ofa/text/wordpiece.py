"""Text to WordPiece ids, by the rules that BERT's checkpoints were pre-trained with.

The work is done by Hugging Face `tokenizers`; where that is not installed, as to run a file it need
not be, by `plain_word_pieces`, slower, to the same ids. On the review corpus (12,808 sentences, one
thread) `tokenizers` does 28,000 texts a second and loads in 0.02 s; keras-nlp 0.32's BertTokenizer
does 9,400 and loads in 3 s. By default that one also leaves accents on lower-cased text, so that
"cliché" becomes [UNK]: 1.4 % of those sentences get other ids for it. With its `strip_accents=True`
the two differ in 0.3 %, where keras-nlp folds compatibility characters ("…" becomes "...") and BERT
did not. Given texts that BERT's clean-up has gone over, both have the same ids (tests/data, 5,000
texts).
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text import library
from tf_prune_ofa.text.added_tokens import SPECIAL_TOKENS
from tf_prune_ofa.text.clean_up import (
    CLEAN_UPS,
    bert_clean_up,
    mediapipe_clean_up,
    without_surrogates,
)
from tf_prune_ofa.text.plain_word_pieces import PlainWordPieces
from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer, truncate_pair
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


class WordPiece(TextTokenizer):
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
        parts_at_blanks: whether a text's ids are those of its parts between blanks, one behind the
            other.

    Raises:
        UserError: the vocabulary is missing, unreadable or lacks a special token.
    """

    kind = "WordPiece"

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
        # mypy does not follow a test that has a name.
        is_path = isinstance(vocab, str | os.PathLike)
        tokens = read_pieces(vocab) if isinstance(vocab, str | os.PathLike) else list(vocab)
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
        self.parts_at_blanks = clean_up == "bert" and not added_tokens
        self.pieces = tokens + new
        self.vocab_size = len(self.pieces)
        self.added = [token["content"] for token in added_tokens]
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
        cleaning: dict[str, Any] = {
            "lower_case": lower_case,
            "strip_accents": strip_accents,
            "split_chinese": split_chinese,
        }
        if library.is_installed() or added_tokens:
            self._tokenizer = self._with_library(ids, clean_up, cleaning, added_tokens)
        else:
            self._clean: Callable[[str], str] = without_surrogates
            self._tokenizer = PlainWordPieces(ids, unknown="[UNK]", clean_up=clean_up, **cleaning)

    def _with_library(
        self,
        ids: Mapping[str, int],
        clean_up: str,
        cleaning: Mapping[str, Any],
        added_tokens: Sequence[Mapping[str, Any]],
    ) -> Any:
        is_mediapipe = clean_up == "mediapipe"
        steps = mediapipe_clean_up() if is_mediapipe else bert_clean_up(**cleaning)
        self._clean = steps.prepare
        tokenizers = library.tokenizers_for("a tokenizer with added tokens")
        made = tokenizers.Tokenizer(
            tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        if steps.normalizer is not None:
            made.normalizer = steps.normalizer
        made.pre_tokenizer = steps.pre_tokenizer
        # One by one: each gets the next id, whatever kind it is of.
        for token in added_tokens:
            flags = {key: value for key, value in token.items() if key != "is_piece"}
            made.add_tokens([tokenizers.AddedToken(**flags)])
        return made

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "WordPiece":
        """Makes the tokenizer of a model folder, with the settings written there.

        Raises:
            UserError: no vocabulary in the folder, or a settings file that is not JSON.
        """
        return cls(find_vocab(folder), **tokenizer_settings(folder))

    def _prepare(self, text: str) -> str:
        return self._clean(text)
