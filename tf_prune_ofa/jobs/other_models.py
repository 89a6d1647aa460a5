"""Models that a stage reads beside its own weights, from folders and hubs, of any size.

A teacher may be larger than its student, and the masked language model that proposes words for
augmentation need not be the recipe's own. They see the student's token ids, so they must have its
vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.workspace import Workspace
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface, presets
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.bert import EncoderConfig
from tf_prune_ofa.text.wordpiece import WordPiece


def load_other_model(
    name: str, head: bert.Head, workspace: Workspace, loss: LossSettings
) -> keras.Model:
    """Return a model without dropout from a folder or handle.

    Args:
        name: see `models.presets.resolve`.
        head: that it must have, trained.
        workspace: of the recipe; its vocabulary and labels must be the model's.
        loss: what is compared with the student; decides the model's outputs and allowed sizes.

    Raises:
        UserError: the model cannot be found, lacks the head, or does not fit.
    """
    source = presets.open_pretrained(name)
    wordpiece = WordPiece(source.vocab_path, **source.tokenizer)
    if wordpiece.pieces != workspace.wordpiece.pieces:
        raise UserError(
            f"{name} has another vocabulary than the recipe's encoder ({wordpiece.vocab_size} and "
            f"{workspace.wordpiece.vocab_size} word pieces); choose a model of the same vocabulary"
        )
    _check_sizes(name, source.config, workspace.encoder, loss)
    weights = source.read_weights()
    if isinstance(head, bert.Classification) and not source.is_keras_preset:
        weights = in_label_order(
            weights, huggingface.read_labels(source.folder), workspace.task.labels
        )
    model = bert.build_model(
        source.config.without_dropout(),
        head,
        hidden_states=loss.needs_hidden_states,
        attention_scores=loss.attention > 0,
    )
    # No head may be new: an untrained one has nothing to teach.
    assign_weights(model, weights, source.folder)
    return model


def in_label_order(
    weights: Mapping[str, np.ndarray], own: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return a classifier's weights with its outputs in the task's order of labels.

    Models on the Hub order their labels as they like. Where their names are not the task's, such as
    LABEL_0, the order is taken to be the task's.
    """
    own, wanted = ([label.lower() for label in names or ()] for names in (own, wanted))
    if own == wanted or sorted(own) != sorted(wanted):
        return dict(weights)
    order = [own.index(label) for label in wanted]
    return {
        name: value[..., order] if name.startswith(("classifier/kernel", "classifier/bias"))
        else value
        for name, value in weights.items()
    }  # fmt: skip


def _check_sizes(
    name: str, teacher: EncoderConfig, student: EncoderConfig, loss: LossSettings
) -> None:
    needed = {
        "hidden": ("num_layers", "hidden_size"),
        "attention": ("num_layers", "num_heads"),
        "layerwise": ("hidden_size",),
    }
    for term, fields in needed.items():
        for field in fields:
            theirs, ours = getattr(teacher, field), getattr(student, field)
            if getattr(loss, term) and theirs != ours:
                raise UserError(
                    f"loss.{term} compares models of equal {field}, but {name} has {theirs} and "
                    f"the student {ours}; set loss.{term} to 0, so that only logits are compared"
                )
