"""Augmented training examples of a recipe: made once by a masked language model, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_prune_ofa import paths
from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.config import AugmentSettings, LossSettings
from tf_prune_ofa.data.augment import Propose, Vocabulary, augment
from tf_prune_ofa.data.batches import BatchPlan, model_inputs, pad
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.other_models import load_other_model
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.plain_values import digest
from tf_prune_ofa.tasks import reads_corpus
from tf_prune_ofa.tasks.kind import EncodedSplit
from tf_prune_ofa.text.wordpiece import Encoded
from tf_prune_ofa.train.evaluate import traced

BATCH = 64


def augmented_split(settings: AugmentSettings, context: Context) -> EncodedSplit:
    """Return the task's training examples with their copies; see `data.augment`.

    They are kept in the run's folder by a digest of all that they depend on, so every stage, and
    every recipe that shares the folder, makes them once.

    Raises:
        UserError: the model has no MLM head, there are too few words to draw from, or the kept file
            is damaged.
    """
    recipe_inputs = context.recipe_inputs
    split = recipe_inputs.train
    if recipe_inputs.kind.why_not_augmented:
        raise UserError(
            f"{context.name}.augment: {recipe_inputs.kind.why_not_augmented}; leave augment out "
            "for such a task"
        )
    stage = context.results.get(settings.model)
    origin = stage.digest if stage else recipe_inputs.model_digest(settings.model)
    key = digest([settings, recipe_inputs.digest, origin])
    path = context.folder.parent / paths.AUGMENTED.format(digest=key[:16])
    if not path.exists():
        model = _masked_language_model(settings.model, context)
        words = int(Vocabulary.of(recipe_inputs.wordpiece).is_word.sum())
        if words <= settings.candidates:
            raise UserError(
                f"{context.name}.augment.candidates is {settings.candidates}, but the vocabulary "
                f"has only {words} whole words; choose fewer"
            )
        tokens, origins = augment(
            split.tokens,
            recipe_inputs.wordpiece,
            _proposer(model, recipe_inputs, settings.candidates),
            bert.parameters(model)["embeddings/word/embeddings"].numpy(),
            copies=settings.copies,
            probability=settings.probability,
            candidates=settings.candidates,
            seed=context.recipe.seed,
        )
        _write(path, tokens, origins)
    tokens, origins = _read(path)
    print(f"  {len(split)} examples and {len(origins) - len(split)} augmented copies", flush=True)
    return EncodedSplit(tokens, split.labels[origins])


def _masked_language_model(name: str, context: Context) -> keras.Model:
    if name not in context.results:
        return load_other_model(name, bert.MaskedLM(), context.recipe_inputs, LossSettings())
    if not reads_corpus(context.recipe.stages[name]):
        raise UserError(
            f"{context.name}.augment.model is '{name}', which is not trained as a masked language "
            "model; name a stage with objective: mlm, or a folder of such a model"
        )
    model = bert.build_model(context.recipe_inputs.encoder.without_dropout(), bert.MaskedLM())
    folder = context.results[name].model_folder
    assign_weights(model, huggingface.read_weights(folder), folder)
    return model


def _proposer(model: keras.Model, recipe_inputs: RecipeInputs, count: int) -> Propose:
    """Return the function that asks the model for whole words, `count` and one more."""
    is_word = Vocabulary.of(recipe_inputs.wordpiece).is_word
    # An embedding table may have more rows than the vocabulary has pieces.
    rows = bert.parameters(model)["embeddings/word/embeddings"].shape[0]
    barred = np.full(rows, -np.inf, np.float32)
    barred[: len(is_word)][is_word] = 0.0
    has_types = "input_type_ids" in model.input_names

    def best(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        logits = model(inputs, training=False)["mlm_logits"] + barred
        return tf.math.top_k(logits, count + 1).indices  # [B, P, count + 1]

    call = traced(model, best)

    def propose(
        ids: Sequence[np.ndarray],
        type_ids: Sequence[np.ndarray],
        positions: Sequence[np.ndarray],
    ) -> np.ndarray:
        plan = BatchPlan([len(one) for one in ids], BATCH, remainder="short", shuffle=False)
        found: list[np.ndarray] = [np.empty(0)] * len(ids)
        longest = max(len(one) for one in ids)
        most = max(len(places) for places in positions)
        for step in tqdm(range(plan.steps_per_epoch), desc="augment", unit="batch", mininterval=1):
            indices = plan.indices(step)
            inputs = model_inputs(
                [ids[i] for i in indices],
                [type_ids[i] for i in indices] if has_types else None,
                max_length=longest,
                pad_id=recipe_inputs.wordpiece.pad_id,
            )
            inputs["mlm_positions"] = pad(
                [positions[i] for i in indices], max_length=most, multiple=4
            )
            for index, row in zip(indices, call(inputs).numpy(), strict=True):
                found[index] = row[: len(positions[index])]
        return np.concatenate(found)

    return propose


def _write(path: Path, tokens: Encoded, origins: np.ndarray) -> None:
    arrays = {
        "ids": np.concatenate(tokens.ids),
        "type_ids": np.concatenate(tokens.type_ids),
        "lengths": tokens.lengths,
        "origins": origins,
    }
    write_arrays(path, arrays)


def _read(path: Path) -> tuple[Encoded, np.ndarray]:
    arrays = read_arrays(path, ["ids", "type_ids", "lengths", "origins"])
    borders = np.cumsum(arrays["lengths"])[:-1]
    ids, type_ids = (np.split(arrays[name], borders) for name in ("ids", "type_ids"))
    return Encoded(ids, type_ids), arrays["origins"]
