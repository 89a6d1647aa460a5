"""A model with fewer encoder layers, made from a deeper one: some are kept, the others left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.tensor_names import tensor_names
from tf_prune_ofa.text.vocabulary import find_vocab
from tf_prune_ofa.text.wordpiece import tokenizer_settings


def write_with_layers(
    folder: Path, layers: Sequence[int], out: Path, *, head: bert.Head | None
) -> None:
    """Write a Hugging Face folder of a model that has only some layers of another.

    Args:
        folder: of the deeper model.
        layers: which stay, ascending; 1 is the first.
        out: folder to write.
        head: of the model; None for the encoder alone.

    Raises:
        UserError: layers that the model does not have, or not in ascending order.
    """
    config = huggingface.read_config(folder)
    known = range(1, config.num_layers + 1)
    if not layers or list(layers) != sorted(set(layers)) or not set(layers) <= set(known):
        raise UserError(
            f"layers are {', '.join(map(str, layers)) or 'none'}; name some of 1 to "
            f"{config.num_layers}, each once, in ascending order"
        )
    smaller = replace(config, num_layers=len(layers))
    weights = with_layers(huggingface.read_weights(folder), layers)
    model = bert.build_model(smaller, head)
    assign_weights(model, weights, folder, names=tensor_names(smaller))
    huggingface.write_folder(
        out,
        model,
        smaller,
        head,
        find_vocab(folder),
        tokenizer=tokenizer_settings(folder),
        labels=huggingface.read_labels(folder),
    )


def with_layers(weights: dict[str, np.ndarray], layers: Sequence[int]) -> dict[str, np.ndarray]:
    """Return weights by stable name with these encoder layers only, numbered anew."""
    numbers = {f"encoder_{old - 1:02d}": new for new, old in enumerate(layers)}
    found = {}
    for name, value in weights.items():
        first, _, rest = name.partition("/")
        if not first.startswith("encoder_"):
            found[name] = value
        elif first in numbers:
            found[f"encoder_{numbers[first]:02d}/{rest}"] = value
    return found
