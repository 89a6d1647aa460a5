"""What is particular to a family of encoders; everything else asks here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tf_prune_ofa.errors import UserError

# Weights of a kind of layer, ours -> the file's.
DENSE = {"kernel": "weight", "bias": "bias"}
NORM = {"gamma": "weight", "beta": "bias"}
TABLE = {"embeddings": "weight"}
BIAS = {"bias": "bias"}

Rows = tuple[tuple[str, str, Mapping[str, str]], ...]
Weights = dict[str, np.ndarray]


def _unchanged(weights: Weights) -> Weights:
    return weights


@dataclass(frozen=True)
class Family:
    """A family of encoders, as transformers and this package have it.

    All are post-norm Transformers with learned positions, GELU and the same attention: what can be
    pruned, what can be quantized and where are the same in all (`models.bert.Graph`). What they
    differ in is here.

    Attributes:
        model_type: its name, as config.json has it.
        title: its name in messages.
        class_prefix: of its classes in transformers.
        tensor_prefix: of the encoder's tensors in the files of a model with a head.
        token_types: whether it tells the texts of a pair apart by token types. The one place.
        first_token: what a classifier reads the first token through: BERT's "pooler" (a layer of
            the encoder's own), or a layer of the head with this activation.
        sizes: field of `EncoderConfig` -> key in config.json, of whole numbers.
        optional_sizes: of these, those that may be absent.
        numbers: the same of other numbers.
        activation: key of the activation in config.json.
        more_config: what else config.json has.
        required_config: values that a config.json must have, where they are there.
        tensors: (layer, the file's name, weights) of all but the layers of the encoder.
        layer_tensors: the same of one layer of the encoder.
        layer_prefix: of these in the file.
        decoder_matrix: names of the MLM decoder's matrix, which is the word embedding's.
        renamed: other names of tensors in some files -> theirs here.
        no_weights: beginnings of names of tensors that are no weights of any use here.
        head_classes: classes of its own, by the end of their name -> which head they have here.
        tokenizers: kinds of tokenizers that its checkpoints have, as tokenizer.json calls them.
        tokenizer_class: in transformers.
        mlm_size: field of `EncoderConfig` with the width of the words that the MLM head predicts.
        position_offset: rows of the file's table of positions in front of the first position.
        after_reading: what becomes of weights by stable name when they are read.
        before_writing: the same when they are written; gives what `after_reading` takes.
        keras_class: class of keras-nlp's backbone and the GELU that it computes; None if there is
            none that is read here.
    """

    model_type: str
    title: str
    class_prefix: str
    tensor_prefix: str
    token_types: bool
    first_token: Literal["pooler", "relu", "gelu", "tanh"]
    sizes: Mapping[str, str]
    numbers: Mapping[str, str]
    activation: str
    tensors: Rows
    layer_tensors: Rows
    layer_prefix: str
    tokenizer_class: str
    optional_sizes: tuple[str, ...] = ("max_positions", "type_vocab_size")
    more_config: Mapping[str, Any] = field(default_factory=dict)
    required_config: Mapping[str, Any] = field(default_factory=dict)
    decoder_matrix: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    no_weights: tuple[str, ...] = ("embeddings.position_ids",)
    head_classes: Mapping[str, str | None] = field(default_factory=dict)
    tokenizers: tuple[str, ...] = ("WordPiece",)
    mlm_size: Literal["hidden_size", "embedding_size"] = "hidden_size"
    position_offset: int = 0
    after_reading: Callable[[Weights], Weights] = _unchanged
    before_writing: Callable[[Weights], Weights] = _unchanged
    keras_class: tuple[str, Literal["gelu_erf", "gelu_tanh"]] | None = None

    def require_tokenizer(self, kind: str, where: str | os.PathLike[str]) -> None:
        """Raise a `UserError` where a tokenizer is of a kind that the family does not have.

        Args:
            kind: as tokenizer.json calls it.
            where: the file with the vocabulary.
        """
        if kind not in self.tokenizers:
            raise UserError(
                f"{os.fspath(where)} describes a tokenizer of the kind {kind}; {self.title} has "
                f"{' or '.join(self.tokenizers)}. Give the vocabulary that belongs to the model"
            )

    @property
    def has_pooler(self) -> bool:
        """Whether the encoder has a pooler, which the next-sentence head needs, too."""
        return self.first_token == "pooler"
