"""BERT's tokenizer in Python alone: to run a file, the 31 MB of `tokenizers` need not be there.

What happens to a character says word_piece_tables.txt, which android/make_tables.py writes down
from `tokenizers` itself: the same ids and places, whatever Unicode this Python knows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from tf_prune_ofa.text.clean_up import MEDIAPIPE_SPACES, lower_ascii

_HANGUL = range(0xAC00, 0xAC00 + 11172)
_SURROGATES = range(0xD800, 0xE000)
_LONGEST_WORD = 100  # in characters, in bytes for MediaPipe; a longer one is unknown
_MAPPINGS = ("lower", "strip")


@dataclass(frozen=True)
class Pieces:
    """The pieces of one text, under the names that `tokenizers` has for them.

    Attributes:
        ids: of the pieces.
        offsets: first and last (exclusive) character of the text that each covers.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class _Tables:
    removed: Sequence[range]
    space: Sequence[range]
    cjk: Sequence[range]
    punctuation: frozenset[int]
    mediapipe_signs: frozenset[int]
    lower: Mapping[int, str]
    strip: Mapping[int, str]

    def stripped(self, character: int) -> str:
        """Return a character without accents: what it comes apart into, less the marks."""
        if character in _HANGUL:
            first, rest = divmod(character - _HANGUL[0], 588)
            middle, last = divmod(rest, 28)
            parts = (0x1100 + first, 0x1161 + middle, *((0x11A7 + last,) if last else ()))
            return "".join(map(chr, parts))
        return self.strip.get(character, chr(character))


@functools.cache
def _tables() -> _Tables:
    file = resources.files("tf_prune_ofa.text") / "word_piece_tables.txt"
    sets: dict[str, list[range]] = {}
    mappings: dict[str, dict[int, str]] = {name: {} for name in _MAPPINGS}
    for line in file.read_text(encoding="ascii").splitlines():
        name, *words = line.split(" ")
        if name in _MAPPINGS:
            numbers = [int(word, 16) for word in words]
            mappings[name][numbers[0]] = "".join(map(chr, numbers[1:]))
        else:
            bounds = [[int(bound, 16) for bound in word.split("-")] for word in words]
            sets[name] = [range(bound[0], bound[-1] + 1) for bound in bounds]
    return _Tables(
        removed=sets["removed"],
        space=sets["space"],
        cjk=sets["cjk"],
        punctuation=frozenset(itertools.chain(*sets["punctuation"])),
        mediapipe_signs=frozenset(itertools.chain(*sets["mediapipe_signs"])),
        **mappings,
    )


class PlainWordPieces:
    """WordPiece of one vocabulary, in place of a `tokenizers.Tokenizer` without added tokens.

    Args:
        ids: of each piece.
        unknown: the piece of a word that has none.
        lower_case, strip_accents, split_chinese, clean_up: see `text.wordpiece.WordPiece`.
    """

    def __init__(
        self,
        ids: Mapping[str, int],
        *,
        unknown: str,
        lower_case: bool,
        strip_accents: bool | None,
        split_chinese: bool,
        clean_up: str = "bert",
    ) -> None:
        self._is_mediapipe = clean_up == "mediapipe"
        self._ids = ids
        self._unknown = ids[unknown]
        self._longest = max(map(len, ids))
        self._lower = lower_case
        self._strip = lower_case if strip_accents is None else strip_accents
        self._split_chinese = split_chinese
        self._known: dict[str, tuple[str, bool]] = {}

    def encode_batch(
        self, texts: Sequence[str], *, add_special_tokens: bool = False
    ) -> list[Pieces]:
        """Return the pieces of each text; as in `tokenizers`, special tokens only if asked for."""
        if add_special_tokens:
            raise ValueError("TextTokenizer.encode puts the special tokens around a text")
        return [self._pieces(text) for text in texts]

    encode_batch_fast = encode_batch

    def _pieces(self, text: str) -> Pieces:
        found = Pieces([], [])
        word: list[str] = []
        places: list[int] = []
        signs = _tables().mediapipe_signs if self._is_mediapipe else _tables().punctuation
        for place, character in enumerate(text):
            known = self._known.get(character)
            if known is None:
                known = self._known[character] = self._parts(character)
            parts, is_alone = known
            if is_alone:
                self._cut(word, places, found)
            for part in parts:
                # What a character comes apart into may be a sign.
                is_sign = not is_alone and ord(part) in signs
                if is_sign:
                    self._cut(word, places, found)
                word.append(part)
                places.append(place)
                if is_sign:
                    self._cut(word, places, found)
            if is_alone:
                self._cut(word, places, found)
        self._cut(word, places, found)
        return found

    def _parts(self, character: str) -> tuple[str, bool]:
        """Return what becomes of a character, and whether it parts those beside it."""
        tables, code = _tables(), ord(character)
        if self._is_mediapipe:
            is_space = character in MEDIAPIPE_SPACES
            return "" if is_space else lower_ascii(
                character
            ), is_space or code in tables.mediapipe_signs
        if code in _SURROGATES or _is_in(code, tables.removed):
            return "", False
        if _is_in(code, tables.space):
            return "", True
        is_alone = self._split_chinese and _is_in(code, tables.cjk)
        parts = tables.stripped(code) if self._strip else character
        if self._lower:
            parts = "".join(tables.lower.get(ord(part), part) for part in parts)
        return parts, is_alone or (len(parts) == 1 and ord(parts) in tables.punctuation)

    def _cut(self, word: list[str], places: list[int], found: Pieces) -> None:
        """Cut a word into the longest pieces from its left, or make it unknown; empty it."""
        if not word:
            return
        text, begin = "".join(word), 0
        is_too_long = len(text.encode() if self._is_mediapipe else text) > _LONGEST_WORD
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        while begin < len(text):
            prefix = "##" if begin else ""
            last = 0 if is_too_long else min(len(text), begin + self._longest)
            end, index = last, None
            while end > begin and index is None:
                index = self._ids.get(prefix + text[begin:end])
                end -= index is None
            if index is None:
                ids, offsets = [self._unknown], [(places[0], places[-1] + 1)]
                break
            ids.append(index)
            offsets.append((places[begin], places[end - 1] + 1))
            begin = end
        found.ids.extend(ids)
        found.offsets.extend(offsets)
        word.clear()
        places.clear()


def _is_in(code: int, ranges: Sequence[range]) -> bool:
    return any(code in some for some in ranges)
