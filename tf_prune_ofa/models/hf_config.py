"""The config.json and tokenizer_config.json of a Hugging Face folder, read and written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tf_prune_ofa.architectures import FAMILIES, find_family
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.models.bert import EncoderConfig, Head
from tf_prune_ofa.models.finding import CONFIG
from tf_prune_ofa.models.head_kinds import BASE_CLASS

TOKENIZER_CONFIG = "tokenizer_config.json"

_ACTIVATIONS: dict[str, Literal["gelu_erf", "gelu_tanh"]] = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# End of a class's name in transformers -> its head.
HEADS_OF_CLASSES = {
    "ForSequenceClassification": "classifier",
    "ForTokenClassification": "token_classifier",
    "ForQuestionAnswering": "span",
    "ForMaskedLM": "mlm",
    "ForPreTraining": "mlm",
    BASE_CLASS: None,
}
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
# Other values would change the computation in ways that this encoder does not have. Absent means
# the value shown, as in transformers.
_REQUIRED_VALUES = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "quantization_config": None,
}


# Reading


def read_config(folder: str | Path) -> EncoderConfig:
    """Read an encoder's sizes and forms from a folder's config.json.

    Raises:
        UserError: the file is missing or broken, lacks a size, or describes an encoder that is
            none of this package's, or not as it computes them.
    """
    path = Path(folder) / CONFIG
    values = read_json_object(path)
    architecture = values.get("model_type")
    if architecture not in FAMILIES:
        known = [repr(name) for name in FAMILIES]
        raise UserError(
            f"{path}: model_type is {architecture!r}; this package reads {', '.join(known[:-1])} "
            f"and {known[-1]}. If it is one of these and the file does not say so, add model_type "
            "to it"
        )
    family = find_family(architecture)
    for key, wanted in {**_REQUIRED_VALUES, **family.required_config}.items():
        if values.get(key) not in (None, wanted):
            raise UserError(
                f"{path}: {key} is {values[key]!r}, only {wanted!r} is supported; "
                "choose another checkpoint"
            )
    activation = values.get(family.activation, "gelu")
    if activation not in _ACTIVATIONS:
        raise UserError(
            f"{path}: {family.activation} is {activation!r}, supported are "
            f"{', '.join(_ACTIVATIONS)}; choose another checkpoint"
        )
    found: dict[str, Any] = {}
    optional = EncoderConfig.__dataclass_fields__
    for field, key in family.sizes.items():
        if key in values:
            found[field] = _checked(path, key, values[key], int)
        elif field not in family.optional_sizes:
            raise UserError(f"{path} has no {key}; without it the encoder's shape is unknown")
    for field, key in family.numbers.items():
        found[field] = _checked(path, key, values.get(key, optional[field].default), float)
    if found.get("embedding_size") == found["hidden_size"]:
        found["embedding_size"] = 0  # as where there is no such setting
    if "max_positions" in found:
        found["max_positions"] -= family.position_offset
    return EncoderConfig(architecture, activation=_ACTIVATIONS[activation], **found)


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:
    """Return a number of config.json: a positive int, or a float of at least 0."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_number = is_number and math.isfinite(value)
    if kind is int and is_number and value > 0 and value == int(value):
        return int(value)
    if kind is float and is_number and value >= 0:
        return float(value)
    wanted = "a positive whole number" if kind is int else "a number of at least 0"
    raise UserError(f"{path}: {key} is {value!r}, it must be {wanted}; correct the file")


def read_labels(folder: str | Path) -> tuple[str, ...] | None:
    """Return the labels in config.json in the order of the logits; None if it names none.

    Raises:
        UserError: config.json is missing or broken, its ids are not 0, 1, 2, ..., or two labels
            have one name.
    """
    path = Path(folder) / CONFIG
    labels = read_json_object(path).get("id2label")
    if labels is None:
        return None
    if not isinstance(labels, dict):
        raise UserError(f"{path}: id2label is {labels!r}, not a table of ids and names")
    ids = [str(index) for index in range(len(labels))]
    if sorted(labels) != sorted(ids):
        raise UserError(f"{path}: the ids in id2label are {', '.join(labels)}, not 0, 1, 2, ...")
    names = tuple(str(labels[index]) for index in ids)
    if len(set(names)) < len(names):
        raise UserError(
            f"{path}: id2label names two outputs alike ({', '.join(names)}); give each its own name"
        )
    return names


def read_class(folder: str | Path) -> str | None:
    """Return the class of transformers that config.json names, e.g. "BertForMaskedLM"; or None.

    Raises:
        UserError: config.json is missing or broken.
    """
    path = Path(folder) / CONFIG
    named = read_json_object(path).get("architectures")
    if not named:
        return None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"{path}: architectures is {named!r}, not a list of classes")
    return named[0]


def read_problem_type(folder: str | Path) -> str:
    """Return what config.json calls the problem of a classifier; "" if it says nothing.

    Raises:
        UserError: config.json is missing or broken, or says what transformers does not know.
    """
    path = Path(folder) / CONFIG
    said = read_json_object(path).get("problem_type")
    if said not in (None, *PROBLEM_TYPES):
        raise UserError(
            f"{path}: problem_type is {said!r:.80}; transformers knows {', '.join(PROBLEM_TYPES)}. "
            "Correct it, or leave it out"
        )
    return said or ""


def head_of_class(folder: str | Path) -> str | None:
    """Return which head the class in config.json has: of `tensor_names.HEADS`, or None.

    Tensors of several classes have the same names: `classifier` of a sentence classifier, a tagger
    and a model for multiple choice. Only the class tells what the numbers mean.

    Returns:
        None where config.json names no class, or the encoder's own without a head.

    Raises:
        UserError: the class has a head that this package does not have.
    """
    name = read_class(folder)
    if name is None:
        return None
    path = Path(folder) / CONFIG
    model_type = read_json_object(path).get("model_type")
    own = find_family(model_type).head_classes if model_type in FAMILIES else {}
    for suffix, head in {**own, **HEADS_OF_CLASSES}.items():
        if name.endswith(suffix):
            return head
    known = ", ".join(key for key in HEADS_OF_CLASSES if key != BASE_CLASS)
    raise UserError(
        f"{folder} is a {name} by its config.json, a class whose head this package does not have; "
        f"it has those of {known}. To train "
        "a new head on this encoder, set the stage's head to new"
    )


# Writing


def describe(
    config: EncoderConfig, head: Head | None, labels: Sequence[str] | None
) -> dict[str, Any]:
    """Return config.json of a model, but for what the vocabulary says.

    Raises:
        UserError: the labels do not fit the head, or the format has no place for a setting.
    """
    family = config.family
    epsilon = EncoderConfig.__dataclass_fields__["layer_norm_epsilon"].default
    if "layer_norm_epsilon" not in family.numbers and config.layer_norm_epsilon != epsilon:
        raise UserError(
            f"layer_norm_epsilon is {config.layer_norm_epsilon}; {family.title}'s config.json has "
            f"no place for it, every reader takes {epsilon}: train with that"
        )
    activation = {"gelu_erf": "gelu", "gelu_tanh": "gelu_new"}[config.activation]
    keys = {**family.sizes, **family.numbers}
    description: dict[str, Any] = {
        "architectures": [_model_class(config, head)],
        "model_type": family.model_type,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
        family.activation: activation,
        **{key: getattr(config, field) for field, key in keys.items()},
        **family.more_config,
    }
    if "embedding_size" in family.sizes:
        description[family.sizes["embedding_size"]] = config.word_size
    description[family.sizes["max_positions"]] += family.position_offset
    if head is not None and head.named_outputs:
        description |= _describe_labels(head.named_outputs, labels)
        if head.problem_type:
            description["problem_type"] = head.problem_type
    elif labels is not None:
        raise UserError("labels were given for a model that has no classification head")
    return description


def _model_class(config: EncoderConfig, head: Head | None) -> str:
    task = BASE_CLASS if head is None else head.transformers_class
    return config.family.class_prefix + task


def _describe_labels(num_labels: int, labels: Sequence[str] | None) -> dict[str, Any]:
    labels = [f"LABEL_{index}" for index in range(num_labels)] if labels is None else labels
    if len(labels) != num_labels or len(set(labels)) != num_labels:
        raise UserError(
            f"the model has {num_labels} labels, received {list(labels)}; "
            f"give {num_labels} different names"
        )
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def describe_tokenizer(
    config: EncoderConfig, settings: Mapping[str, Any], pieces: Sequence[str]
) -> dict[str, Any]:
    """Return tokenizer_config.json of a `WordPiece` with these settings and pieces."""
    if not settings:
        return {
            "cls_token": "<s>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "mask_token": "<mask>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "model_max_length": config.max_positions,
            "tokenizer_class": config.family.tokenizer_class,
        }
    # Where nothing else is said, ids are the class's; what more there is stands behind.
    more: dict[str, Any] = {}
    if settings.get("clean_up", "bert") != "bert":
        more["clean_up"] = settings["clean_up"]
    if settings.get("added_tokens"):
        more["added_tokens_decoder"] = _describe_added(settings["added_tokens"], pieces)
    return more | {
        "cls_token": "[CLS]",
        "do_lower_case": settings["lower_case"],
        "mask_token": "[MASK]",
        "model_max_length": config.max_positions,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": settings["strip_accents"],
        "tokenize_chinese_chars": settings["split_chinese"],
        "tokenizer_class": config.family.tokenizer_class,
        "unk_token": "[UNK]",
    }


def _describe_added(tokens: Sequence[Mapping[str, Any]], pieces: Sequence[str]) -> dict[str, Any]:
    ids = {piece: index for index, piece in enumerate(pieces)}
    return {
        str(ids[token["content"]]): {k: v for k, v in token.items() if k != "is_piece"}
        for token in tokens
    }
