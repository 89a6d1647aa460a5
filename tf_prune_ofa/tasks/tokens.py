"""A tag for each word: named entities and the like (token classification).

Legend: N sentences · B batch · S sequence · C tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.conll import TaggedSplit
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Target
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.tasks import scores
from tf_prune_ofa.tasks.kind import Batch, Kind
from tf_prune_ofa.text.entities import (
    NO_TAG,
    TaggedTokens,
    encode_words,
    entity_scores,
    read_tags,
)
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.train.evaluate import NOWHERE, traced

OUTPUT = "tag_logits"


class Tokens(Kind[TaggedTokens]):
    """Each word has one of the task's tags; logits [N, S, C], read at the word's first token."""

    layer = "token_classifier"
    why_not_augmented = "each word has a tag, which a replaced word would not"
    agreements = ("entity_agreement",)
    by_token = True

    @property
    def head(self) -> bert.Head:
        """One output for each tag, at each token."""
        return bert.TokenClassification(len(self.data.labels))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The first token of each word learns the word's tag."""
        return (Target(OUTPUT, "tag_labels", "tag_weights"),)

    def encode(self, split: TaggedSplit, wordpiece: TextTokenizer, *, length: int) -> TaggedTokens:
        """Return sentences as ids; longer ones are cut, and their last words are outside."""
        return encode_words(split.texts, split.spans, split.tags, wordpiece, max_length=length)

    def batch_targets(self, labels: np.ndarray, logits: np.ndarray | None, width: int) -> Batch:
        """Return tags and weights [B, width] and, where cached, the teacher's logits."""
        labels = labels[:, :width]
        targets = {
            "tag_labels": np.maximum(labels, 0),
            "tag_weights": (labels != NO_TAG).astype(np.float32),
        }
        if logits is not None:
            targets[TEACHER_PREFIX + OUTPUT] = logits[:, :width]
        return targets

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or F1, precision and recall of entities."""
        asked = scores.checked(self.data.metrics, scores.OF_ENTITIES, "tags of words are")
        return asked or scores.OF_ENTITIES

    def predict(self, model: keras.Model, batches: Iterable[Batch], *, length: int) -> np.ndarray:
        """Return logits [N, length, C]; beyond a batch's sequences they are `NOWHERE`."""
        call = traced(model, lambda inputs: model(inputs, training=False)[OUTPUT])
        parts = [call(batch).numpy() for batch in batches]
        margins = [((0, 0), (0, length - part.shape[1]), (0, 0)) for part in parts]
        padded = zip(parts, margins, strict=True)
        return np.concatenate([np.pad(p, m, constant_values=NOWHERE) for p, m in padded])

    def score(self, logits: np.ndarray, split: TaggedTokens) -> dict[str, float]:
        """Return the scores of all entities."""
        names = self.data.labels
        right = [[names[tag] for tag in tags] for tags in split.tags]
        found = entity_scores(self.read(logits, split), right)
        return {name: found[name] for name in self.metrics}

    def file_logits(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Return the file's one output, [S, C]."""
        return np.where(mask[:, None] > 0, outputs[OUTPUT][0], NOWHERE)

    def without_padding(self, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return logits with `NOWHERE` at padding."""
        return np.where(mask[:, :, None] > 0, logits, NOWHERE)

    def read(self, logits: np.ndarray, split: TaggedTokens) -> list[Any]:
        """Return the tags of each sentence's words."""
        return read_tags(logits, split.places, self.data.labels)

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: TaggedTokens
    ) -> dict[str, float]:
        """Return the share of sentences with the same tags of all words."""
        pairs = zip(self.read(logits, split), self.read(reference, split), strict=True)
        return {"entity_agreement": float(np.mean([ours == theirs for ours, theirs in pairs]))}

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the share of tokens with the same tag."""
        found, wanted = (np.argmax(one[OUTPUT], axis=-1) for one in (outputs, reference))
        return {"tag_agreement": float(np.mean(found == wanted, where=mask > 0))}

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> bert.Head | None:
        """Return the head where there is a layer "token_classifier"."""
        bias = weights.get(f"{cls.layer}/bias")
        return None if bias is None else bert.TokenClassification(len(bias))

    @classmethod
    def tiny(cls, settings: TaskSettings, small: Mapping[str, Any]) -> TaskSettings:
        """Return a few of the sentences."""
        return replace(settings, **small)
