"""Hugging Face folders of BERT and DistilBERT: config.json, vocab.txt, model.safetensors."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors_numpy

from tf_prune_ofa import files, json_files
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.assign import LoadReport, assign_weights
from tf_prune_ofa.models.bert import EncoderConfig, Head
from tf_prune_ofa.models.checkpoint import WEIGHTS, read_tensors, require_finite
from tf_prune_ofa.models.finding import CONFIG
from tf_prune_ofa.models.head_kinds import BASE_CLASS
from tf_prune_ofa.models.hf_config import (
    TOKENIZER_CONFIG,
    describe,
    describe_tokenizer,
    read_class,
    read_config,
    read_labels,
)
from tf_prune_ofa.models.tensor_names import (
    TOKEN_CLASSIFIER,
    bare_name,
    head_of,
    tensor_names,
)
from tf_prune_ofa.text.json_tokenizer import JsonTokenizer
from tf_prune_ofa.text.opening import open_tokenizer
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.vocabulary import TOKENIZER_JSON, read_pieces

VOCAB = "vocab.txt"

__all__ = [
    "LoadReport",
    "check_vocab",
    "load_weights",
    "read_config",
    "read_labels",
    "read_weights",
    "write_folder",
]


# Reading


def read_weights(folder: str | Path) -> dict[str, np.ndarray]:
    """Read a folder's tensors by stable name, as float32, kernels as [in, out].

    Tensors that a model of this architecture does not have keep the file's name. Zeros come in as
    zeros: float16 and bfloat16 are widened, nothing else is done to the numbers.

    Raises:
        UserError: the weights are missing, in another format, cut short, not of a float type, not
            finite, or hold a decoder that is not tied to the word embedding.
    """
    config = read_config(folder)
    family = config.family
    names = {tensor: name for name, tensor in tensor_names(config).items()}
    order = {name: index for index, name in enumerate(names.values())}
    is_tagger = (read_class(folder) or "").endswith("ForTokenClassification")
    found: dict[str, np.ndarray] = {}
    decoder = None
    for tensor, value in read_tensors(
        Path(folder), lambda name: bare_name(name, family).startswith(family.no_weights)
    ):
        bare = bare_name(tensor, family)
        if bare in family.decoder_matrix:
            decoder = value
            continue
        name = names.get(bare, tensor)
        if is_tagger and name in ("classifier/kernel", "classifier/bias"):
            name = name.replace("classifier", TOKEN_CLASSIFIER)
        value = value.T if name.endswith("/kernel") else value
        # Both names of the decoder's bias may be there, with the same numbers.
        if name in found and not np.array_equal(found[name], value):
            raise UserError(f"{folder} holds {bare} twice, with different numbers")
        found[name] = value
    words = found.get("embeddings/word/embeddings")
    if decoder is not None and words is not None and not np.array_equal(decoder, words):
        raise UserError(
            f"{folder}: the MLM decoder's matrix is not the word embedding's, as it is in this "
            "package; choose a checkpoint with tied embeddings"
        )
    found = family.after_reading(found)
    # Not in the file's order, which differs from writer to writer; unknown tensors last.
    return {name: found[name] for name in sorted(found, key=lambda n: order.get(n, len(order)))}


def load_weights(
    model: keras.Model, folder: str | Path, *, new_heads: Collection[str] = ()
) -> LoadReport:
    """Load a Hugging Face folder into a model that `models.bert.build_model` built.

    Args:
        model: the model, with or without TFMOT's wrappers.
        folder: has config.json and model.safetensors (or shards of it and their index).
        new_heads: of `HEADS`, those that may be absent in the folder or of another shape (a
            classifier of other labels). Such a head stays new as a whole.

    Returns:
        The layers that stay new, and the heads in the folder that the model has no place for.

    Raises:
        UserError: anything else does not fit; the message lists every tensor with its shape, and
            nothing is assigned. Also all that `read_weights` raises.
    """
    names = tensor_names(read_config(folder))
    return assign_weights(model, read_weights(folder), folder, new_heads=new_heads, names=names)


# Writing


def write_folder(
    folder: str | Path,
    model: keras.Model,
    config: EncoderConfig,
    head: Head | None,
    vocab_path: str | Path,
    *,
    tokenizer: Mapping[str, Any],
    labels: Sequence[str] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a model as the folder that it would come in from transformers, whole or not at all.

    Args:
        folder: to create, or to replace if an earlier call wrote it.
        model: from `models.bert.build_model`, wrapped or not.
        config: the model's sizes.
        head: the model's head; decides the class in `architectures` and the tensors' prefix.
        vocab_path: vocabulary to copy.
        tokenizer: its settings, as `text.wordpiece.tokenizer_settings` returns them.
        labels: of a classification head, in the order of the logits; LABEL_0, ... if not given.
        extra: weights by stable name, kernels as [in, out], that the model has no use for and the
            folder shall have: the pooler beside an MLM head, say, for a task to start from.

    Raises:
        UserError: labels or vocabulary do not fit the model; the folder holds other files; it
            cannot be written.
    """
    folder = Path(folder)
    tensors = _to_tensors(model, config, head, extra or {})
    word_piece = check_vocab(vocab_path, tokenizer, config)
    description = describe(config, head, labels) | {"pad_token_id": word_piece.pad_id}
    # Replacing is deleting: only a folder of our own making may go.
    ours = {CONFIG, VOCAB, WEIGHTS, TOKENIZER_CONFIG, TOKENIZER_JSON}
    others = {path.name for path in folder.iterdir()} - ours if folder.is_dir() else set()
    if others:
        raise UserError(
            f"{folder} holds other files ({', '.join(sorted(others)[:5])}) and would be replaced; "
            "choose a new folder"
        )
    with files.atomic_folder(folder) as temporary:
        json_files.write_json(temporary / CONFIG, dict(sorted(description.items())))
        json_files.write_json(
            temporary / TOKENIZER_CONFIG, describe_tokenizer(config, tokenizer, word_piece.pieces)
        )
        if isinstance(word_piece, JsonTokenizer):
            shutil.copyfile(vocab_path, temporary / TOKENIZER_JSON)
        elif Path(vocab_path).suffix == ".json":
            lines = read_pieces(vocab_path)
            files.write_text(temporary / VOCAB, "".join(f"{piece}\n" for piece in lines))
        else:
            shutil.copyfile(vocab_path, temporary / VOCAB)
        # Not save_file(): it makes the file unreadable for others, and a full disk is no OSError.
        data = safetensors_numpy.save(tensors, metadata={"format": "pt"})
        (temporary / WEIGHTS).write_bytes(data)


def check_vocab(
    vocab_path: str | Path, tokenizer: Mapping[str, Any], config: EncoderConfig
) -> TextTokenizer:
    """Return the tokenizer of a vocabulary that fits an encoder.

    Raises:
        UserError: it has more word pieces than the embedding has rows, or is no vocabulary of BERT.
    """
    word_piece = open_tokenizer(vocab_path, tokenizer)
    config.family.require_tokenizer(word_piece.kind, vocab_path)
    # Fewer are fine: tables are often padded to a round number of rows.
    if word_piece.vocab_size > config.vocab_size:
        raise UserError(
            f"{vocab_path} has {word_piece.vocab_size} word pieces, the encoder's embedding only "
            f"{config.vocab_size} rows; give the vocabulary that belongs to the model"
        )
    return word_piece


def _to_tensors(
    model: keras.Model, config: EncoderConfig, head: Head | None, extra: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return float32 arrays by the file's names."""
    names = tensor_names(config)
    tensors = {}
    weights = {name: np.asarray(w, np.float32) for name, w in bert.parameters(model).items()}
    for name, value in config.family.before_writing({**extra, **weights}).items():
        tensor = names[name]
        # The base class has no prefix; other classes hold the base under its name.
        is_base = head is None or head.class_suffix == BASE_CLASS
        if not is_base and head_of(name) in (None, "pooler"):
            tensor = f"{config.family.tensor_prefix}.{tensor}"
        value = np.asarray(value, np.float32)
        require_finite("the model to be written", name, value)
        value = value.T if name.endswith("/kernel") else value
        # safetensors writes the memory as it lies, ignoring that a transposed view is one.
        tensors[tensor] = np.ascontiguousarray(value)
    return tensors
