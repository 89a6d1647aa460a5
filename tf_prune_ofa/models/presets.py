"""Pre-trained encoders of either form, Hugging Face's or keras-nlp's, used alike from here on.

Where they are says `models.finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, checkpoint, huggingface, keras_preset
from tf_prune_ofa.models.assign import LoadReport, assign_weights
from tf_prune_ofa.models.bert import EncoderConfig, Head
from tf_prune_ofa.models.finding import CONFIG, find_encoder
from tf_prune_ofa.text.wordpiece import find_vocab, tokenizer_settings


@dataclass(frozen=True)
class Pretrained:
    """An encoder on disk, of one of the two forms; open it with `open_pretrained`.

    Attributes:
        folder: where it is.
        config: its sizes and forms.
        vocab_path: its vocabulary, one word piece on a line.
        tokenizer: keyword arguments of `text.wordpiece.WordPiece`.
        is_keras_preset: whether the folder is keras-nlp's, not Hugging Face's.
    """

    folder: Path
    config: EncoderConfig
    vocab_path: Path
    tokenizer: dict[str, Any]
    is_keras_preset: bool

    @property
    def lower_case(self) -> bool:
        """Whether text is lower-cased first."""
        return bool(self.tokenizer.get("lower_case"))

    def read_weights(self) -> dict[str, np.ndarray]:
        """Return all weights by stable name, kernels as [in, out]."""
        if self.is_keras_preset:
            return keras_preset.read_keras_weights(self.folder)
        return huggingface.read_weights(self.folder)

    def weight_files(self) -> list[Path]:
        """Return the files that `read_weights` and the sizes come from."""
        if self.is_keras_preset:
            return keras_preset.weight_files(self.folder)
        return [self.folder / CONFIG, *checkpoint.weight_files(self.folder)]

    def load_into(self, model: keras.Model, *, new_heads: Collection[str] = ()) -> LoadReport:
        """Load the weights into a model of this encoder; see `huggingface.load_weights`.

        keras-nlp presets give the encoder and the pooler; heads of their task presets stay out.
        """
        if self.is_keras_preset:
            return assign_weights(model, self.read_weights(), self.folder, new_heads=new_heads)
        return huggingface.load_weights(model, self.folder, new_heads=new_heads)


@dataclass(frozen=True)
class Loaded:
    """A model with pre-trained weights, where they came from, and what of it is new."""

    model: keras.Model
    config: EncoderConfig
    source: Pretrained
    report: LoadReport


def load_encoder(
    weights: str | Path,
    head: Head | None,
    *,
    new_heads: Collection[str] = (),
    adapt: Callable[[EncoderConfig], EncoderConfig] = lambda config: config,
    **options: Any,
) -> Loaded:
    """Build an encoder with a head and load pre-trained weights.

    Args:
        weights: see `models.finding.resolve`.
        head: as for `models.bert.build_model`.
        new_heads: of `tensor_names.HEADS`, those that the checkpoint need not have.
        adapt: changes what does not concern the weights, e.g. `EncoderConfig.without_dropout`.
        **options: for `models.bert.build_model`.

    Raises:
        UserError: the weights cannot be found or read, or do not fit.
    """
    source = open_pretrained(weights)
    config = adapt(source.config)
    model = bert.build_model(config, head, **options)
    return Loaded(model, config, source, source.load_into(model, new_heads=new_heads))


def open_pretrained(weights: str | Path) -> Pretrained:
    """Find an encoder and read all but its weights.

    Args:
        weights: see `models.finding.resolve`.

    Raises:
        UserError: it cannot be found, has no vocabulary that fits, or is of no family that is
            read here.
    """
    folder = find_encoder(weights)
    is_keras = keras_preset.is_keras_preset(folder)
    config = (keras_preset.read_keras_config if is_keras else huggingface.read_config)(folder)
    vocab_path, tokenizer = find_vocab(folder), tokenizer_settings(folder)
    huggingface.check_vocab(vocab_path, tokenizer, config)
    return Pretrained(folder, config, vocab_path, tokenizer, is_keras)
