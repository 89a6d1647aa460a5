"""The tokenizer in Python alone against Hugging Face's."""

import random
import subprocess
import sys

import pytest
from awkward_texts import awkward_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from test_packaging import REPOSITORY

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text import library
from tf_prune_ofa.text.json_tokenizer import JsonTokenizer
from tf_prune_ofa.text.plain_word_pieces import PlainWordPieces
from tf_prune_ofa.text.wordpiece import WordPiece, read_pieces

TABLE = "word_piece_tables.txt"
SETTINGS = [
    {"lower_case": lower, "strip_accents": strip, "split_chinese": split}
    for lower in (True, False)
    for strip in (None, True, False)
    for split in (True, False)
] + [{"lower_case": True, "clean_up": "mediapipe"}]


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def pieces(minilm_folder):
    return read_pieces(minilm_folder / "vocab.txt")


def pairs(pieces, **options):
    """The same tokenizer twice: by the library, and by Python alone."""
    with pytest.MonkeyPatch.context() as patch:
        theirs = WordPiece(pieces, **options)
        patch.setattr(library, "is_installed", lambda: False)
        ours = WordPiece(pieces, **options)
    assert isinstance(ours._tokenizer, PlainWordPieces)
    assert not isinstance(theirs._tokenizer, PlainWordPieces)
    return ours, theirs


def different(ours, theirs, texts):
    """The texts that get other ids or places."""
    found, wanted = (one.tokenize_with_offsets(texts) for one in (ours, theirs))
    plain = ours.tokenize(texts)
    return [
        text
        for text, ids, places, same, right, where in zip(texts, *found, plain, *wanted, strict=True)
        if ids.tolist() != right.tolist()
        or places.tolist() != where.tolist()
        or same.tolist() != ids.tolist()
    ]


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_the_same_ids_and_places(pieces, options, count):
    ours, theirs = pairs(pieces, **options)
    assert not different(ours, theirs, awkward_texts(count, seed=3))


@pytest.mark.parametrize("options", SETTINGS[:1] + SETTINGS[-3:], ids=str)
def test_every_kind_of_character(options):
    """A vocabulary of letters: a mistake in one character is another id, not [UNK] for both."""
    rng = random.Random(0)
    listed = [c for c in range(0x250) if chr(c).strip()]
    letters = [chr(c) for c in listed] + [chr(c) for c in range(0x1100, 0x1200)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    pieces += ["##" + letter for letter in letters]
    ours, theirs = pairs(list(dict.fromkeys(pieces)), **options)
    characters = [c for c in range(0x3000) if not 0xD800 <= c < 0xE000]
    characters += rng.sample(range(0xE000, 0x30000), 4000) + rng.sample(range(0xAC00, 0xD7A4), 400)
    assert not different(ours, theirs, [f"a{chr(c)}b" for c in characters])


@pytest.fixture(scope="module")
def uncased(pieces):
    return pairs(pieces[:8000])


@settings(max_examples=150)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_text(uncased, texts):
    assert not different(*uncased, texts)


def test_both_tables_are_one():
    android = REPOSITORY / "android/textmodels/src/main/resources/tfpruneofa" / TABLE
    assert android.read_bytes() == (REPOSITORY / "tf_prune_ofa/text" / TABLE).read_bytes()


def test_what_needs_the_library_says_so(without_library, wordpiece):
    lines = wordpiece.pieces
    token = {"content": "[DRUG]", "is_piece": False, "special": False, "lstrip": False,
             "rstrip": False, "single_word": False, "normalized": True}  # fmt: skip
    with pytest.raises(UserError, match=r"added tokens needs the package tokenizers.*pip install"):
        WordPiece(lines, added_tokens=[token])
    frame = {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}
    bpe = {"model": {"type": "BPE"}, "post_processor": frame}
    with pytest.raises(UserError, match="of the kind BPE needs the package tokenizers"):
        JsonTokenizer(bpe)


def test_a_process_without_the_library_opens_a_vocabulary(vocab_path):
    program = f"""
import sys
sys.modules["tokenizers"] = None  # as if it were not installed
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "tokenizers" else found(name, *more)
import tf_prune_ofa.runtime.text_classifier, tf_prune_ofa.runtime.question_answerer
from tf_prune_ofa.text.opening import open_tokenizer
print(open_tokenizer({str(vocab_path)!r}, {{}}).tokenize(["The film is badly good!"])[0].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "[6, 7, 8, 10, 11, 9, 15]", done.stderr
