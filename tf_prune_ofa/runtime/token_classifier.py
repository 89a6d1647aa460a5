"""Raw text in, entities with their places out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.runtime.text_model import TextModel
from tf_prune_ofa.text.entities import (
    NO_TAG,
    OUTSIDE,
    entities,
    first_tokens,
    parts_of,
    words_of,
)

OUTPUT = "tag_logits"


@dataclass(frozen=True)
class FoundEntity:
    """An entity of a text.

    Attributes:
        type: such as "person".
        text: as it stands in the text.
        start: its first character in the text.
        end: behind its last one.
        score: the least probability of its words' tags.
    """

    type: str
    text: str
    start: int
    end: int
    score: float


class TokenClassifier(TextModel):
    """Finds entities in texts of any length.

        with TokenClassifier("dense_int8_s64.tflite") as tag:
            for entity in tag("The Empire State Building is in New York."):
                print(entity.type, entity.text, entity.start)

    A text that is longer than the file is cut between words. `TextModel` says what it is opened
    with.
    """

    what = "tagger"
    outputs = (OUTPUT,)

    def __call__(self, text: str | Sequence[str]) -> list[FoundEntity] | list[list[FoundEntity]]:
        """Return the entities of a text in their order; of several texts, a list for each."""
        if isinstance(text, str):
            return self._found(text)
        return [self._found(one) for one in text]

    def _found(self, text: str) -> list[FoundEntity]:
        words = words_of(text)
        tags, scores = self.tags(text, words)
        found = []
        for entity in entities(tags):
            start, end = words[entity.first][0], words[entity.end - 1][1]
            score = float(scores[entity.first : entity.end].min())
            found.append(FoundEntity(entity.type, text[start:end], start, end, score))
        return found

    def tags(self, text: str, words: Sequence[tuple[int, int]]) -> tuple[list[str], np.ndarray]:
        """Return the tag of each word and its probability, float [words].

        Args:
            text: raw text.
            words: where its words begin and end, in characters.
        """
        [ids], [offsets] = self.wordpiece.tokenize_with_offsets([text])
        places = first_tokens(offsets, words)
        tags, scores = [OUTSIDE] * len(words), np.ones(len(words))
        special = [self.wordpiece.cls_id], [self.wordpiece.sep_id]
        for begin, end in parts_of(places, len(ids), self.sequence_length - 2):
            inside = np.flatnonzero((places != NO_TAG) & (places >= begin) & (places < end))
            if not len(inside):
                continue
            part = np.concatenate([special[0], ids[begin:end], special[1]]).astype(np.int32)
            logits = self.run(part, np.zeros(len(part), np.int32))[OUTPUT][0]
            own = logits[places[inside] - begin + 1].astype(np.float64)
            shares = np.exp(own - own.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
            for word, share in zip(inside, shares, strict=True):
                best = int(np.argmax(share))
                tags[word], scores[word] = self.labels[best], share[best]
        return tags, scores
