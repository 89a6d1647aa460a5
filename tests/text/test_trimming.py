import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.trimming import kept_pieces, pieces_with_rows
from tf_prune_ofa.text.wordpiece import WordPiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SINGLE = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), "."]
LONG = ["film", "##ing", "##in", "filmi", "the", "##he", "go", "##od", "good"]
WHOLE = WordPiece([*SPECIAL, "[unused0]", *LONG, *SINGLE])


def trimmed(kept, whole=WHOLE):
    return WordPiece([whole.pieces[index] for index in kept])


def words_left(**options):
    kept = kept_pieces(WHOLE, ["the film.", "the good filming", "The the"], **options)
    assert np.all(np.diff(kept) > 0)
    return {WHOLE.pieces[index] for index in kept}.difference(SPECIAL, SINGLE)


def test_what_texts_use_stays_and_what_all_may_need():
    left = words_left()
    # "filming" is filmi ##n ##g: the longest piece first.
    assert left == {"the", "film", "good", "filmi"}
    kept = {WHOLE.pieces[index] for index in kept_pieces(WHOLE, [])}
    assert kept == {*SPECIAL, *SINGLE}


def test_pieces_that_are_used_too_rarely_go():
    assert words_left(at_least=2) == {"the"}
    assert words_left(size=len(SPECIAL) + len(SINGLE) + 2) == {"the", "film"}
    assert words_left(size=1000) == words_left()
    with pytest.raises(UserError, match="has no room for the 58"):
        words_left(size=10)


def test_texts_to_learn_from_keep_their_tokens():
    texts = ["the good film.", "filming"]
    kept = kept_pieces(WHOLE, texts)
    for one, other in zip(WHOLE.tokenize(texts), trimmed(kept).tokenize(texts), strict=True):
        assert one.tolist() == kept[other].tolist()


@given(st.text("abcdefghilmnot .éß字", max_size=20), st.lists(st.sampled_from(LONG), max_size=4))
def test_no_word_becomes_unknown(text, used):
    """Whatever stays, the texts spell the same words, and the same words are unknown."""
    kept = kept_pieces(WHOLE, used)
    one, other = WHOLE.tokenize([text])[0], kept[trimmed(kept).tokenize([text])[0]]

    def spelt(ids):
        pieces = (WHOLE.pieces[index] for index in ids)
        return "".join(p.removeprefix("##") if p.startswith("##") else f" {p}" for p in pieces)

    assert spelt(one) == spelt(other)


def test_added_tokens_stay():
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    token = {"content": "[DRUG]", "special": True, "is_piece": False, **flags}
    whole = WordPiece([*SPECIAL, *SINGLE, "film"], added_tokens=[token])
    kept = kept_pieces(whole, ["none of it"])
    pieces = [whole.pieces[index] for index in kept]
    assert pieces == [*SPECIAL, *SINGLE, "[DRUG]"]
    again = WordPiece(pieces, added_tokens=[token])
    assert again.tokens(again.tokenize(["a [DRUG]"])[0]) == ["a", "[DRUG]"]


def test_a_vocabulary_whose_characters_are_no_pieces_is_refused():
    with pytest.raises(UserError, match="1 characters .* such as ##g"):
        kept_pieces(WordPiece([p for p in WHOLE.pieces if p != "##g"]), ["film"])


def test_all_pieces_of_a_real_vocabulary_fall_into_characters(minilm_folder):
    whole = WordPiece.from_folder(minilm_folder)
    kept = kept_pieces(whole, [])
    assert len(kept) == len(SPECIAL) + 1994  # and nothing of 994 [unused] and 27,529 longer ones


def rows_for(**options):
    own = pieces_with_rows(WHOLE, ["the film.", "the good filming", "The the"], **options)
    assert np.all(np.diff(own) > 0)
    return {WHOLE.pieces[index] for index in own}.difference(SPECIAL)


def test_only_used_pieces_have_rows_where_others_share_them():
    # Single characters are no more than any other piece: nothing falls into them.
    assert rows_for() == {"the", "film", ".", "good", "filmi", "##n", "##g"}
    assert rows_for(at_least=2) == {"the"}
    assert rows_for(size=len(SPECIAL) + 2) == {"the", "film"}
    with pytest.raises(UserError, match="has no room for the 5 special and added tokens"):
        rows_for(size=4)
    for nothing in ({"size": 5}, {"at_least": 100}):
        with pytest.raises(UserError, match="only the 5 special and added tokens would have rows"):
            rows_for(**nothing)


def test_further_texts_weigh_a_tenth_of_the_others():
    texts, more = [*["the film."] * 20, "good"], ["go", "go"]
    size = len(SPECIAL) + 4
    # 61 pieces are used, so "go" counts as 6.1, and "good" as 1.
    for further, left in (((), "good"), (more, "go")):
        own = pieces_with_rows(WHOLE, texts, further, size=size)
        assert {WHOLE.pieces[index] for index in own}.difference(SPECIAL) == {
            *("the", "film", ".", left)
        }
    own = pieces_with_rows(WHOLE, texts, more, at_least=3)
    assert {WHOLE.pieces[index] for index in own}.difference(SPECIAL) == {"the", "film", "."}


def test_added_tokens_have_rows():
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    token = {"content": "[DRUG]", "special": True, "is_piece": False, **flags}
    whole = WordPiece([*SPECIAL, *SINGLE, "film"], added_tokens=[token])
    assert whole.pieces[pieces_with_rows(whole, ["film"])[-1]] == "[DRUG]"
