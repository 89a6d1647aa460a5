"""Masked words of examples, in NumPy, as in BERT (Devlin et al. 2019, sections 3.1 and A.1).

What is masked is a pure function of (seed, epoch, example), never of the batch an example is in.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.data.segments import MlmExamples
from tf_prune_ofa.text.tokenizer import TextTokenizer

MASK_RATE = 0.15
_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1  # of the chosen tokens; the rest stay as they are


class Corpus(Protocol):
    """Examples, wherever they are."""

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example."""

    def take(self, indices: Sequence[int] | np.ndarray) -> MlmExamples:
        """Some of the examples, in the order of `indices`."""


class MaskedTokens(NamedTuple):
    """One masked sequence of n tokens with room for P predictions."""

    input_ids: np.ndarray  # int32 [n]
    positions: np.ndarray  # int32 [P], ascending; unused ones are 0
    labels: np.ndarray  # int32 [P], the ids that were there; unused ones are 0
    weights: np.ndarray  # float32 [P], 1 for a prediction, 0 for an unused place


def max_predictions(length: int, rate: float = MASK_RATE) -> int:
    """Places for predictions in a sequence of `length` tokens: its share, and at least one."""
    return max(1, round(rate * length))


def mask_tokens(
    ids: np.ndarray,
    rng: np.random.Generator,
    wordpiece: TextTokenizer,
    *,
    predictions: int,
    rate: float = MASK_RATE,
    continues: np.ndarray | None = None,
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
        continues: of each id, whether it goes on with the word before it; words are then chosen
            whole, and one that would be too many is passed over.
    """
    candidates = np.flatnonzero(~np.isin(ids, wordpiece.special_ids))
    count = min(max_predictions(len(candidates), rate), len(candidates), predictions)
    if continues is None:
        chosen = np.sort(rng.permutation(candidates)[:count]).astype(np.int32)
    else:
        chosen = _whole_words(candidates, continues[ids[candidates]], rng, count)
        count = len(chosen)
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


def _whole_words(
    candidates: np.ndarray, continues: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Choose words of at most `count` tokens together, int32, ascending."""
    # A piece that no piece of its word is in front of, as where a segment was cut, begins one.
    begins = ~continues | (np.diff(candidates, prepend=-2) != 1)
    words = np.split(candidates, np.flatnonzero(begins)[1:])
    chosen: list[int] = []
    for number in rng.permutation(len(words)):
        if len(chosen) + len(words[number]) <= count:
            chosen += words[number].tolist()
        if len(chosen) == count:
            break
    return np.sort(np.array(chosen, np.int32))


def mlm_batch(
    examples: Corpus,
    indices: Sequence[int] | np.ndarray,
    wordpiece: TextTokenizer,
    *,
    seed: int,
    epoch: int,
    max_length: int,
    multiple: int = 8,
    rate: float = MASK_RATE,
    token_types: bool = True,
    continues: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Masks and pads the examples `indices` for a training step.

    Args:
        examples: from `segments.chunks` or `segments.segment_pairs`, or records of them.
        indices: which of them.
        wordpiece: the tokenizer that made them.
        seed: of the run.
        epoch: each epoch masks other tokens.
        max_length: see `batches.pad`.
        multiple: see `batches.pad`.
        rate: share of tokens to predict.
        token_types: give `input_type_ids`; False for DistilBERT.
        continues: see `mask_tokens`.

    Returns:
        The encoder's inputs, int32 [B, S]; `mlm_positions` and `mlm_labels`, int32 [B, P], and
        `mlm_weights`, float32 [B, P], where P is `max_predictions(S)`; for segment pairs
        `nsp_labels`, int32 [B].
    """
    taken = examples.take(indices)
    inputs = model_inputs(
        taken.ids,
        taken.type_ids if token_types else None,
        max_length=max_length,
        multiple=multiple,
        pad_id=wordpiece.pad_id,
    )
    words = inputs["input_word_ids"]
    predictions = max_predictions(words.shape[1], rate)
    masked = []
    for row, index, ids in zip(words, indices, taken.ids, strict=True):
        rng = np.random.default_rng((seed, epoch, int(index)))
        one = mask_tokens(
            ids, rng, wordpiece, predictions=predictions, rate=rate, continues=continues
        )
        row[: len(one.input_ids)] = one.input_ids
        masked.append(one)
    batch = inputs | {
        "mlm_positions": np.stack([one.positions for one in masked]),
        "mlm_labels": np.stack([one.labels for one in masked]),
        "mlm_weights": np.stack([one.weights for one in masked]),
    }
    if taken.nsp_labels is not None:
        batch["nsp_labels"] = taken.nsp_labels
    return batch
