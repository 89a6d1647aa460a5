"""Masked words of unlabelled text (BERT's pre-training), with or without next-sentence prediction.

Legend: B batch · S sequence · P predicted positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tf_prune_ofa.config import TrainSettings
from tf_prune_ofa.corpus.reading import RecordExamples
from tf_prune_ofa.data.batches import BatchPlan
from tf_prune_ofa.data.mlm import Corpus, mlm_batch
from tf_prune_ofa.data.windowed_plan import WindowedPlan
from tf_prune_ofa.distill.distiller import Target
from tf_prune_ofa.distill.losses import hard_loss
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.tasks.kind import Batch
from tf_prune_ofa.tasks.objective import EVALUATION_BATCH, Objective
from tf_prune_ofa.text.tokenizer import TextTokenizer

# Windows of held-out text that an MLM model is judged on: some 5,000 masked tokens of 64-token
# windows, for a standard error below 0.7 points of accuracy, in seconds.
DEV_EXAMPLES = 512


class MaskedWords(Objective):
    """Which words stood in the places that are masked."""

    can_cache_teacher = False

    def __init__(
        self,
        settings: TrainSettings,
        corpus: tuple[Corpus, Corpus],
        wordpiece: TextTokenizer,
        *,
        length: int,
        seed: int,
        token_types: bool,
        whole_words: bool = False,
    ) -> None:
        """Keep the examples.

        Args:
            settings: of the stage; see `config.TrainSettings.mlm_distil`.
            corpus: examples to learn from, and to be judged by.
            wordpiece: the tokenizer.
            length: longest example, in tokens.
            seed: of what is masked.
            token_types: whether the models need them.
            whole_words: mask all pieces of a word or none.
        """
        self.settings = settings
        self._train, self._dev = corpus
        self._wordpiece = wordpiece
        self._length, self._seed, self._token_types = length, seed, token_types
        self._continues = _continuing(wordpiece) if whole_words else None

    @property
    def head(self) -> bert.Head:
        """Words at given positions."""
        return bert.MaskedLM(nsp=self.settings.nsp)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Words, and whether the second text follows the first."""
        soft_weights = "token_weights" if self.settings.mlm_distil == "all" else ""
        mlm = Target("mlm_logits", "mlm_labels", "mlm_weights", soft_weights, suffix="_mlm")
        return (mlm, Target("nsp_logits", "nsp_labels", suffix="_nsp"))[: 1 + self.settings.nsp]

    def has_head(self, weights: Mapping[str, np.ndarray]) -> bool:
        """Return whether weights hold a head for masked words."""
        return "mlm/transform/kernel" in weights

    @cached_property
    def lengths(self) -> np.ndarray:
        """[N], tokens of each training example."""
        return self._train.lengths

    def batch(
        self, indices: Any, epoch: int, logits: np.ndarray | None = None
    ) -> tuple[Batch, Batch]:
        """Return inputs and targets; in each epoch other words are masked."""
        return self._masked(self._train, indices, epoch)

    def plan(self, batch_size: int, seed: int) -> BatchPlan | WindowedPlan:
        """Return which examples make up each batch; of records, a window of them at a time."""
        is_on_disk = isinstance(self._train, RecordExamples)
        return (WindowedPlan if is_on_disk else BatchPlan)(self.lengths, batch_size, seed)

    def _masked(self, examples: Corpus, indices: Any, epoch: int) -> tuple[Batch, Batch]:
        batch = mlm_batch(
            examples,
            indices,
            self._wordpiece,
            seed=self._seed,
            epoch=epoch,
            max_length=self._length,
            rate=self.settings.mlm_share,
            token_types=self._token_types,
            continues=self._continues,
        )
        inputs = {name: value for name, value in batch.items() if name.startswith("input_")}
        targets = {name: batch[name] for name in ("mlm_labels", "mlm_weights")}
        inputs["mlm_positions"] = batch["mlm_positions"]
        if self.settings.loss.soft and self.settings.mlm_distil == "all":
            inputs["mlm_positions"], targets = all_positions(batch)
        if self.settings.nsp:
            targets["nsp_labels"] = batch["nsp_labels"]
        return inputs, targets

    def scores(self, model: keras.Model) -> dict[str, Any]:
        """Return the loss (nats a masked token) and accuracy on the corpus's held-out documents."""
        lengths = self._dev.lengths[:DEV_EXAMPLES]
        plan = BatchPlan(lengths, EVALUATION_BATCH, remainder="short", shuffle=False)
        losses, hits, count = 0.0, 0.0, 0.0
        for step in range(plan.steps_per_epoch):
            inputs, targets = self._masked(self._dev, plan.indices(step), epoch=0)
            logits = model(inputs, training=False)["mlm_logits"]
            labels, weights = targets["mlm_labels"], targets["mlm_weights"]
            losses += float(hard_loss(logits, labels, weights)) * weights.sum()
            hits += float(((np.argmax(logits, -1) == labels) * weights).sum())
            count += weights.sum()
        return {
            "dev_examples": len(lengths),
            "mlm_loss": float(losses / count),
            "mlm_accuracy": float(hits / count),
        }


def _continuing(wordpiece: TextTokenizer) -> np.ndarray:
    """Return of each id whether it goes on with a word, bool [V]."""
    wordpiece.require_word_pieces("corpus.whole_words")
    return np.array([piece.startswith("##") for piece in wordpiece.pieces])


def all_positions(batch: Batch) -> tuple[np.ndarray, Batch]:
    """Return all positions [B, S], and targets over them instead of over the masked ones [B, P]."""
    rows, length = batch["input_word_ids"].shape
    labels = np.zeros((rows, length), np.int32)
    weights = np.zeros((rows, length), np.float32)
    row, place = np.nonzero(batch["mlm_weights"])
    where = row, batch["mlm_positions"][row, place]
    labels[where] = batch["mlm_labels"][row, place]
    weights[where] = 1.0
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    targets = {
        "mlm_labels": labels,
        "mlm_weights": weights,
        "token_weights": batch["input_mask"].astype(np.float32),
    }
    return positions, targets
