"""Names of weights: this package's stable ones and those in Hugging Face files.

A weight is called e.g. `encoder_03/ffn/output/kernel` [in, out] here and
`bert.encoder.layer.3.output.dense.weight` [out, in] there. The tables link the two, both ways.
"""

from __future__ import annotations

from collections.abc import Iterable

from tf_prune_ofa.architectures.family import Family
from tf_prune_ofa.models.bert import EncoderConfig

# A weight belongs to a head if the first part of its name is one of these; the rest is the encoder.
# The pooler counts as one: models without a use for it come without it.
HEADS = ("pooler", "mlm", "nsp", "classifier", "token_classifier", "span")
# Its tensors are called as those of `classifier`; the class in config.json tells them apart.
TOKEN_CLASSIFIER = "token_classifier"

_OLD_NORM_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def tensor_names(config: EncoderConfig) -> dict[str, str]:
    """Return the file's name, without the prefix `bert.` or the like, by stable name.

    Holds the encoder and all heads that the architecture can have.
    """
    family = config.family
    rows = list(family.tensors)
    for index in range(config.num_layers):
        for ours, theirs, weights in family.layer_tensors:
            theirs = f"{family.layer_prefix}.{index}.{theirs}"
            rows.append((f"encoder_{index:02d}/{ours}", theirs, weights))
    return {
        f"{ours}/{weight}": f"{theirs}.{tensor}"
        for ours, theirs, weights in rows
        for weight, tensor in weights.items()
    }


def bare_name(tensor: str, family: Family) -> str:
    """Return a file's tensor name as `tensor_names` has it: no prefix, no outdated name."""
    tensor = tensor.removeprefix(f"{family.tensor_prefix}.")
    for old, new in _OLD_NORM_NAMES.items():
        if tensor.endswith(old):
            return tensor.removesuffix(old) + new
    return family.renamed.get(tensor, tensor)


def head_of(name: str) -> str | None:
    """Return which of `HEADS` a weight belongs to; None for the encoder."""
    first = name.split("/")[0]
    return first if first in HEADS else None


def file_order(name: str, shape: Iterable[int]) -> list[int]:
    """Return a weight's shape as in the file."""
    return list(shape)[::-1] if name.endswith("/kernel") else list(shape)
