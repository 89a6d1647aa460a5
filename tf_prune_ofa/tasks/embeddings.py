"""Sentence embeddings: a text as a unit vector, near to those of texts that mean the same.

Legend: N texts · P pairs · B batch · S sequence · H hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import LossSettings, TaskSettings
from tf_prune_ofa.data.sentence_texts import TextSplit
from tf_prune_ofa.distill import losses
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Target
from tf_prune_ofa.distill.target_losses import TargetLoss
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import Graph
from tf_prune_ofa.models.head_kinds import BASE_CLASS, Head, Tensors
from tf_prune_ofa.models.tensor_names import head_of
from tf_prune_ofa.tasks import scores
from tf_prune_ofa.tasks.kind import Batch, Kind
from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer
from tf_prune_ofa.text.wordpiece import tokenizer_settings
from tf_prune_ofa.train.evaluate import predict

OUTPUT = "embedding"
_WAY = "pooling_mode_"  # in the settings of sentence-transformers


@keras.utils.register_keras_serializable("tf_prune_ofa")
class MeanOfTokens(keras.layers.Layer):
    """Mean of the vectors of tokens: [B, S, H] and mask [B, S] (1 token, 0 padding) -> [B, H]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return the mean over S of what is no padding."""
        x, mask = inputs
        mask = tf.cast(mask, x.dtype)[:, None, :]
        # Both means are over S, so that the quotient is one over tokens. S comes last: all other
        # means of a file are over the last axis, too, and nothing else passes as one.
        x = tf.transpose(x, [0, 2, 1])
        return tf.reduce_mean(x * mask, axis=-1) / tf.reduce_mean(mask, axis=-1)


@keras.utils.register_keras_serializable("tf_prune_ofa")
class UnitLength(keras.layers.Layer):
    """A vector divided by its length: [B, H] -> [B, H]."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x / |x|."""
        return tf.math.l2_normalize(x, axis=-1)


@dataclass(frozen=True)
class SentenceEmbedding(Head):
    """`embedding` [B, H]: the mean of all tokens' vectors, of length 1; no weights of its own."""

    class_suffix = BASE_CLASS

    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build the mean and its length."""
        mean = MeanOfTokens(name="embedding/mean")([x, inputs["input_mask"]])
        return {OUTPUT: UnitLength(name=OUTPUT)(mean)}

    def check_folder(self, folder: Path) -> None:
        """Raise a `UserError` if sentence-transformers' files there name another way."""
        modules = folder / "modules.json"
        if not modules.is_file():
            return
        try:
            named = [(one["type"].split(".")[-1], one["path"]) for one in
                     json.loads(modules.read_text(encoding="utf-8"))]  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{modules} is no list of modules; correct the file") from error
        kinds = {kind for kind, _ in named}
        more = sorted(kinds - {"Transformer", "Pooling", "Normalize"})
        ways = []
        for kind, path in named:
            if kind == "Pooling":
                said = read_json_object(folder / path / "config.json")
                ways += [key for key in said if key.startswith(_WAY) and said[key] is True]
        if more or ways != [f"{_WAY}mean_tokens"]:
            raise UserError(
                f"{modules}: its embeddings are made by {', '.join(more + ways) or 'nothing'}; "
                "here they are the mean over tokens. Choose another model"
            )
        _check_text_settings(folder)
        if "Normalize" not in kinds:
            print(
                f"  note: {folder} makes vectors of any length, and here they have length 1: "
                "cosines are the same, other products and distances are not",
                flush=True,
            )


def _check_text_settings(folder: Path) -> None:
    """Raise a `UserError` where sentence-transformers changes texts before its tokenizer does."""
    path = folder / "sentence_bert_config.json"
    said = read_json_object(path) if path.is_file() else {}
    if said.get("do_lower_case") and not tokenizer_settings(folder).get("lower_case"):
        raise UserError(
            f"{path}: do_lower_case is true, and the tokenizer beside it keeps capitals: other "
            "tokens than here. Set do_lower_case to true in tokenizer_config.json, too"
        )


class CosineDistance(TargetLoss):
    """One minus the cosine of the student's and the teacher's vectors."""

    def hard(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Refuse: a text by itself has no label; see `Embeddings.check_loss`."""
        raise NotImplementedError("embeddings are learned from a teacher's")

    def soft(
        self,
        logits: tf.Tensor,
        teacher_logits: tf.Tensor,
        settings: LossSettings,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Return the mean distance; both sides are unit vectors."""
        cosines = tf.reduce_sum(logits * tf.cast(teacher_logits, logits.dtype), axis=-1)
        return losses.weighted_mean(1.0 - cosines, weights)


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token ids, and which of them are pairs; see `data.sentence_texts.TextSplit`."""

    tokens: Encoded
    labels: np.ndarray
    pairs: np.ndarray
    scores: np.ndarray | None

    def __len__(self) -> int:
        return len(self.labels)


class Embeddings(Kind[EncodedTexts]):
    """Each text has a unit vector; logits [N, H]."""

    why_not_augmented = "its texts are learned from a teacher as they are; give more of them"
    agreements = ("cosine_similarity",)

    @property
    def head(self) -> Head:
        """Mean and unit length."""
        return SentenceEmbedding()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The vector learns the teacher's."""
        return (Target(OUTPUT, "labels", loss=CosineDistance()),)

    def encode(self, split: TextSplit, wordpiece: TextTokenizer, *, length: int) -> EncodedTexts:
        """Return all texts as ids; longer ones are cut."""
        tokens = wordpiece.encode(split.texts, None, max_length=length)
        nothing = np.zeros(len(split.texts), np.float32)
        return EncodedTexts(tokens, nothing, split.pairs, split.scores)

    def batch_targets(self, labels: np.ndarray, logits: np.ndarray | None, width: int) -> Batch:
        """Return the teacher's vectors [B, H] where they are cached."""
        taught = {} if logits is None else {TEACHER_PREFIX + OUTPUT: logits}
        return {"labels": labels, **taught}

    def check_loss(self, loss: LossSettings, where: str) -> None:
        """Check that the loss is one of distillation alone."""
        if loss.hard or not loss.distils:
            raise UserError(
                f"{where} must distil a teacher's embeddings: scores of pairs are for judging, "
                "they are not learned from. Set hard: 0, soft: 1 and the stage's teacher"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: those asked for, or all that the pairs allow."""
        dev = self.data.dev
        is_retrieval = isinstance(dev, TextSplit) and dev.scores is None
        allowed = scores.OF_RETRIEVAL if is_retrieval else scores.OF_SIMILARITY
        what = "pairs without scores" if is_retrieval else "pairs with scores"
        return scores.checked(self.data.metrics, allowed, f"embeddings and {what} are") or allowed

    def predict(self, model: keras.Model, batches: Iterable[Batch], *, length: int) -> np.ndarray:
        """Return unit vectors [N, H]."""
        return predict(model, batches, OUTPUT)

    def score(self, logits: np.ndarray, split: EncodedTexts) -> dict[str, float]:
        """Return how far cosines follow the scores of pairs, or how well documents are found."""
        left, right = split.pairs.T
        if split.scores is None:
            found = retrieval_scores(logits, left, right)
            return {name: found[name] for name in self.metrics}
        cosines = np.sum(logits[left] * logits[right], axis=-1)[:, None]
        return {name: scores.SCORES[name].of(cosines, split.scores) for name in self.metrics}

    def count(self, split: EncodedTexts) -> int:
        """Return how many pairs there are, or queries, or texts where there is neither."""
        if split.scores is None:
            return len(np.unique(split.pairs[:, 0])) or len(split)
        return len(split.pairs)

    def file_logits(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Return the file's one output, [H]."""
        return outputs[OUTPUT][0]

    def read(self, logits: np.ndarray, split: EncodedTexts) -> list[Any]:
        """Return the cosine of each pair."""
        left, right = split.pairs.T
        return [float(value) for value in np.sum(logits[left] * logits[right], axis=-1)]

    def agreement(
        self, logits: np.ndarray, reference: np.ndarray, split: EncodedTexts
    ) -> dict[str, float]:
        """Return the mean cosine of each text's two vectors."""
        return {"cosine_similarity": float(np.mean(_cosines(logits, reference)))}

    def compare(
        self, logits: np.ndarray, reference: np.ndarray, split: EncodedTexts
    ) -> dict[str, float]:
        """Return the differences, and the cosine of the text that suffers most."""
        smallest = float(np.min(_cosines(logits, reference)))
        return super().compare(logits, reference, split) | {"smallest_cosine": smallest}

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the mean cosine of each text's two vectors."""
        return {"cosine_similarity": float(np.mean(_cosines(outputs[OUTPUT], reference[OUTPUT])))}

    @classmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> Head | None:
        """Return the head of an encoder that has no other; a pooler is none."""
        heads = {head_of(name) for name in weights} - {None, "pooler"}
        return None if heads or not weights else SentenceEmbedding()

    @classmethod
    def tiny(cls, settings: TaskSettings, small: Mapping[str, Any]) -> TaskSettings:
        """Return a few of the texts."""
        return replace(settings, **small)


def retrieval_scores(
    vectors: np.ndarray, queries: np.ndarray, documents: np.ndarray
) -> dict[str, float]:
    """Return how well queries find their documents among all documents, by cosine.

    Args:
        vectors: [N, H], of length 1.
        queries: int [P], index of each query.
        documents: int [P], index of its document. A query that is there more than once has several
            right documents; the first that is found counts.

    Returns:
        `recall_at_1`, the share of queries whose best document is right, and `mrr_at_10`, the mean
        of one over the place of the first right one, 0 beyond the tenth.
    """
    asked, of_pair = np.unique(queries, return_inverse=True)
    there, place = np.unique(documents, return_inverse=True)
    cosines = vectors[asked].astype(np.float64) @ vectors[there].T.astype(np.float64)
    is_right = np.zeros(cosines.shape, bool)
    is_right[of_pair, place] = True
    best = np.where(is_right, cosines, -np.inf).max(axis=1, keepdims=True)
    # Ties count against: a model that gives one vector to all has found nothing.
    ranks = 1 + np.sum(~is_right & (cosines >= best), axis=1)
    return {
        "recall_at_1": float(np.mean(ranks == 1)),
        "mrr_at_10": float(np.mean(np.where(ranks <= 10, 1 / ranks, 0))),
    }


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return np.sum(ours * theirs, axis=-1) / np.maximum(lengths, np.finfo(np.float32).tiny)
