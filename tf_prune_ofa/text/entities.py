"""Words with tags, and entities as spans: BIO (IOB2) tags, words of raw text, scores.

What counts as an entity, and the scores, are those of seqeval and of CoNLL's conlleval: an entity
begins at a B- tag, and at an I- tag that no entity of its type comes before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer

OUTSIDE = "O"
NO_TAG = -1  # of a token that no word begins with
# Words as annotators cut them: letters and digits with what joins them (don't, U.S., 3.5, e-mail),
# with a sign of a handle or hashtag in front; any other character by itself.
_WORDS = re.compile(r"[@#]?\w+(?:[.'’&/-]\w+)*|\S")


@dataclass(frozen=True)
class Entity:
    """A run of words of one type, `first` to `end` (exclusive)."""

    type: str
    first: int
    end: int


@dataclass(frozen=True)
class TaggedTokens:
    """Sentences as token ids, with the place of each word's first token.

    Attributes:
        tokens: ids and type ids of each sentence.
        labels: int32 [N, S], index of the tag at the first token of each word, elsewhere `NO_TAG`.
        places: of each sentence int32 [words], where each word's first token is; `NO_TAG` for a
            word that was cut off or has no token.
        tags: of each sentence int32 [words], the index of each word's tag; empty where unknown.
    """

    tokens: Encoded
    labels: np.ndarray
    places: list[np.ndarray]
    tags: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.places)


def words_of(text: str) -> list[tuple[int, int]]:
    """Return where the words of a raw text begin and end (exclusive), in characters.

    >>> [("We like @tf's U.S. office!"[a:b]) for a, b in words_of("We like @tf's U.S. office!")]
    ['We', 'like', "@tf's", 'U.S', '.', 'office', '!']
    """
    return [match.span() for match in _WORDS.finditer(text)]


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence's BIO tags, in their order.

    >>> entities(["B-person", "I-person", "O", "I-place", "B-place"])[0]
    Entity(type='person', first=0, end=2)
    """
    found: list[Entity] = []
    start, open_type = 0, ""
    for index, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, kind = tag.partition("-")
        if open_type and (prefix != "I" or kind != open_type):
            found.append(Entity(open_type, start, index))
            open_type = ""
        if tag != OUTSIDE and not open_type:
            start, open_type = index, kind
    return found


def entity_scores(
    found: Iterable[Sequence[str]], right: Iterable[Sequence[str]]
) -> dict[str, float]:
    """Return precision, recall and F1 over the entities of all sentences (micro average).

    Args:
        found: predicted tags of each sentence.
        right: the tags that are right, as many.
    """
    hits = predicted = wanted = 0
    for ours, theirs in zip(found, right, strict=True):
        mine, true = set(entities(ours)), set(entities(theirs))
        hits, predicted, wanted = hits + len(mine & true), predicted + len(mine), wanted + len(true)
    return {
        "entity_f1": 2 * hits / (predicted + wanted) if predicted + wanted else 0.0,
        "entity_precision": hits / predicted if predicted else 0.0,
        "entity_recall": hits / wanted if wanted else 0.0,
    }


def encode_words(
    texts: Sequence[str],
    spans: Sequence[Sequence[tuple[int, int]]],
    tags: Sequence[np.ndarray],
    wordpiece: TextTokenizer,
    *,
    max_length: int,
) -> TaggedTokens:
    """Return texts as ids, and where each word's first token is.

    Args:
        texts: raw texts.
        spans: of each text, where its words begin and end, in characters.
        tags: of each text, the index of each word's tag; empty arrays where they are unknown.
        wordpiece: the tokenizer.
        max_length: S, special tokens included; longer texts lose their end.
    """
    wordpiece.require_word_pieces("Tagging words")
    all_ids, offsets = wordpiece.tokenize_with_offsets(list(texts))
    cls, sep = np.array([wordpiece.cls_id], np.int32), np.array([wordpiece.sep_id], np.int32)
    ids, places = [], []
    labels = np.full((len(texts), max_length), NO_TAG, np.int32)
    for row, (pieces, where, words) in enumerate(zip(all_ids, offsets, spans, strict=True)):
        kept = pieces[: max_length - 2]
        ids.append(np.concatenate([cls, kept, sep]))
        at = first_tokens(where[: len(kept)], words)
        at[at != NO_TAG] += 1  # behind [CLS]
        places.append(at)
        if len(tags[row]):
            is_there = at != NO_TAG
            labels[row, at[is_there]] = tags[row][is_there]
    type_ids = [np.zeros(len(one), np.int32) for one in ids]
    return TaggedTokens(Encoded(ids, type_ids), labels, places, list(tags))


def first_tokens(offsets: np.ndarray, words: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the index of each word's first token, int32 [words], `NO_TAG` where it has none.

    Args:
        offsets: int [T, 2], characters that each token covers, ascending.
        words: where each word begins and ends, in characters.
    """
    starts = offsets[:, 0]
    found = np.full(len(words), NO_TAG, np.int32)
    for word, (begin, end) in enumerate(words):
        first = int(np.searchsorted(starts, begin))
        if first < len(starts) and starts[first] < end:
            found[word] = first
    return found


def parts_of(places: np.ndarray, tokens: int, room: int) -> list[tuple[int, int]]:
    """Cut a long text between words; return first and last (exclusive) token of each part.

    Args:
        places: of `first_tokens`.
        tokens: of the whole text.
        room: tokens that a part may have; a longer word loses its end.
    """
    borders = [int(place) for place in places if place > 0] + [tokens]
    parts, begin, end = [], 0, 0
    for border in borders:
        if border - begin > room and end > begin:
            parts.append((begin, end))
            begin = end
        end = border
    return [(first, min(last, first + room)) for first, last in [*parts, (begin, end)]]


def read_tags(
    logits: np.ndarray, places: Sequence[np.ndarray], names: Sequence[str]
) -> list[list[str]]:
    """Return the tags of each sentence's words.

    Args:
        logits: [N, S, C].
        places: see `TaggedTokens`; a word without a place is outside.
        names: of the C tags.
    """
    best = np.argmax(logits, axis=-1)
    return [
        [OUTSIDE if place == NO_TAG else names[row[place]] for place in at]
        for row, at in zip(best, places, strict=True)
    ]
