"""Masked-language-model examples from token ids, in NumPy.

As in BERT (Devlin et al. 2019, sections 3.1 and A.1), and in DistilBERT where there are no segment
pairs.
What is masked is a pure function of (seed, epoch, example), never of the batch an example is in.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.wordpiece import WordPiece, truncate_pair

MASK_RATE = 0.15
_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1  # of the chosen tokens; the rest stay as they are


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


class MaskedTokens(NamedTuple):
    """One masked sequence of n tokens with room for P predictions."""

    input_ids: np.ndarray  # int32 [n]
    positions: np.ndarray  # int32 [P], ascending; unused ones are 0
    labels: np.ndarray  # int32 [P], the ids that were there; unused ones are 0
    weights: np.ndarray  # float32 [P], 1 for a prediction, 0 for an unused place


def chunks(
    documents: Sequence[Sequence[np.ndarray]],
    wordpiece: WordPiece,
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
        free = 0  # a document never goes on in the last window of the one before
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
    wordpiece: WordPiece,
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
    cls, sep = np.array([wordpiece.cls_id], np.int32), np.array([wordpiece.sep_id], np.int32)
    examples = MlmExamples([], [])
    labels = []
    for number, document in enumerate(documents):
        start = 0
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
            examples.ids.append(np.concatenate([cls, first, sep, second, sep]))
            type_ids = np.array([0, 1], np.int32)
            examples.type_ids.append(np.repeat(type_ids, [len(first) + 2, len(second) + 1]))
            labels.append(int(is_random))
            start = end
    return dataclasses.replace(examples, nsp_labels=np.array(labels, np.int32))


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


def max_predictions(length: int, rate: float = MASK_RATE) -> int:
    """Places for predictions in a sequence of `length` tokens: its share, and at least one."""
    return max(1, round(rate * length))


def mask_tokens(
    ids: np.ndarray,
    rng: np.random.Generator,
    wordpiece: WordPiece,
    *,
    predictions: int,
    rate: float = MASK_RATE,
) -> MaskedTokens:
    """Chooses the tokens to predict in one sequence and hides them.

    `rate` of the tokens that are not special, at least one, are chosen. Of those 80 % become
    [MASK], 10 % a random token (never a special or unused one) and 10 % stay, each decided on its
    own. A sequence of special tokens only gets no prediction.

    Args:
        ids: int32 [n], unpadded.
        rng: the one source of randomness.
        wordpiece: gives the special ids and the ids that may be put in.
        predictions: places P in the result; `max_predictions` of any length >= n is enough.
        rate: share of tokens to choose.
    """
    candidates = np.flatnonzero(~np.isin(ids, wordpiece.special_ids))
    count = min(max_predictions(len(candidates), rate), len(candidates), predictions)
    chosen = np.sort(rng.permutation(candidates)[:count]).astype(np.int32)
    original = ids[chosen]
    action = rng.random(count)
    stand_in = rng.choice(wordpiece.replacement_ids, count)
    input_ids = ids.copy()
    input_ids[chosen] = np.select(
        [action < _MASK_SHARE, action < _MASK_SHARE + _RANDOM_SHARE],
        [np.int32(wordpiece.mask_id), stand_in],
        original,
    )
    positions, labels = np.zeros((2, predictions), np.int32)
    positions[:count], labels[:count] = chosen, original
    weights = (np.arange(predictions) < count).astype(np.float32)
    return MaskedTokens(input_ids, positions, labels, weights)


def mlm_batch(
    examples: MlmExamples,
    indices: Sequence[int] | np.ndarray,
    wordpiece: WordPiece,
    *,
    seed: int,
    epoch: int,
    max_length: int,
    multiple: int = 8,
    rate: float = MASK_RATE,
    token_types: bool = True,
) -> dict[str, np.ndarray]:
    """Masks and pads the examples `indices` for a training step.

    Args:
        examples: from `chunks` or `segment_pairs`.
        indices: which of them.
        wordpiece: the tokenizer that made them.
        seed: of the run.
        epoch: each epoch masks other tokens.
        max_length: see `batches.pad`.
        multiple: see `batches.pad`.
        rate: share of tokens to predict.
        token_types: give `input_type_ids`; False for DistilBERT.

    Returns:
        The encoder's inputs, int32 [B, S]; `mlm_positions` and `mlm_labels`, int32 [B, P], and
        `mlm_weights`, float32 [B, P], where P is `max_predictions(S)`; for segment pairs
        `nsp_labels`, int32 [B].
    """
    inputs = model_inputs(
        [examples.ids[i] for i in indices],
        [examples.type_ids[i] for i in indices] if token_types else None,
        max_length=max_length,
        multiple=multiple,
        pad_id=wordpiece.pad_id,
    )
    words = inputs["input_word_ids"]
    predictions = max_predictions(words.shape[1], rate)
    masked = []
    for row, index in zip(words, indices, strict=True):
        rng = np.random.default_rng((seed, epoch, int(index)))
        one = mask_tokens(examples.ids[index], rng, wordpiece, predictions=predictions, rate=rate)
        row[: len(one.input_ids)] = one.input_ids
        masked.append(one)
    batch = inputs | {
        "mlm_positions": np.stack([one.positions for one in masked]),
        "mlm_labels": np.stack([one.labels for one in masked]),
        "mlm_weights": np.stack([one.weights for one in masked]),
    }
    if examples.nsp_labels is not None:
        batch["nsp_labels"] = examples.nsp_labels[np.asarray(indices)]
    return batch
