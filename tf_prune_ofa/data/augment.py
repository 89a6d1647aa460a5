"""More training examples by replacing words (TinyBERT, Jiao et al. 2020, section 3.2 and table 7).

A word of one piece is replaced by what a masked language model proposes in its place, a word of
several pieces by whole words that are near to it in embedding space. TinyBERT takes GloVe vectors
for those; here they are the encoder's own word embeddings, a word of several pieces being the mean
of its pieces. Stop words, numbers and punctuation stay.

TinyBERT masks one word at a time, which costs a forward pass for each word. Here every seventh
word is masked, so that seven passes over a text mask each word once, 15 % at a time, as masked
language models are trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer

PASSES = 7  # 1 / 0.15, rounded up
_STOP_WORDS = frozenset(
    "a about after all also am an and any are as at be because been before but by can could did do "
    "does doing down for from had has have he her his how i if in into is it its just me more most "
    "my no nor not of off on only or our out over own she so some such than that the their them "
    "then there these they this those to too up very was we were what when where which while who "
    "why will with would you your s t d m re ve ll don didn doesn isn wasn won couldn".split()
)

# Texts with masked words as (ids, type_ids, positions of the masks): gives the ids of proposals
# [masks of all texts, K] for them, best first, which may name the word that was there.
Propose = Callable[
    [Sequence[np.ndarray], Sequence[np.ndarray], Sequence[np.ndarray]], np.ndarray
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a vocabulary's pieces are, each bool [V].

    Attributes:
        is_inner: the piece goes on a word ("##ing").
        is_word: a whole word of letters, no stop word: what may be replaced, and replace.
        is_letters: letters only, inner or not.
    """

    is_inner: np.ndarray
    is_word: np.ndarray
    is_letters: np.ndarray

    @classmethod
    def of(cls, wordpiece: TextTokenizer) -> Vocabulary:
        """Sort the pieces of a tokenizer."""
        wordpiece.require_word_pieces("Replacing words")
        inner = np.array([piece.startswith("##") for piece in wordpiece.pieces])
        letters = np.array([piece.removeprefix("##").isalpha() for piece in wordpiece.pieces])
        stop = np.array([piece.lower() in _STOP_WORDS for piece in wordpiece.pieces])
        return cls(inner, letters & ~inner & ~stop, letters)


def find_words(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Return the words of a text that may be replaced, int [words, 2]: first piece, behind last."""
    inner = vocabulary.is_inner[ids]
    starts = np.flatnonzero(~inner)
    stops = np.append(starts[1:], len(ids))
    is_single = stops - starts == 1
    # One piece that is no letter, and the word is none: "covid", "##-", "##19".
    letters = np.minimum.reduceat(vocabulary.is_letters[ids], starts) if len(starts) else is_single
    chosen = np.where(is_single, vocabulary.is_word[ids[starts]], letters)
    return np.stack([starts[chosen], stops[chosen]], axis=-1)


def nearest_words(
    words: Sequence[np.ndarray], embeddings: np.ndarray, vocabulary: Vocabulary, count: int
) -> np.ndarray:
    """Return the ids of the whole words nearest to words of several pieces, [words, count].

    Args:
        words: the ids of each word's pieces.
        embeddings: of all pieces, [V, H].
        vocabulary: says which pieces are whole words.
        count: how many, nearest first, by the cosine of the angle to the mean of the pieces.
    """
    whole = np.flatnonzero(vocabulary.is_word)
    table = _unit(embeddings[whole])
    asked = _unit(np.stack([embeddings[ids].mean(0) for ids in words]))
    return whole[np.argsort(-(asked @ table.T), axis=-1, kind="stable")[:, :count]]


def augment(
    tokens: Encoded,
    wordpiece: TextTokenizer,
    propose: Propose,
    embeddings: np.ndarray,
    *,
    copies: int,
    probability: float,
    candidates: int,
    seed: int,
) -> tuple[Encoded, np.ndarray]:
    """Return the examples and their copies with replaced words, and each one's origin.

    In a copy, each word is replaced with `probability` by one of its `candidates`, drawn evenly;
    at least one is. Examples without a word that may be replaced have no copies.

    Args:
        tokens: examples with [CLS] and [SEP].
        wordpiece: the tokenizer that made them.
        propose: the masked language model.
        embeddings: of the word pieces, [V, H].
        copies: of each example.
        probability: that a word is replaced, in [0, 1].
        candidates: proposals to draw from.
        seed: of the draws; what is drawn for an example depends on nothing but this and its place.

    Returns:
        The examples, first all as they are, then the copies; and the index of each one's origin.
    """
    vocabulary = Vocabulary.of(wordpiece)
    words = [find_words(ids, vocabulary) for ids in tokens.ids]
    proposals = _proposals(
        tokens, words, wordpiece, vocabulary, propose, embeddings, count=candidates
    )
    ids, type_ids = list(tokens.ids), list(tokens.type_ids)
    origins = list(range(len(ids)))
    for index, (spans, offered) in enumerate(zip(words, proposals, strict=True)):
        if not len(spans):
            continue
        rng = np.random.default_rng((seed, index))
        is_replaced = rng.random((copies, len(spans))) < probability
        forced = rng.integers(0, len(spans), copies)
        drawn = rng.integers(0, offered.shape[1], (copies, len(spans)))
        for copy in range(copies):
            chosen = np.flatnonzero(is_replaced[copy])
            chosen = chosen if len(chosen) else forced[copy : copy + 1]
            new = offered[chosen, drawn[copy, chosen]]
            ids.append(_replaced(tokens.ids[index], spans[chosen], new))
            type_ids.append(_shortened(tokens.type_ids[index], spans[chosen]))
            origins.append(index)
    return Encoded(ids, type_ids), np.array(origins)


def _proposals(
    tokens: Encoded,
    words: Sequence[np.ndarray],
    wordpiece: TextTokenizer,
    vocabulary: Vocabulary,
    propose: Propose,
    embeddings: np.ndarray,
    *,
    count: int,
) -> list[np.ndarray]:
    """Return the ids that may replace each word of each example, [words, count] for an example."""
    found = [np.zeros((len(spans), count), np.int32) for spans in words]
    _propose_in_context(tokens, words, found, wordpiece.mask_id, propose)
    places = [
        (example, word)
        for example, spans in enumerate(words)
        for word in np.flatnonzero(spans[:, 1] - spans[:, 0] > 1)
    ]
    pieces = {place: tuple(tokens.ids[place[0]][slice(*words[place[0]][place[1]])])
              for place in places}  # fmt: skip
    distinct = list(dict.fromkeys(pieces.values()))
    chunk = 512  # words x vocabulary in memory
    for start in range(0, len(distinct), chunk):
        part = distinct[start : start + chunk]
        near = nearest_words([np.array(p) for p in part], embeddings, vocabulary, count)
        offered = dict(zip(part, near, strict=True))
        for place, word in pieces.items():
            if word in offered:
                found[place[0]][place[1]] = offered[word]
    return found


def _propose_in_context(
    tokens: Encoded,
    words: Sequence[np.ndarray],
    found: list[np.ndarray],
    mask_id: int,
    propose: Propose,
) -> None:
    """Fill in the proposals for words of one piece."""
    texts, type_ids, positions, places = [], [], [], []
    for example, spans in enumerate(words):
        single = np.flatnonzero(spans[:, 1] - spans[:, 0] == 1)
        for offset in range(min(PASSES, len(single))):
            masked = single[offset::PASSES]
            text = tokens.ids[example].copy()
            text[spans[masked, 0]] = mask_id
            texts.append(text)
            type_ids.append(tokens.type_ids[example])
            positions.append(spans[masked, 0])
            places += [(example, word) for word in masked]
    if not places:
        return
    offered = propose(texts, type_ids, positions)
    for (example, word), row in zip(places, offered, strict=True):
        original = tokens.ids[example][words[example][word, 0]]
        found[example][word] = row[row != original][: found[example].shape[1]]


def _replaced(ids: np.ndarray, spans: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return ids with each span [first, behind last) replaced by one id."""
    out = ids.copy()
    out[spans[:, 0]] = new
    return _shortened(out, spans)


def _shortened(values: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Return values without all but the first of each span."""
    is_kept = np.ones(len(values), bool)
    for start, stop in spans:
        is_kept[start + 1 : stop] = False
    return values[is_kept]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
