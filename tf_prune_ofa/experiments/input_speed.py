"""What the way that batches are made is worth: examples/s of training with and without each part.

Each way trains on the same number of steps; the ways take turns, round by round, so that a busy
machine does them all the same harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import Recipe, TrainSettings
from tf_prune_ofa.data.batches import BatchPlan, model_inputs, to_dataset
from tf_prune_ofa.data.task_data import Split
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.train.optimizer import adamw

Batches = Callable[[int, int], Iterator[Any]]  # of the steps from the first number to the second


@dataclass(frozen=True)
class Speed:
    """One way of making batches.

    Attributes:
        way: what it is.
        examples_per_s: median over the rounds, by the clock.
        input_share: share of that time that the training step waited for its batch; the median.
        tokens: of an example, padding included.
    """

    way: str
    examples_per_s: float
    input_share: float
    tokens: float


def measure(recipe: Recipe, stage: str, folder: Path, *, steps: int, rounds: int) -> list[Speed]:
    """Train a stage's model for a few steps with batches made in each way.

    Args:
        recipe: its task has texts to classify or to score.
        stage: a training stage with objective "task" that starts from "model" without a teacher.
        folder: not written to; the stage's own in a run.
        steps: of each way in each round.
        rounds: how often each way has its turn.

    Raises:
        UserError: another kind of stage or task.
    """
    settings = recipe.stages.get(stage)
    is_plain = isinstance(settings, TrainSettings) and settings.objective == "task"
    if not is_plain or settings.teacher or settings.start != "model":
        raise UserError(
            f"'{stage}' is not a stage that trains the task from 'model' without a teacher; name "
            "one that does"
        )
    job = TrainingJob(settings, Context(stage, folder, recipe, {}, RecipeInputs(recipe)))
    if not isinstance(job.recipe_inputs.task.train, Split):
        raise UserError("questions on a text are not measured here; choose a task of texts")
    distiller = job.distiller(job.load("model"))
    schedule = job.schedule()
    rate = settings.weight_decay
    distiller.compile(optimizer=adamw(schedule, distiller.trained_variables, weight_decay=rate))
    spec = tf.nest.map_structure(
        lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), job.batch(0)
    )
    train = tf.function(lambda *data: distiller.train_step(data), input_signature=spec)
    ways = _ways(job)
    for batch in ways["as the stages do"](0, 2):  # traces the graph
        train(*batch)
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, batches in ways.items():
            found[way].append(_time(train, batches(number * steps, (number + 1) * steps)))
    return [Speed(way, *np.median(rows, axis=0).tolist()) for way, rows in found.items()]


def _ways(job: TrainingJob) -> dict[str, Batches]:
    split = job.recipe_inputs.task.train
    random_plan = BatchPlan(job.objective.lengths, job.settings.batch_size, job.seed, bucket=False)
    length = job.context.recipe.task.max_length

    def ahead(first: int, last: int) -> Iterator[Any]:
        return iter(to_dataset(job.batch, first, last))

    def at_once(first: int, last: int) -> Iterator[Any]:
        return map(job.batch, range(first, last))

    def from_text(first: int, last: int) -> Iterator[Any]:
        for step in range(first, last):
            indices = job.plan.indices(step)
            pairs = None if split.text_b is None else [split.text_b[i] for i in indices]
            texts = [split.text_a[i] for i in indices]
            tokens = job.recipe_inputs.wordpiece.encode(texts, pairs, max_length=length)
            type_ids = tokens.type_ids if job.recipe_inputs.encoder.family.token_types else None
            inputs = model_inputs(tokens.ids, type_ids, max_length=length)
            yield inputs, {"labels": split.label[indices]}

    def mixed(first: int, last: int) -> Iterator[Any]:
        return iter(
            to_dataset(
                lambda step: job.objective.batch(random_plan.indices(step), 0, None), first, last
            )
        )

    def fixed(first: int, last: int) -> Iterator[Any]:
        def batch(step: int) -> Any:
            inputs, targets = job.objective.batch(random_plan.indices(step), 0, None)
            margin = length - inputs["input_mask"].shape[1]
            wide = {name: np.pad(value, ((0, 0), (0, margin))) for name, value in inputs.items()}
            return wide, targets

        return iter(to_dataset(batch, first, last))

    return {
        "as the stages do": ahead,
        "not made ahead": at_once,
        "from text in every step": from_text,
        "not by length": mixed,
        "all of the same length": fixed,
    }


def _time(train: Callable[..., Any], batches: Iterator[Any]) -> tuple[float, float, float]:
    """Return examples/s, share of waiting, and tokens of an example."""
    waited, examples, tokens = 0.0, 0, 0
    began = asked = time.perf_counter()
    for batch in batches:
        waited += time.perf_counter() - asked
        rows, width = batch[0]["input_word_ids"].shape
        examples, tokens = examples + rows, tokens + rows * width
        float(train(*batch)["loss"])  # waits for the step to end
        asked = time.perf_counter()
    seconds = time.perf_counter() - began
    return examples / seconds, waited / seconds, tokens / examples
