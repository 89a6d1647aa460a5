import numpy as np
import pytest

from tf_prune_ofa.data.augment import (
    PASSES,
    Vocabulary,
    augment,
    find_words,
    nearest_words,
)
from tf_prune_ofa.text.wordpiece import WordPiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "the", "film", "is", "good", "bad", "fun", "sub", "##lime", "##ly", "7", "##7",
          ",", "movie", "great"]  # fmt: skip
ID = {piece: index for index, piece in enumerate(PIECES)}
PROPOSED = [ID["film"], ID["good"], ID["fun"]]


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n")
    return WordPiece(path)


@pytest.fixture(scope="module")
def vocabulary(wordpiece):
    return Vocabulary.of(wordpiece)


def ids(text):
    return np.array([ID[piece] for piece in text.split()], np.int32)


class Proposer:
    """Proposes the same three words everywhere, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts, type_ids, positions):
        for text, types, places in zip(texts, type_ids, positions, strict=True):
            assert len(text) == len(types)
            assert np.flatnonzero(text == ID["[MASK]"]).tolist() == places.tolist()
            self.asked.append((text.tolist(), places.tolist()))
        return np.array([PROPOSED] * sum(len(places) for places in positions))


def embeddings(**vectors):
    table = np.zeros([len(PIECES), 2])
    table[:, 1] = -1
    for piece, vector in vectors.items():
        table[ID[piece.replace("__", "##")]] = vector
    return table


def run(wordpiece, texts, *, proposer=None, pairs=None, **settings):
    options = {"copies": 4, "probability": 0.4, "candidates": 2, "seed": 0} | settings
    tokens = wordpiece.encode(texts, pairs, max_length=32)
    table = embeddings(sub=(1, 0), __lime=(0, 1), good=(1, 0.9), fun=(1, 0.5))
    return augment(tokens, wordpiece, proposer or Proposer(), table, **options)


def test_words_are_found_by_their_pieces(vocabulary):
    text = ids("[CLS] the film , sub ##lime ##ly good 7 sub ##7 [SEP]")
    # Not: special tokens, a stop word, a comma, a number, a word with one in it.
    assert find_words(text, vocabulary).tolist() == [[2, 3], [4, 7], [7, 8]]
    assert find_words(ids("[CLS] [SEP]"), vocabulary).shape == (0, 2)


def test_the_nearest_words_by_hand(vocabulary):
    # The mean of (1, 0) and (0, 1) is at 45 degrees, good at 42, fun at 27, "sub" itself at 0.
    table = embeddings(sub=(1, 0), __lime=(0, 1), good=(1, 0.9), fun=(1, 0.5))
    found = nearest_words([ids("sub ##lime")], table, vocabulary, 3)
    assert [PIECES[index] for index in found[0]] == ["good", "fun", "sub"]


def test_every_word_of_one_piece_is_masked_once(wordpiece):
    proposer = Proposer()
    text = "film good bad fun great movie film good bad"
    run(wordpiece, [text], proposer=proposer)
    assert len(proposer.asked) == PASSES == 7
    assert sorted(place for _, places in proposer.asked for place in places) == list(range(1, 10))
    assert proposer.asked[0][1] == [1, 8]  # every seventh


def test_copies_come_after_the_originals(wordpiece):
    texts = ["the film is good", "the , 7", "sublimely good"]
    tokens, origins = run(wordpiece, texts)
    originals = wordpiece.encode(texts, max_length=32)
    for found, expected in zip(tokens.ids, originals.ids, strict=False):
        np.testing.assert_array_equal(found, expected)
    # The second text has no word to replace.
    assert origins.tolist() == [0, 1, 2, 0, 0, 0, 0, 2, 2, 2, 2]
    for copy, types in zip(tokens.ids, tokens.type_ids, strict=True):
        assert len(copy) == len(types) and ID["[MASK]"] not in copy
    for copy, origin in zip(tokens.ids[3:], origins[3:], strict=True):
        assert not np.array_equal(copy, originals.ids[origin])


def test_proposals_are_drawn_without_the_word_itself(wordpiece):
    # Of [film, good, fun] two are left for "film", and the first two for "bad".
    tokens, _ = run(wordpiece, ["film bad"], copies=200, probability=0.5)
    copies = np.array(tokens.ids[1:])
    assert set(copies[:, 1]) == {ID["film"], ID["good"], ID["fun"]}
    assert set(copies[:, 2]) == {ID["bad"], ID["film"], ID["good"]}
    # Replaced with probability 0.5, or forced where neither is: 0.5 + 0.25 / 2; four standard
    # errors of 200 draws are 0.14.
    assert np.mean(copies[:, 1] != ID["film"]) == pytest.approx(0.625, abs=0.14)


def test_a_word_of_several_pieces_becomes_one_of_one(wordpiece):
    tokens, _ = run(wordpiece, ["the sublime"], probability=1.0, candidates=1)
    assert [wordpiece.tokens(copy) for copy in tokens.ids[1:]] == [
        ["[CLS]", "the", "good", "[SEP]"]
    ] * 4


def test_both_texts_of_a_pair_are_changed(wordpiece):
    tokens, _ = run(wordpiece, ["the film"], pairs=["sublime fun"], probability=1.0)
    for copy, types in zip(tokens.ids[1:], tokens.type_ids[1:], strict=True):
        assert copy[2] != ID["film"] and copy[5] != ID["fun"]
        assert types.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_the_seed_and_the_place_decide(wordpiece):
    texts = ["film good bad", "great movie"]
    first, again, other = (run(wordpiece, texts, seed=seed)[0] for seed in (0, 0, 1))
    assert [a.tolist() for a in first.ids] == [a.tolist() for a in again.ids]
    assert [a.tolist() for a in first.ids] != [a.tolist() for a in other.ids]
    alone = run(wordpiece, texts[:1])[0]
    assert [a.tolist() for a in alone.ids[1:]] == [a.tolist() for a in first.ids[2:6]]
