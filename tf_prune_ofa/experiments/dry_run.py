"""What a recipe would do, before a week of computing: its schedule, and what it takes.

Speed, memory and disk are measured, not assumed: a few real steps of each training stage, in a
temporary folder, from the recipe's own encoder. Stages before it have not run, so the encoder
stands in for their weights; a step's cost does not depend on them.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import PruneSettings, Recipe, TrainSettings
from tf_prune_ofa.data.batches import BatchPlan
from tf_prune_ofa.data.windowed_plan import WindowedPlan
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.preflight import check_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule
from tf_prune_ofa.stages.prune import sparsity_schedule
from tf_prune_ofa.tasks.kind import Batch
from tf_prune_ofa.text_table import text_table

TRIAL_STEPS = 4  # the first builds the graph and is not counted
_WIDTH = 60  # characters of a curve
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Forecast:
    """Of a training stage.

    Attributes:
        name, kind: of the stage.
        steps, batch_size: of the run; steps are the optimizer's.
        examples: in the data, once, copies of an augmentation among them.
        tokens: of a batch, padding included; mean of those that were tried.
        learning_rate: of each step.
        sparsity: that masks are asked for; None where nothing is pruned.
        share_of: what it is a share of: "all" weights, or those that were "kept" before.
        step_seconds: of one step, measured; None if nothing was tried.
        memory: most bytes that the process held in the trial, TensorFlow's own included.
        disk: bytes of two checkpoints and the model.
    """

    name: str
    kind: str
    steps: int
    batch_size: int
    examples: int
    tokens: float
    learning_rate: LearningRateSchedule
    sparsity: SparsitySchedule | None
    share_of: str = "all"
    step_seconds: float | None = None
    memory: int | None = None
    disk: int | None = None

    @property
    def hours(self) -> float | None:
        """Of the whole stage, at the measured speed, without the evaluation at its end."""
        return None if self.step_seconds is None else self.steps * self.step_seconds / 3600

    @property
    def epochs(self) -> float:
        """How often each example is seen."""
        return self.steps * self.batch_size / self.examples


def dry_run(recipe: Recipe, *, measure: bool = True) -> list[Forecast]:
    """Return what each training stage of a recipe would do; nothing of it is kept.

    Args:
        recipe: what would be run. Its data and its encoder are read, as in a run.
        measure: whether a few steps of each stage are tried.

    Raises:
        UserError: what the run itself would refuse before it begins.
    """
    recipe_inputs = RecipeInputs(recipe)
    check_inputs(recipe, recipe_inputs)
    found = []
    for name, settings in recipe.stages.items():
        if isinstance(settings, TrainSettings):
            with tempfile.TemporaryDirectory() as folder:
                context = Context(name, Path(folder), recipe, {}, recipe_inputs)
                found.append(_forecast(settings, context, measure=measure))
            keras.backend.clear_session()
    return found


class _Trial(TrainingJob):
    """A stage that starts from the recipe's encoder, and is taught by it in place of a stage."""

    def __init__(self, settings: TrainSettings, context: Context) -> None:
        # Copies are written by a model of another stage: here examples stand in for theirs.
        self.copies = settings.augment.copies if settings.augment.model else 0
        none = replace(settings.augment, model="")
        super().__init__(replace(settings, start="model", head="start", augment=none), context)

    @property
    def examples(self) -> int:
        """How many there are, with their copies."""
        return len(self.objective.lengths) * (1 + self.copies)

    @cached_property
    def plan(self) -> BatchPlan | WindowedPlan:
        """Which examples make up the batch of each step."""
        if not self.copies:
            return super().plan
        lengths = np.tile(self.objective.lengths, 1 + self.copies)
        return BatchPlan(lengths, self.settings.batch_size, self.seed)

    def batch(self, step: int, logits: np.ndarray | None = None) -> tuple[Batch, Batch]:
        """Return inputs and targets of a step."""
        indices = self.plan.indices(step) % len(self.objective.lengths)
        return self.objective.batch(indices, self.plan.epoch(step), logits)

    def load_teacher(self) -> keras.Model:
        """Build the teacher: the recipe's encoder for a stage, or the one from elsewhere."""
        if self.settings.teacher in self.context.recipe.stages:
            return self.load("model", is_trained=False)
        return super().load_teacher()


def _forecast(settings: TrainSettings, context: Context, *, measure: bool) -> Forecast:
    job = _Trial(settings, context)
    student = job.load("model")
    sparsity = rewound = None
    share_of = "all"
    if isinstance(settings, PruneSettings):
        asked = settings.sparsity
        share_of = asked.share_of
        load_plugins(asked.plugins)
        rules = layer_rules(asked.rules, dense_kernels(student), asked.pattern)
        final = max(rule.sparsity for rule in rules.values())
        sparsity = sparsity_schedule(asked, job, final=final)
        rewound = sparsity if asked.rewind else None
    batches = [job.batch(step)[0]["input_word_ids"].size for step in range(TRIAL_STEPS)]
    forecast = Forecast(
        name=context.name,
        kind=settings.kind,
        steps=job.total_steps,
        batch_size=settings.batch_size,
        examples=job.examples,
        tokens=statistics.mean(batches),
        learning_rate=job.schedule(rewound),
        sparsity=sparsity,
        share_of=share_of,
    )
    return replace(forecast, **_measured(job, student)) if measure else forecast


def _measured(job: _Trial, student: keras.Model) -> dict[str, Any]:
    """Take a few steps; return seconds of a step, bytes of memory and of disk."""
    job.total_steps = TRIAL_STEPS
    distiller = job.distiller(student)
    clock = _Clock()
    job.fit(
        distiller,
        schedule=LearningRateSchedule(job.settings.learning_rate, TRIAL_STEPS),
        callbacks=lambda start: [clock],
    )
    job.save(student)
    left = [path.stat().st_size for path in job.context.folder.rglob("*") if path.is_file()]
    return {
        "step_seconds": statistics.median(clock.seconds[1:]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "disk": sum(left),
    }


class _Clock(keras.callbacks.Callback):
    """Seconds of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)


# What is shown


def as_text(forecasts: Sequence[Forecast]) -> str:
    """Return a table of the stages, and below it the curves of each."""
    rows = [
        [
            one.name,
            one.kind,
            f"{one.steps:,}",
            f"{one.batch_size} x {one.tokens / one.batch_size:.0f}",
            f"{one.epochs:.1f} x {one.examples:,}",
            _or_dash(one.step_seconds, lambda seconds: f"{1000 * seconds:,.0f}"),
            _or_dash(one.hours, lambda hours: f"{hours:,.1f}"),
            _or_dash(one.memory, lambda size: f"{size / 1e9:.1f}"),
            _or_dash(one.disk, lambda size: f"{size / 1e9:.2f}"),
        ]
        for one in forecasts
    ]
    header = ["stage", "kind", "steps", "batch x tokens", "epochs x examples", "ms a step", "hours"]
    parts = [text_table([*header, "GB memory", "GB disk"], rows, left=(0, 1))]
    hours = [one.hours for one in forecasts if one.hours is not None]
    if hours:
        parts.append(
            f"Together {sum(hours):,.1f} hours of training, at the speed of this machine.\n"
            "Steps were timed without mask updates and INT8 emulation, and with the teacher in "
            "each,\nalso where its logits will be kept; evaluation and export are not in it."
        )
    return "\n\n".join([*parts, *map(_curves, forecasts)])


def _curves(one: Forecast) -> str:
    steps = [round(place * (one.steps - 1) / (_WIDTH - 1)) for place in range(_WIDTH)]
    peak = one.learning_rate.peak
    rates = [one.learning_rate.rate(step) for step in steps]
    lines = [
        f"{one.name}: step 0 to {one.steps:,}",
        f"  learning rate  |{_bars(rates, peak)}| peak {peak:g}",
    ]
    if one.sparsity is not None:
        sparsity = one.sparsity
        asked = [sparsity.asked(step) if step >= sparsity.begin else 0.0 for step in steps]
        updates = (sparsity.last_update - sparsity.begin) // sparsity.frequency + 1
        # What was kept is known when the stages before have run.
        base = " of what was kept before" if one.share_of == "kept" else ""
        lines += [
            f"  sparsity       |{_bars(asked, 1.0)}| {100 * sparsity.final:g} %{base} from step "
            f"{sparsity.ramp_end:,}",
            f"  {updates:,} mask updates, every {sparsity.frequency:,} steps from "
            f"{sparsity.begin:,} to {sparsity.last_update:,}; then the pattern is fixed",
        ]
    return "\n".join(lines)


def _bars(values: Sequence[float], top: float) -> str:
    """Draw values in [0, top], a character each.

    >>> _bars([0.0, 0.5, 1.0], 1.0)
    ' ▄█'
    """
    last = len(_BARS) - 1
    return "".join(_BARS[min(last, round(last * value / top))] for value in values)


def _or_dash(value: Any, text: Any) -> str:
    return "-" if value is None else text(value)
