"""Words, tags and entities. Expected values were made with seqeval 1.2.2 (default mode)."""

import random

import numpy as np
import pytest

from tf_prune_ofa.text.entities import (
    NO_TAG,
    Entity,
    encode_words,
    entities,
    entity_scores,
    parts_of,
    read_tags,
    words_of,
)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O", []),
        ("B-a I-a O", [("a", 0, 2)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        # An I- begins an entity where none of its type is open.
        ("I-a I-a O I-b", [("a", 0, 2), ("b", 3, 4)]),
        ("B-a I-b I-b", [("a", 0, 1), ("b", 1, 3)]),
        ("B-a O I-a", [("a", 0, 1), ("a", 2, 3)]),
        ("B-creative-work I-creative-work", [("creative-work", 0, 2)]),
        ("", []),
    ],
)
def test_entities_of_tags(tags, expected):
    assert entities(tags.split()) == [Entity(*one) for one in expected]


def test_scores_of_entities():
    right = [["B-a", "I-a", "O", "B-b"], ["O", "B-b"]]
    found = [["B-a", "I-a", "O", "B-a"], ["B-b", "B-b"]]
    scores = entity_scores(found, right)
    assert scores["entity_precision"] == pytest.approx(2 / 4)
    assert scores["entity_recall"] == pytest.approx(2 / 3)
    assert scores["entity_f1"] == pytest.approx(4 / 7)
    assert set(entity_scores([["O"]], [["O"]]).values()) == {0.0}


def test_scores_are_seqevals():
    seqeval = pytest.importorskip("seqeval.metrics", reason="pip install seqeval")
    rng = random.Random(0)
    names = ["O", "B-a", "I-a", "B-b", "I-b"]
    right, found = (
        [[rng.choice(names) for _ in range(1 + number % 9)] for number in range(500)]
        for _ in range(2)
    )
    scores = entity_scores(found, right)
    assert scores["entity_f1"] == pytest.approx(seqeval.f1_score(right, found))
    assert scores["entity_precision"] == pytest.approx(seqeval.precision_score(right, found))
    assert scores["entity_recall"] == pytest.approx(seqeval.recall_score(right, found))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  a  b ", ["a", "b"]),
        ("Don't go, @tf!", ["Don't", "go", ",", "@tf", "!"]),
        ("3.5 e-mail AT&T #ofa", ["3.5", "e-mail", "AT&T", "#ofa"]),
        ("caf\u00e9 \U0001f600\n\u4e2d\u6587", ["caf\u00e9", "\U0001f600", "\u4e2d\u6587"]),
    ],
)
def test_words_of_a_raw_text(text, words):
    assert [text[begin:end] for begin, end in words_of(text)] == words


def test_each_word_is_labelled_at_its_first_token(wordpiece):
    # [CLS] good ##ness is bad ##ly . [SEP]
    text = "goodness is badly ."
    spans = words_of(text)
    tagged = encode_words([text], [spans], [np.array([1, 0, 2, 0])], wordpiece, max_length=9)
    assert wordpiece.tokens(tagged.tokens.ids[0]) == [
        "[CLS]", "good", "##ness", "is", "bad", "##ly", ".", "[SEP]"
    ]  # fmt: skip
    assert tagged.places[0].tolist() == [1, 3, 4, 6]
    n = NO_TAG
    assert tagged.labels[0].tolist() == [n, 1, n, 0, 2, n, 0, n, n]


def test_words_that_are_cut_off_are_outside(wordpiece):
    text = "the film is good"
    tagged = encode_words([text], [words_of(text)], [np.array([1, 1, 1, 1])], wordpiece,
                          max_length=4)  # fmt: skip
    assert tagged.places[0].tolist() == [1, 2, NO_TAG, NO_TAG]
    assert tagged.labels[0].tolist() == [NO_TAG, 1, 1, NO_TAG]
    logits = np.zeros([1, 4, 2])
    logits[..., 1] = 1
    assert read_tags(logits, tagged.places, ["O", "B-a"]) == [["B-a", "B-a", "O", "O"]]


def test_a_word_without_tokens_is_outside_and_does_not_shift_others(wordpiece):
    text = "good \u200b bad"
    spans = [(0, 4), (5, 6), (7, 10)]
    tagged = encode_words([text], [spans], [np.array([0, 1, 1])], wordpiece, max_length=8)
    pieces = wordpiece.tokens(tagged.tokens.ids[0])
    places = tagged.places[0]
    assert pieces[places[0]] == "good"
    assert pieces[places[2]] == "bad"
    if places[1] != NO_TAG:
        assert pieces[places[1]] == "[UNK]"


@pytest.mark.parametrize(
    ("places", "tokens", "room", "parts"),
    [
        ([0, 1, 2], 3, 10, [(0, 3)]),
        ([0, 2, 3], 5, 3, [(0, 3), (3, 5)]),
        ([0, 1, 2, 3], 4, 1, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        # A word of seven tokens loses its end.
        ([0, 7], 8, 3, [(0, 3), (7, 8)]),
        ([0, NO_TAG, 2], 4, 2, [(0, 2), (2, 4)]),
        ([], 0, 4, [(0, 0)]),
    ],
)
def test_long_texts_are_cut_between_words(places, tokens, room, parts):
    assert parts_of(np.array(places, np.int32), tokens, room) == parts
