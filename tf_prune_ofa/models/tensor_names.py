"""Names of weights: this package's stable ones and those in Hugging Face files.

A weight is called e.g. `encoder_03/ffn/output/kernel` [in, out] here and
`bert.encoder.layer.3.output.dense.weight` [out, in] there. The tables link the two, both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tf_prune_ofa.models.bert import EncoderConfig

# A weight belongs to a head if the first part of its name is one of these; the rest is the encoder.
# The pooler counts as one: models without a use for it come without it.
HEADS = ("pooler", "mlm", "nsp", "classifier", "token_classifier", "span")
# Its tensors are called as those of `classifier`; the class in config.json tells them apart.
TOKEN_CLASSIFIER = "token_classifier"

# Weights of a kind of layer, ours -> the file's.
_DENSE = {"kernel": "weight", "bias": "bias"}
_NORM = {"gamma": "weight", "beta": "bias"}
_TABLE = {"embeddings": "weight"}
_BIAS = {"bias": "bias"}

_NAMES = {
    "bert": [
        ("embeddings/word", "embeddings.word_embeddings", _TABLE),
        ("embeddings/position", "embeddings.position_embeddings", _TABLE),
        ("embeddings/type", "embeddings.token_type_embeddings", _TABLE),
        ("embeddings/norm", "embeddings.LayerNorm", _NORM),
        ("pooler", "pooler.dense", _DENSE),
        ("mlm/transform", "cls.predictions.transform.dense", _DENSE),
        ("mlm/norm", "cls.predictions.transform.LayerNorm", _NORM),
        ("mlm/decoder", "cls.predictions", _BIAS),
        ("nsp", "cls.seq_relationship", _DENSE),
        (TOKEN_CLASSIFIER, "classifier", _DENSE),
        ("classifier", "classifier", _DENSE),
        ("span", "qa_outputs", _DENSE),
    ],
    "distilbert": [
        ("embeddings/word", "embeddings.word_embeddings", _TABLE),
        ("embeddings/position", "embeddings.position_embeddings", _TABLE),
        ("embeddings/norm", "embeddings.LayerNorm", _NORM),
        ("mlm/transform", "vocab_transform", _DENSE),
        ("mlm/norm", "vocab_layer_norm", _NORM),
        ("mlm/decoder", "vocab_projector", _BIAS),
        (TOKEN_CLASSIFIER, "classifier", _DENSE),
        ("classifier/pre", "pre_classifier", _DENSE),
        ("classifier", "classifier", _DENSE),
        ("span", "qa_outputs", _DENSE),
    ],
}
_LAYER_NAMES = {
    "bert": [
        ("attention/query", "attention.self.query", _DENSE),
        ("attention/key", "attention.self.key", _DENSE),
        ("attention/value", "attention.self.value", _DENSE),
        ("attention/output", "attention.output.dense", _DENSE),
        ("attention/norm", "attention.output.LayerNorm", _NORM),
        ("ffn/intermediate", "intermediate.dense", _DENSE),
        ("ffn/output", "output.dense", _DENSE),
        ("ffn/norm", "output.LayerNorm", _NORM),
    ],
    "distilbert": [
        ("attention/query", "attention.q_lin", _DENSE),
        ("attention/key", "attention.k_lin", _DENSE),
        ("attention/value", "attention.v_lin", _DENSE),
        ("attention/output", "attention.out_lin", _DENSE),
        ("attention/norm", "sa_layer_norm", _NORM),
        ("ffn/intermediate", "ffn.lin1", _DENSE),
        ("ffn/output", "ffn.lin2", _DENSE),
        ("ffn/norm", "output_layer_norm", _NORM),
    ],
}
_LAYER_PREFIX = {"bert": "encoder.layer", "distilbert": "transformer.layer"}

# The decoder's matrix is the word embedding's; its bias has two names in some files.
DECODER_MATRIX = ("cls.predictions.decoder.weight", "vocab_projector.weight")
_DECODER_BIAS = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
# A buffer 0, 1, 2, ... that transformers saved until version 4.31; not a weight.
POSITION_IDS = "embeddings.position_ids"
_OLD_NORM_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def tensor_names(config: EncoderConfig) -> dict[str, str]:
    """Return the file's name, without the prefix `bert.` or `distilbert.`, by stable name.

    Holds the encoder and all heads that the architecture can have.
    """
    rows = list(_NAMES[config.architecture])
    for index in range(config.num_layers):
        for ours, theirs, weights in _LAYER_NAMES[config.architecture]:
            theirs = f"{_LAYER_PREFIX[config.architecture]}.{index}.{theirs}"
            rows.append((f"encoder_{index:02d}/{ours}", theirs, weights))
    return {
        f"{ours}/{weight}": f"{theirs}.{tensor}"
        for ours, theirs, weights in rows
        for weight, tensor in weights.items()
    }


def bare_name(tensor: str) -> str:
    """Return a file's tensor name as `tensor_names` has it: no prefix, no outdated name."""
    tensor = re.sub(r"^(bert|distilbert)\.", "", tensor)
    for old, new in _OLD_NORM_NAMES.items():
        if tensor.endswith(old):
            return tensor.removesuffix(old) + new
    return _DECODER_BIAS.get(tensor, tensor)


def head_of(name: str) -> str | None:
    """Return which of `HEADS` a weight belongs to; None for the encoder."""
    first = name.split("/")[0]
    return first if first in HEADS else None


def file_order(name: str, shape: Iterable[int]) -> list[int]:
    """Return a weight's shape as in the file."""
    return list(shape)[::-1] if name.endswith("/kernel") else list(shape)
