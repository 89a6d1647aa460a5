"""Every folder has the ids that its files ask for, or is refused by what it asks for."""

import json

import numpy as np
import pytest
import tokenizer_folders
from awkward_texts import awkward_texts
from tokenizer_folders import ACCEPTED, REFUSED, VOCABULARY, added, state, write
from tokenizers import AddedToken, Tokenizer

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.tokenizer_files import tokenizer_files, tokenizer_settings
from tf_prune_ofa.text.wordpiece import WordPiece

MORE = ("covid19", "Covid19x", "[DRUG]", "[drug].", "filmgood", "xfilmgood", "<e1>", "<E1>", "<e2>",
        "[unused0]", "Привет", "Film", "café", "unfilmable")  # fmt: skip


def texts(count, seed=3):
    """Awkward texts with the added tokens in them; none with BERT's own, which are text to us."""
    found = awkward_texts(count, seed=seed)
    return [
        f"{text} {MORE[i % len(MORE)]}{text[:1]}".replace("[SEP]", "")
        for i, text in enumerate(found)
    ]


def stated_by(files):
    """The tokenizer that a folder's files describe, put together from the files' own words."""
    config = files.get("tokenizer_config", {})
    described = files.get("tokenizer", state())
    normalizer = described["normalizer"]
    for key, name in (
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ):
        if key in config:
            normalizer = {**normalizer, name: config[key]}
    tokenizer = Tokenizer.from_str(json.dumps({**described, "normalizer": normalizer}))
    special = [*config.get("additional_special_tokens", [])]
    special += files.get("special_tokens_map", {}).get("additional_special_tokens", [])
    for token in config.get("added_tokens_decoder", {}).values():
        tokenizer.add_tokens([AddedToken(**token)])
    for content in files.get("added_tokens", {}):
        is_special = content in special
        tokenizer.add_tokens([AddedToken(content, special=is_special, normalized=not is_special)])
    tokenizer.add_special_tokens([AddedToken(content, normalized=False) for content in special])
    return tokenizer


@pytest.mark.parametrize("name", ACCEPTED)
def test_ids_are_those_that_the_files_describe(name, tmp_path):
    folder = write(tmp_path / name, **ACCEPTED[name])
    ours = WordPiece.from_folder(folder)
    theirs = stated_by(ACCEPTED[name])
    sample = texts(300)
    for text, ids in zip(sample, ours.tokenize(sample), strict=True):
        assert ids.tolist() == theirs.encode(text, add_special_tokens=False).ids, text
    assert ours.vocab_size == theirs.get_vocab_size()
    assert [theirs.token_to_id(piece) for piece in ours.pieces] == list(range(ours.vocab_size))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_bert_s_is_refused_by_name(name, tmp_path):
    files, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        WordPiece.from_folder(write(tmp_path / name, **files))


def test_pieces_of_a_file_may_hold_the_added_tokens(tmp_path):
    folder = write(tmp_path / "in", **ACCEPTED["json_added"])
    settings, whole = tokenizer_settings(folder), WordPiece.from_folder(folder)
    again = WordPiece(whole.pieces, **settings)
    assert again.pieces == whole.pieces
    for ours, theirs in zip(again.tokenize(texts(200)), whole.tokenize(texts(200)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_special_token_never_stands_in_for_a_masked_word(tmp_path):
    folder = write(tmp_path / "in", **ACCEPTED["special"])
    wordpiece, first = WordPiece.from_folder(folder), len(VOCABULARY)
    assert first not in wordpiece.replacement_ids and first + 1 in wordpiece.replacement_ids


def test_every_file_that_is_read_is_listed(tmp_path):
    folder = write(tmp_path / "in", **ACCEPTED["legacy_special"])
    assert {path.name for path in tokenizer_files(folder)} == {
        "vocab.txt", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"
    }  # fmt: skip
    alone = write(tmp_path / "alone", **ACCEPTED["json_alone"])
    names = [path.name for path in tokenizer_files(alone)]
    assert sorted(names) == ["tokenizer.json", "tokenizer_config.json"]


def test_added_tokens_behind_a_vocabulary_with_a_repeated_line_are_refused(tmp_path):
    folder = write(tmp_path / "in", tokenizer_config={"added_tokens_decoder": {}})
    lines = [*VOCABULARY, "film"]
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in lines))
    config = {"added_tokens_decoder": added(tokenizer_folders.DRUG, first=len(lines))}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="lists a word piece twice"):
        WordPiece.from_folder(folder)


@pytest.mark.parametrize("content", ["[]", "3", '"x"', '{"model": 3}', "{" * 100_000, "\x00"])
def test_broken_files(content, tmp_path):
    folder = write(tmp_path / "in")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        WordPiece.from_folder(folder)


def test_absurd_ids_are_refused(tmp_path):
    huge = state(model={"vocab": {"[PAD]": 10**12}})
    with pytest.raises(UserError, match="no table of word pieces"):
        WordPiece.from_folder(write(tmp_path / "in", vocab=False, tokenizer=huge))
