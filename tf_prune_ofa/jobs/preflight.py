"""What is found wrong before any work begins, that a late stage would only find hours later."""

from __future__ import annotations

from tf_prune_ofa.config import ExportSettings, FinetuneSettings, Recipe, TrainSettings
from tf_prune_ofa.data.doubts import doubts
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.records import split_of
from tf_prune_ofa.schedules import steps_of
from tf_prune_ofa.tasks import LABELS, reads_corpus

FEWEST_EPOCHS = 2  # that a dense model of a task is usually trained for, 3 as in BERT's paper


def check_inputs(recipe: Recipe, recipe_inputs: RecipeInputs) -> None:
    """Read the task's data where a stage will need it, and hold lengths against the encoder.

    Once for a recipe's inputs.

    Raises:
        UserError: data of the task that cannot be used, or a length that the encoder, or a question
            with its text, does not fit into.
    """
    if recipe_inputs.is_checked:
        return
    positions = recipe_inputs.encoder.max_positions
    lengths = {
        f"{name}.sequence_length": stage.sequence_length
        for name, stage in recipe.stages.items()
        if isinstance(stage, ExportSettings)
    }
    for where, length in lengths.items():
        if length > positions:
            raise UserError(
                f"{where} is {length}, but the encoder has only {positions} positions; choose at "
                f"most {positions}"
            )
    if recipe_inputs.records is not None:
        for one in recipe.stages.values():
            if reads_corpus(one):
                split_of(recipe_inputs.records, nsp=getattr(one, "nsp", False))
    if any(getattr(one, "objective", "") == LABELS for one in recipe.stages.values()):
        _check_task(recipe, recipe_inputs, lengths)
    recipe_inputs.is_checked = True


def _check_task(recipe: Recipe, recipe_inputs: RecipeInputs, lengths: dict[str, int]) -> None:
    _ = recipe_inputs.kind.metrics
    for doubt in doubts(recipe_inputs.task):
        print(f"  Warning: {doubt}. Check the task's data.", flush=True)
    for name, stage in recipe.stages.items():
        if isinstance(stage, FinetuneSettings) and stage.objective == LABELS:
            _hint_at_length(name, stage, len(recipe_inputs.task.train))
    for name, stage in recipe.stages.items():
        if isinstance(stage, TrainSettings) and stage.objective == LABELS:
            recipe_inputs.kind.check_loss(stage.loss, f"{name}.loss")
    for where, length in {"task.max_length": recipe.task.max_length, **lengths}.items():
        recipe_inputs.kind.check_length(length, where)


def _hint_at_length(name: str, stage: FinetuneSettings, examples: int) -> None:
    """Say where a dense teacher, which later stages learn from, sees its examples too rarely."""
    steps = steps_of(stage.length, steps_per_epoch=-(-examples // stage.batch_size))
    epochs = steps * stage.batch_size / examples
    if epochs < FEWEST_EPOCHS:
        print(
            f"  {name} sees each of {examples:,} examples {epochs:.1f} times; on a task that "
            f"nobody tuned this for, train longer first: --set={name}.length='3 epochs'",
            flush=True,
        )
