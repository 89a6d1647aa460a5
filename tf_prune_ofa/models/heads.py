"""The head in a checkpoint: taken over only where it is certain what its outputs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import Head
from tf_prune_ofa.models.hf_config import head_of_class, read_class, read_labels, read_problem_type
from tf_prune_ofa.models.label_order import in_label_order
from tf_prune_ofa.models.tensor_names import head_of


def for_head(
    weights: Mapping[str, np.ndarray],
    folder: Path,
    head: Head | None,
    labels: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Return a Hugging Face folder's weights for a model with this head.

    Args:
        weights: of the folder, by stable name.
        folder: whose config.json tells the class and the labels.
        head: of the model that gets the weights.
        labels: of the task, in its order; the outputs of a classifier come in this order.

    Raises:
        UserError: the folder's head is of another class, or its labels are not the task's.
    """
    if head is not None:
        head.check_folder(folder)
    name = head.doubtful_layer if head is not None else ""
    if not name or f"{name}/bias" not in weights:
        return dict(weights)
    require_class(folder, name)
    if head is not None and head.problem_type:
        require_problem_type(folder, head)
    if head is not None and head.named_outputs:
        return in_label_order(weights, read_labels(folder), labels, source=folder, head=name)
    return dict(weights)


def require_class(folder: Path, head: str) -> None:
    """Raise a `UserError` if config.json names a class that has another head than `head`."""
    found = head_of_class(folder)
    if found not in (None, head):
        raise UserError(
            f"{folder} is a {read_class(folder)} by its config.json, so its tensors are not what "
            f"they are called for here ({head}). Correct architectures in config.json if it is "
            "wrong; to train a new head on this encoder, set the stage's head to new"
        )


def require_problem_type(folder: Path, head: Head) -> None:
    """Raise a `UserError` if config.json names another problem than the head is for.

    The tensors of a classifier are the same whether one label is right or several are, but what
    their outputs mean is not.
    """
    said = read_problem_type(folder)
    if said and said != head.problem_type:
        raise UserError(
            f"{folder}: problem_type in its config.json is {said}, the task is a "
            f"{head.problem_type}. Take another model or task; to train a new head on this "
            "encoder, set the stage's head to new"
        )


def without_heads(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of the encoder and its pooler alone."""
    return {name: value for name, value in weights.items() if head_of(name) in (None, "pooler")}


def require_head(folder: Path, head: Head) -> None:
    """Check the head that a task model's tensors look like against the folder's config.json.

    Raises:
        UserError: it is of another class, or has another number of labels.
    """
    head.check_folder(folder)
    name = head.doubtful_layer
    require_class(folder, name)
    if head.named_outputs:
        labels = read_labels(folder)
        if labels is not None and len(labels) != head.named_outputs:
            raise UserError(
                f"{folder}: config.json names {len(labels)} labels ({', '.join(labels)}), the "
                f"classifier has {head.named_outputs} outputs; correct id2label"
            )
