"""What is done to a text before its words are looked up: as BERT did it, or as MediaPipe does it.

MediaPipe's TextClassifier always lower-cases A to Z, and nothing else: accents and other capitals
stay, control characters and soft hyphens are letters, and only ASCII's white space parts words. A
model that is trained on texts treated like that gets the same ids on a phone as here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tf_prune_ofa.text.library import tokenizers_for

if TYPE_CHECKING:
    from tokenizers import normalizers, pre_tokenizers

CLEAN_UPS = ("bert", "mediapipe")

# A word of more bytes is unknown to MediaPipe; BERT counts characters.
_MEDIAPIPE_WORD_BYTES = 100
# Never a word piece, and one character: it keeps the others where they are.
_UNKNOWN = "\U0010fffd"
_SURROGATE = re.compile("[\ud800-\udfff]")
MEDIAPIPE_SPACES = "\t\n\f\r "
_TO_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# ASCII's signs, Unicode's punctuation, and the blocks of ideographs that BERT lists.
_SIGNS = (
    r"[!-/:-@\[-`{-~\p{P}\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}"
    r"\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}"
    r"\x{2F800}-\x{2FA1F}]"
)


@dataclass(frozen=True)
class CleanUp:
    """The steps in front of WordPiece's look-up.

    Attributes:
        prepare: called with each text; keeps the number of characters.
        normalizer: of `tokenizers`, or None.
        pre_tokenizer: of `tokenizers`; splits words.
    """

    prepare: Callable[[str], str]
    normalizer: normalizers.Normalizer | None
    pre_tokenizer: pre_tokenizers.PreTokenizer


def bert_clean_up(*, lower_case: bool, strip_accents: bool | None, split_chinese: bool) -> CleanUp:
    """Return what BERT's checkpoints were pre-trained with; see `wordpiece.WordPiece`."""
    tokenizers = tokenizers_for("a tokenizer with added tokens")
    return CleanUp(
        without_surrogates,
        tokenizers.normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=split_chinese,
            strip_accents=strip_accents,
            lowercase=lower_case,
        ),
        tokenizers.pre_tokenizers.BertPreTokenizer(),
    )


def mediapipe_clean_up() -> CleanUp:
    """Return what MediaPipe's TextClassifier does to a text."""
    tokenizers = tokenizers_for("a text cleaned up as MediaPipe does it")
    splitting, pattern = tokenizers.pre_tokenizers, tokenizers.Regex
    splitter = splitting.Sequence(
        [
            splitting.Split(pattern(f"[{MEDIAPIPE_SPACES}]+"), "removed"),
            splitting.Split(pattern(_SIGNS), "isolated"),
        ]
    )

    def prepare(text: str) -> str:
        text = lower_ascii(without_surrogates(text))
        if text.isascii() or len(text.encode()) <= _MEDIAPIPE_WORD_BYTES:
            return text
        for word, (start, end) in splitter.pre_tokenize_str(text):
            if len(word.encode()) > _MEDIAPIPE_WORD_BYTES:
                text = text[:start] + _UNKNOWN * (end - start) + text[end:]
        return text

    return CleanUp(prepare, None, splitter)


def lower_ascii(text: str) -> str:
    """Return a text with A to Z in lower case, and nothing else changed."""
    return text.translate(_TO_LOWER)


def without_surrogates(text: str) -> str:
    """Hide half surrogate pairs, which JSON escapes can smuggle in and UTF-8 cannot hold.

    U+FFFD in their place, which BERT's clean-up drops, keeps the other characters where they are.
    """
    return _SURROGATE.sub("\ufffd", text)
