"""Writes what BERT's and MediaPipe's tokenizers do to a character: word_piece_tables.txt, twice.

One is for the Kotlin library, the other for `text.plain_word_pieces`.

    python android/make_tables.py

Java's and Python's own character properties will not do: they follow the Unicode version of the
Android release, or of Python; the tokenizer that models are trained with follows its own. So each
of the 1.1 million characters is given to that one (Hugging Face `tokenizers`), and what it does is
written down. Hangul syllables are left out: they come apart by rule.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

from tf_prune_ofa.text.clean_up import mediapipe_clean_up

_NAME = "word_piece_tables.txt"
_ANDROID = Path(__file__).parent
TABLES = (
    _ANDROID / "textmodels/src/main/resources/tfpruneofa" / _NAME,
    _ANDROID.parent / "tf_prune_ofa/text" / _NAME,
)
HANGUL = range(0xAC00, 0xAC00 + 11172)
# Name of a mapping -> (lower_case, strip_accents).
MAPPINGS = {"lower": (True, False), "strip": (False, True)}


def tables() -> str:
    """Return the content of the file."""
    plain = _normalizer(False, False)
    characters = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    kinds: dict[str, list[int]] = {"removed": [], "space": [], "cjk": [], "punctuation": []}
    for c in characters:
        result = plain.normalize_str(chr(c))
        if not result:
            kinds["removed"].append(c)
        elif result == " ":
            kinds["space"].append(c)
        elif result == f" {chr(c)} ":
            kinds["cjk"].append(c)
        elif result != chr(c):
            raise AssertionError(f"U+{c:04X} becomes {result!r}")
    split = pre_tokenizers.BertPreTokenizer()
    gone = {*kinds["removed"], *kinds["space"]}
    left = [c for c in characters if c not in gone]
    kinds["punctuation"] = [c for c in left if len(split.pre_tokenize_str(f"a{chr(c)}a")) == 3]
    splitter = mediapipe_clean_up().pre_tokenizer
    # Of a newer Unicode than the library's own; with the ideographs.
    kinds["mediapipe_signs"] = [
        c for c in characters if len(splitter.pre_tokenize_str(f"a{chr(c)}a")) == 3
    ]
    lines = [f"{kind} {' '.join(_ranges(found))}" for kind, found in kinds.items()]
    mapped: dict[str, dict[int, str]] = {name: {} for name in MAPPINGS}
    for name, (lower, strip) in MAPPINGS.items():
        normalizer = _normalizer(lower, strip)
        for c in left:
            result = normalizer.normalize_str(chr(c)).strip(" ")
            if c in HANGUL and strip:
                continue
            if result != chr(c):
                mapped[name][c] = result
                lines.append(f"{name} {c:X} {' '.join(f'{ord(r):X}' for r in result)}".rstrip())
    _check_both(left, mapped["lower"], mapped["strip"])
    return "\n".join(lines) + "\n"


def _check_both(characters: list[int], lower: dict[int, str], strip: dict[int, str]) -> None:
    """Make sure that both mappings together are the second after the first."""
    both = _normalizer(True, True)
    for c in characters:
        if c not in HANGUL:
            expected = "".join(lower.get(ord(s), s) for s in strip.get(c, chr(c)))
            assert both.normalize_str(chr(c)).strip(" ") == expected, f"U+{c:04X}"


def _normalizer(lower: bool, strip: bool) -> normalizers.BertNormalizer:
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip, lowercase=lower
    )


def _ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Neighbours as FIRST-LAST, in hexadecimal."""
    first = last = None
    for number in [*numbers, None]:
        if first is not None and number != last + 1:
            yield f"{first:X}-{last:X}" if first != last else f"{first:X}"
            first = None
        if first is None:
            first = number
        last = number


if __name__ == "__main__":
    content = tables()
    for path in TABLES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
        print(f"{path}: {path.stat().st_size} bytes")
