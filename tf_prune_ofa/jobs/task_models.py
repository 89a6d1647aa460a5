"""The model of a task, as the stages that make and check files read it from a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.heads import require_head
from tf_prune_ofa.models.hf_config import head_of_class, read_problem_type
from tf_prune_ofa.models.tensor_names import tensor_names
from tf_prune_ofa.pruning.lock import Masks, load_masks
from tf_prune_ofa.tasks import kind_in
from tf_prune_ofa.tasks.kind import Kind

_WORDS = "embeddings/word/embeddings"


def task_model(
    folder: Path, *, sequence_length: int | None = None, kept: np.ndarray | None = None
) -> keras.Model:
    """Return a task model without dropout from its Hugging Face folder.

    Args:
        folder: the model.
        sequence_length: S of a model of fixed shapes [1, S], for conversion; None leaves them open.
        kept: ids of the word pieces that the model has, in their new order; None for all.

    Raises:
        UserError: the folder has no task head, or does not fit its own description.
    """
    _, head = kind_in_folder(folder)
    config = huggingface.read_config(folder).without_dropout()
    weights = huggingface.read_weights(folder)
    if kept is not None:
        config = replace(config, vocab_size=len(kept))
        weights[_WORDS] = weights[_WORDS][kept]
    model = bert.build_model(
        config,
        head,
        sequence_length=sequence_length,
        batch_size=None if sequence_length is None else 1,
    )
    assign_weights(model, weights, folder, names=tensor_names(config))
    return model


def kind_in_folder(folder: Path) -> tuple[type[Kind], bert.Head]:
    """Return the kind of task that a model's folder is of, and its head.

    Raises:
        UserError: it has no head of a known kind.
    """
    found = kind_in(huggingface.read_weights(folder), read_problem_type(folder))
    if found is not None:
        require_head(folder, found[1])
        return found
    # A class of another kind is named rather than missed.
    head_of_class(folder)
    raise UserError(
        f"{folder} holds no head of a task that this package knows; export the model of a "
        "transfer or quantize stage"
    )


def pruned_masks(context: Context, start: str) -> Masks:
    """Return the masks of the weights of a stage; none if it was never pruned."""
    path = context.masks_file(start)
    return load_masks(path) if path else {}


def word_table(model: keras.Model) -> np.ndarray:
    """Return a model's table of words, float [V, H]."""
    return np.asarray(bert.parameters(model)[_WORDS].numpy())
