"""Presets of keras-nlp: BERT and DistilBERT backbones in keras-nlp's own folders.

keras-nlp works on Keras 3, the rest of this package on tf_keras; both run in one process. Only
arrays pass from one to the other. It is imported where it is used, since it takes seconds.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tf_prune_ofa.architectures import families
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.models.bert import EncoderConfig
from tf_prune_ofa.models.checkpoint import require_finite
from tf_prune_ofa.models.finding import CONFIG

# EncoderConfig's field -> the class's argument.
_KERAS_SIZES = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "max_positions": "max_sequence_length",
    "type_vocab_size": "num_segments",
    "dropout": "dropout",
    "attention_dropout": "dropout",
}
# Path of a weight without its last part -> our layer, without the number of the encoder layer.
_KERAS_LAYERS = {
    "token_embedding": "embeddings/word",
    "position_embedding": "embeddings/position",
    "segment_embedding": "embeddings/type",
    "embeddings_layer_norm": "embeddings/norm",
    "pooled_dense": "pooler",
    "self_attention_layer/query": "attention/query",
    "self_attention_layer/key": "attention/key",
    "self_attention_layer/value": "attention/value",
    "self_attention_layer/attention_output": "attention/output",
    "self_attention_layer_norm": "attention/norm",
    "feedforward_intermediate_dense": "ffn/intermediate",
    "feedforward_output_dense": "ffn/output",
    "feedforward_layer_norm": "ffn/norm",
}


def is_keras_preset(folder: Path) -> bool:
    """Return whether a model's folder is keras-nlp's form, not Hugging Face's."""
    settings = read_json_object(folder / CONFIG)
    return "class_name" in settings and "model_type" not in settings


def weight_files(folder: Path) -> list[Path]:
    """Return the files that a preset's sizes and weights come from."""
    kinds = (".h5", "config.json", "metadata.json", "model.weights.json")
    return sorted(path for path in folder.iterdir() if path.name.endswith(kinds))


def read_keras_config(folder: Path) -> EncoderConfig:
    """Read an encoder's sizes from a preset's config.json.

    Raises:
        UserError: the file is missing or broken, or describes another kind of model.
    """
    path = folder / CONFIG
    settings = read_json_object(path)
    name, sizes = settings.get("class_name"), settings.get("config", {})
    if not isinstance(sizes, dict):
        raise UserError(f"{path}: config is {sizes!r}, not a table of sizes; get the preset again")
    # A class computes one form of GELU, whatever the weights were trained with.
    known = {
        f.keras_class[0]: (f.model_type, f.keras_class[1]) for f in families() if f.keras_class
    }
    if name not in known:
        raise UserError(f"{path} describes a {name}; this package reads {' and '.join(known)}")
    architecture, activation = known[name]
    fields = {field: sizes[key] for field, key in _KERAS_SIZES.items() if key in sizes}
    try:
        return EncoderConfig(architecture, activation=activation, **fields)
    except TypeError as error:
        raise UserError(f"{path} lacks a size ({error}); get the preset again") from error


def read_keras_weights(folder: Path) -> dict[str, np.ndarray]:
    """Read a preset's backbone by stable name, as float32, kernels as [in, out].

    Task presets hold a head besides, which is left alone.

    Raises:
        UserError: keras-nlp cannot read the folder.
    """
    import keras_nlp

    try:
        backbone = keras_nlp.models.Backbone.from_preset(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"keras-nlp cannot read {folder}: {error}\nGet the preset again") from error
    found = {}
    for weight in backbone.weights:
        value = np.asarray(weight, np.float32)
        require_finite(folder, weight.path, value)
        found[_stable_name(weight.path)] = _flat(weight.path, value)
    return found


def _stable_name(path: str) -> str:
    """Return our name of a keras-nlp weight, e.g. of `transformer_layer_3/.../query/kernel`."""
    layer, _, weight = path.removeprefix("token_and_position_embedding/").rpartition("/")
    prefix = ""
    numbered = re.fullmatch(r"transformer_layer_(\d+)/(.*)", layer)
    if numbered:
        prefix, layer = f"encoder_{int(numbered[1]):02d}/", numbered[2]
    # A name that is not in the table is reported as left over, under keras-nlp's name.
    return f"{prefix}{_KERAS_LAYERS[layer]}/{weight}" if layer in _KERAS_LAYERS else path


def _flat(path: str, value: np.ndarray) -> np.ndarray:
    """Return a weight with the heads side by side: kernel [in, out], bias [out]."""
    if path.endswith("attention_output/kernel"):  # [A, D, H]
        return value.reshape(-1, value.shape[-1])
    if path.endswith("kernel"):  # [H, A, D] or [in, out]
        return value.reshape(value.shape[0], -1)
    return value.reshape(-1) if path.endswith("bias") else value  # [A, D] or [out]
