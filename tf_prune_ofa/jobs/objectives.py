"""What a training stage learns, from its settings and the recipe's data."""

from __future__ import annotations

from tf_prune_ofa.config import TrainSettings, is_model_name
from tf_prune_ofa.jobs.augmentation import augmented_split
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.models import presets
from tf_prune_ofa.tasks import LABELS, MASKED_WORDS
from tf_prune_ofa.tasks.masked_words import MaskedWords
from tf_prune_ofa.tasks.objective import Labels, Objective


def objective_of(settings: TrainSettings, context: Context, seed: int) -> Objective:
    """Return the objective of a stage, with its examples."""
    return _OBJECTIVES[settings.objective](settings, context, seed)


def _masked_words(settings: TrainSettings, context: Context, seed: int) -> MaskedWords:
    recipe_inputs = context.recipe_inputs
    return MaskedWords(
        settings,
        recipe_inputs.corpus(nsp=settings.nsp),
        recipe_inputs.wordpiece,
        length=recipe_inputs.corpus_length,
        seed=seed,
        token_types=_token_types(settings, context),
        whole_words=context.recipe.corpus.whole_words,
    )


def _labels(settings: TrainSettings, context: Context, seed: int) -> Labels:
    recipe_inputs = context.recipe_inputs
    has_copies = bool(settings.augment.model)
    return Labels(
        recipe_inputs.kind,
        augmented_split(settings.augment, context) if has_copies else recipe_inputs.train,
        lambda: recipe_inputs.dev,
        lambda: recipe_inputs.more_dev,
        token_types=_token_types(settings, context),
        pad_id=recipe_inputs.wordpiece.pad_id,
    )


_OBJECTIVES = {MASKED_WORDS: _masked_words, LABELS: _labels}


def _token_types(settings: TrainSettings, context: Context) -> bool:
    """Return whether the student has token types, or a teacher from elsewhere."""
    configs = [context.recipe_inputs.encoder]
    teacher = settings.teacher
    if teacher not in context.results and is_model_name(teacher):
        configs.append(presets.open_pretrained(teacher).config)
    return any(config.family.token_types for config in configs)
