"""Documents of token ids, cut into the sequences that masked language models learn from.

Pairs of segments as in BERT (Devlin et al. 2019, sections 3.1 and A.1), or packed sentences as in
DistilBERT, where there are no pairs.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.tokenizer import TextTokenizer, truncate_pair


@dataclasses.dataclass(frozen=True)
class MlmExamples:
    """Sequences to mask, [CLS] and [SEP] included.

    Attributes:
        ids: int32 arrays.
        type_ids: int32 arrays of the same lengths.
        nsp_labels: int32 [examples], 0 where the second segment follows the first and 1 where it
            comes from elsewhere (the order of the published heads); None for single segments.
    """

    ids: list[np.ndarray]
    type_ids: list[np.ndarray]
    nsp_labels: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example."""
        return np.array([len(ids) for ids in self.ids], np.int64)

    def take(self, indices: Sequence[int] | np.ndarray) -> "MlmExamples":
        """Some of the examples, in the order of `indices`."""
        labels = self.nsp_labels
        return MlmExamples(
            [self.ids[i] for i in indices],
            [self.type_ids[i] for i in indices],
            None if labels is None else labels[np.asarray(indices)],
        )


def chunks(
    documents: Sequence[Sequence[np.ndarray]],
    wordpiece: TextTokenizer,
    *,
    max_length: int,
    pack: bool = True,
) -> MlmExamples:
    """Cuts documents into single-segment examples of at most `max_length` tokens.

    Args:
        documents: for each document its passages in order, each as ids without special tokens.
        wordpiece: the tokenizer that made the ids.
        max_length: longest example, [CLS] and [SEP] included. Longer passages are cut.
        pack: put consecutive passages of one document into one example as long as they fit whole
            (DistilBERT's document sentences).

    Raises:
        UserError: `max_length` is below 3, or the documents hold no token.
    """
    room = max_length - 2
    if room < 1:
        raise UserError(
            f"A sequence length of {max_length} leaves no room for text: use 3 or more."
        )
    contents: list[list[np.ndarray]] = []
    for document in documents:
        free = 0  # a document never goes on in the last chunk of the one before
        for passage in document:
            for piece in (passage[i : i + room] for i in range(0, len(passage), room)):
                if pack and len(piece) <= free:
                    contents[-1].append(piece)
                else:
                    contents.append([piece])
                    free = room
                free -= len(piece)
    if not contents:
        raise UserError("The text for masked language modelling is empty: give at least a word.")
    cls, sep = np.array([wordpiece.cls_id], np.int32), np.array([wordpiece.sep_id], np.int32)
    ids = [np.concatenate([cls, *pieces, sep]) for pieces in contents]
    return MlmExamples(ids, [np.zeros(len(one), np.int32) for one in ids])


def segment_pairs(
    documents: Sequence[Sequence[np.ndarray]],
    wordpiece: TextTokenizer,
    *,
    max_length: int,
    random_next_rate: float = 0.5,
    short_rate: float = 0.1,
    seed: int = 0,
) -> MlmExamples:
    """Makes BERT's two-segment examples for next-sentence prediction.

    Sentences of a document are collected until they fill an example, cut in two at a random
    sentence border, and the second part is kept or replaced by sentences of another document. What
    was replaced is used again in the next example, so that no text is lost.

    Args:
        documents: for each document its sentences in order, each as ids without special tokens.
        wordpiece: the tokenizer that made the ids.
        max_length: longest example, [CLS] and both [SEP] included.
        random_next_rate: chance that the second segment is replaced. A collection of one sentence
            has nothing to follow it and always gets a random one.
        short_rate: share of examples with a random smaller size.
        seed: for every choice made here.

    Raises:
        UserError: `max_length` is below 5, or fewer than two documents hold text.
    """
    room = max_length - 3
    if room < 2:
        raise UserError(
            f"A sequence length of {max_length} leaves no room for two segments: use 5+."
        )
    documents = [[part for part in document if len(part)] for document in documents]
    documents = [document for document in documents if document]
    if len(documents) < 2:
        raise UserError(
            f"{len(documents)} documents with text: next-sentence prediction needs at least two, "
            "for its random second segments."
        )
    rng = np.random.default_rng(seed)
    rates = {"random_next_rate": random_next_rate, "short_rate": short_rate}
    examples = MlmExamples([], [])
    labels = []
    for number in range(len(documents)):
        for pair in pairs_of(documents, number, rng, max_length=max_length, **rates):
            ids, second = pair.with_special_tokens(wordpiece.cls_id, wordpiece.sep_id)
            examples.ids.append(ids)
            examples.type_ids.append((np.arange(len(ids)) >= second).astype(np.int32))
            labels.append(int(pair.is_random))
    return dataclasses.replace(examples, nsp_labels=np.array(labels, np.int32))


class Pair(NamedTuple):
    """Two segments, and whether the second is from another document."""

    first: np.ndarray
    second: np.ndarray
    is_random: bool

    def with_special_tokens(self, cls_id: int, sep_id: int) -> tuple[np.ndarray, int]:
        """Return [CLS] first [SEP] second [SEP], and where the second segment begins."""
        cls, sep = np.array([cls_id], np.int32), np.array([sep_id], np.int32)
        ids = np.concatenate([cls, self.first, sep, self.second, sep])
        return ids, len(self.first) + 2


def pairs_of(
    documents: Sequence[Sequence[np.ndarray]],
    number: int,
    rng: np.random.Generator,
    *,
    max_length: int,
    random_next_rate: float = 0.5,
    short_rate: float = 0.1,
) -> Iterator[Pair]:
    """Yields the pairs of document `number`; the others give the random second segments.

    Args:
        documents: at least two, none of them empty and none of their sentences.
        number: which of them.
        rng: the one source of randomness.
        max_length: see `segment_pairs`, as the two rates.
        random_next_rate: of second segments that are replaced.
        short_rate: of examples with a random smaller size.
    """
    room = max_length - 3
    document, start = documents[number], 0
    while start < len(document):
        is_short = rng.random() < short_rate
        size = int(rng.integers(2, room + 1)) if is_short else room
        end = _end_of_fill(document, start, size)
        cut = int(rng.integers(start + 1, end)) if end - start > 1 else end
        first = np.concatenate(document[start:cut])
        is_random = cut == end or rng.random() < random_next_rate
        if is_random:
            second = _random_segment(documents, number, size - len(first), rng)
            end = cut
        else:
            second = np.concatenate(document[cut:end])
        first, second = truncate_pair(first, second, room)
        yield Pair(first, second, is_random)
        start = end


def _end_of_fill(document: Sequence[np.ndarray], start: int, size: int) -> int:
    """End of the shortest run of sentences from `start` that has `size` tokens, or the last."""
    total = 0
    for end in range(start, len(document)):
        total += len(document[end])
        if total >= size:
            return end + 1
    return len(document)


def _random_segment(
    documents: Sequence[Sequence[np.ndarray]], number: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Sentences of a document other than `number`, from a random one on, of about `size` tokens."""
    other = int(rng.integers(len(documents) - 1))
    document = documents[other + (other >= number)]
    start = int(rng.integers(len(document)))
    return np.concatenate(document[start : _end_of_fill(document, start, size)])
