"""Models that a stage reads beside its own weights, from folders and hubs, of any size.

A teacher may be larger than its student, and the masked language model that proposes words for
augmentation need not be the recipe's own. They see the student's token ids, so they must have its
vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, presets
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.bert import EncoderConfig
from tf_prune_ofa.models.heads import for_head
from tf_prune_ofa.text.opening import open_tokenizer


def load_other_model(
    name: str, head: bert.Head | None, recipe_inputs: RecipeInputs, loss: LossSettings
) -> keras.Model:
    """Return a model without dropout from a folder or handle.

    Args:
        name: see `models.finding.resolve`.
        head: that it must have, trained.
        recipe_inputs: of the recipe; its vocabulary and labels must be the model's.
        loss: what is compared with the student; decides the model's outputs and allowed sizes.

    Raises:
        UserError: the model cannot be found, lacks the head, or does not fit; its labels are not
            the task's.
    """
    source = presets.open_pretrained(name)
    wordpiece = open_tokenizer(source.vocab_path, source.tokenizer)
    if wordpiece.pieces != recipe_inputs.wordpiece.pieces:
        raise UserError(
            f"{name} has another vocabulary than the recipe's encoder ({wordpiece.vocab_size} and "
            f"{recipe_inputs.wordpiece.vocab_size} word pieces); choose a model of the same "
            "vocabulary"
        )
    _check_sizes(name, source.config, recipe_inputs.encoder, loss)
    weights = source.read_weights()
    if not source.is_keras_preset:
        weights = for_head(weights, source.folder, head, recipe_inputs.task.labels)
    model = bert.build_model(
        source.config.without_dropout(),
        head,
        hidden_states=loss.needs_hidden_states,
        attention_scores=loss.attention > 0,
    )
    # No head may be new: an untrained one has nothing to teach.
    assign_weights(model, weights, source.folder)
    return model


def open_encoder(name: str, recipe_inputs: RecipeInputs) -> presets.Pretrained:
    """Return an encoder that a stage starts from in place of the recipe's own.

    Raises:
        UserError: it cannot be found, or is another encoder than the recipe's: only weights may
            differ.
    """
    source = presets.open_pretrained(name)
    own = recipe_inputs.encoder
    # What a recipe may choose of an encoder, whatever its weights.
    config = replace(
        source.config,
        dropout=own.dropout,
        attention_dropout=own.attention_dropout,
        activation=own.activation,
    )
    pieces = open_tokenizer(source.vocab_path, source.tokenizer).pieces
    if config != own or pieces != recipe_inputs.wordpiece.pieces:
        raise UserError(
            f"a stage starts from {name}, which has other sizes or another vocabulary than the "
            "recipe's encoder; name an encoder that was made from it, or set model.weights"
        )
    return source


def _check_sizes(
    name: str, teacher: EncoderConfig, student: EncoderConfig, loss: LossSettings
) -> None:
    needed = {
        "hidden": ("num_layers", "hidden_size"),
        "attention": ("num_layers", "num_heads"),
        "layerwise": ("hidden_size",),
        "squarehead": ("num_layers", "hidden_size"),
        "channels": ("num_layers", "hidden_size"),
    }
    for term, fields in needed.items():
        for field in fields:
            theirs, ours = getattr(teacher, field), getattr(student, field)
            if getattr(loss, term) and theirs != ours:
                raise UserError(
                    f"loss.{term} compares models of equal {field}, but {name} has {theirs} and "
                    f"the student {ours}; set loss.{term} to 0, so that only logits are compared"
                )
