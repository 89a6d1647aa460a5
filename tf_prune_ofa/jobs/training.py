"""What the training stages share: an objective, models, batches, one fit, results."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.config import PruneSettings, TrainSettings
from tf_prune_ofa.data.batches import BatchPlan, to_dataset
from tf_prune_ofa.data.windowed_plan import WindowedPlan
from tf_prune_ofa.distill.distiller import HIDDEN_PREFIX, Distiller
from tf_prune_ofa.distill.losses import default_teacher_layers
from tf_prune_ofa.distill.teacher_logits import cached_logits
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.models import Models
from tf_prune_ofa.jobs.objectives import objective_of
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.pruning.rules import match_layers
from tf_prune_ofa.replicas import datasets
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule, steps_of
from tf_prune_ofa.tasks.kind import Batch
from tf_prune_ofa.tasks.objective import Objective
from tf_prune_ofa.train.fit import Run, fit


class TrainingJob:
    """One training stage's settings, data and folder, and the steps that it is made of."""

    def __init__(self, settings: TrainSettings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.recipe_inputs = context.recipe_inputs
        # A stream of its own for each stage: no two stages see the same order of examples.
        self.seed = context.recipe.seed * 1_000 + zlib.crc32(context.name.encode()) % 1_000
        self.total_steps = steps_of(settings.length, steps_per_epoch=self.plan.steps_per_epoch)
        if self.total_steps < 1:
            raise UserError(f"{context.name}.length is {settings.length!r}: not even one step")
        context.replicas.check_batch(
            settings.batch_size,
            f"{context.name}.batch_size",
            parts=settings.gradient_accumulation,
        )

    @cached_property
    def objective(self) -> Objective:
        """What the stage learns, with its examples."""
        return objective_of(self.settings, self.context, self.seed)

    # Models

    @property
    def head(self) -> bert.Head | None:
        """The head of this stage's objective."""
        return self.objective.head

    @cached_property
    def _models(self) -> Models:
        return Models(self.settings, self.context, self.objective, self.seed)

    def load(
        self, start: str, *, wrap: bert.Wrap | None = None, is_trained: bool = True
    ) -> keras.Model:
        """Build the model of this objective; see `jobs.models.Models.load`."""
        return self._models.load(start, self.head, wrap=wrap, is_trained=is_trained)

    def weights_of(self, name: str) -> Mapping[str, np.ndarray]:
        """Return the weights of a stage or of an encoder by their stable names.

        Raises:
            UserError: they are the recipe's random ones.
        """
        found = self._models.weights_of(name)
        if found is None:
            raise UserError(
                f"stage '{self.context.name}' needs the weights of the recipe's encoder, but "
                "model.weights is 'random'"
            )
        return found[1]

    @cached_property
    def starts_with_head(self) -> bool:
        """Whether the weights of `start` have a head of this objective and size, so a trained one.

        A stage writes no head that it did not train; nor does who publishes a fine-tuned model.
        """
        found = self._models.weights_of(self.settings.start)
        return found is not None and self.objective.has_head(found[1])

    def load_teacher(self) -> keras.Model:
        """Build the teacher, of a stage before or from elsewhere, without dropout."""
        return self._models.load_teacher(self.head)

    def save(self, model: keras.Model) -> Path:
        """Write the model as a Hugging Face folder."""
        return self._models.save(model, self.head)

    # Batches

    @cached_property
    def plan(self) -> BatchPlan | WindowedPlan:
        """Which examples make up the batch of each step."""
        return self.objective.plan(self.settings.batch_size, self.seed)

    def batch(self, step: int, logits: np.ndarray | None = None) -> tuple[Batch, Batch]:
        """Return inputs and targets of a step; `logits` are the teacher's, if cached."""
        return self.objective.batch(self.plan.indices(step), self.plan.epoch(step), logits)

    def calibration_inputs(self, count: int) -> list[Batch]:
        """Return the inputs of the run's first `count` batches."""
        return [self.batch(step)[0] for step in range(count)]

    # Training

    def distiller(self, student: keras.Model, lock: PatternLock | None = None) -> Distiller:
        """Set up the student's training; the teacher is loaded only where it has to run."""
        settings = self.settings
        runs_teacher = settings.loss.distils and not self._caches_teacher
        teacher = self.load_teacher() if runs_teacher else None
        if settings.loss.layerwise:
            self._check_layers(student, teacher)
        frozen = match_layers(settings.frozen, bert.layer_names(bert.parameters(student)))
        frozen_layers = {name for names in frozen.values() for name in names}
        frozen_variables = {
            variable.ref()
            for name, variable in bert.parameters(student).items()
            if name.rpartition("/")[0] in frozen_layers
        }
        return Distiller(
            student,
            self.objective.targets,
            settings.loss,
            teacher=teacher,
            lock=lock,
            trainable=lambda variable: variable.ref() not in frozen_variables,
            clip_norm=settings.clip_norm,
            parts=settings.gradient_accumulation,
        )

    def _check_layers(self, student: keras.Model, teacher: keras.Model) -> None:
        chosen = self.settings.loss.teacher_layers
        ours, theirs = (
            sum(name.startswith(HIDDEN_PREFIX) for name in model.output) - 1
            for model in (student, teacher)
        )
        where = f"{self.context.name}.loss.teacher_layers is {list(chosen)}"
        if list(chosen) != sorted(set(chosen)) or max(chosen, default=0) > theirs:
            raise UserError(
                f"{where}: name layers of the teacher once each, ascending; it has {theirs}"
            )
        if len(chosen or default_teacher_layers(theirs)) > ours:
            raise UserError(
                f"{where}, but the student has only {ours} layers to match; choose fewer"
            )

    @property
    def _caches_teacher(self) -> bool:
        loss = self.settings.loss
        if not (self.objective.can_cache_teacher and self.settings.cache_teacher):
            return False
        # Where no example comes twice, every logit would be computed for one use.
        comes_twice = self.total_steps > self.plan.steps_per_epoch
        return loss.distils and not loss.distils_layers and comes_twice

    def _teacher_logits(self) -> np.ndarray | None:
        if not self._caches_teacher:
            return None

        def compute() -> np.ndarray:
            return self.objective.predict_train(self.load_teacher())

        count = len(self.objective.lengths)
        return cached_logits(self.context.folder / paths.TEACHER_LOGITS, count, compute)

    def schedule(self, sparsity: SparsitySchedule | None = None) -> LearningRateSchedule:
        """Return the learning rate of the run, rewound while sparsity ramps up, if given."""
        settings = self.settings
        rewind: dict[str, Any] = {}
        if sparsity is not None and isinstance(settings, PruneSettings):
            rewound = settings.sparsity
            is_cyclic = rewound.rewind == "cycles"
            rewind = {
                "rewind_begin": sparsity.begin,
                "rewind_end": sparsity.last_update if is_cyclic else sparsity.ramp_end,
                "rewind_every": self.steps(rewound.rewind_every) or sparsity.frequency,
                "cycle_floor": rewound.cycle_floor if is_cyclic else None,
            }
        return LearningRateSchedule(
            settings.learning_rate, self.total_steps, self.steps(settings.warmup), settings.decay,
            **rewind
        )  # fmt: skip

    def steps(self, duration: int | str) -> int:
        """Return a duration of the recipe in steps of this run."""
        return steps_of(duration, steps_per_epoch=self.plan.steps_per_epoch, total=self.total_steps)

    def fit(
        self,
        distiller: Distiller,
        *,
        schedule: LearningRateSchedule | None = None,
        callbacks: Callable[[int], Sequence[keras.callbacks.Callback]] = lambda start: (),
        extra_metrics: Callable[[int], dict[str, float]] = lambda step: {},
        before_save: Callable[[str], None] = lambda where: None,
    ) -> None:
        """Train to the end; see `train.fit.fit`."""
        logits = self._teacher_logits()

        run = Run(
            title=self.context.name,
            folder=self.context.folder,
            schedule=schedule or self.schedule(),
            batch_size=self.settings.batch_size,
            weight_decay=self.settings.weight_decay,
            checkpoint_every=max(1, self.steps(self.settings.checkpoint_every)),
            checkpoints=self.context.checkpoints,
            replicas=self.context.replicas,
        )
        fit(
            distiller,
            lambda start: datasets(
                to_dataset, lambda step: self.batch(step, logits), start, self.total_steps
            ),
            run,
            callbacks=callbacks,
            extra_metrics=extra_metrics,
            before_save=before_save,
        )

    # Results

    def figures(self, model: keras.Model) -> dict[str, Any]:
        """Return steps, examples and the model's scores on held-out data."""
        counts = {"steps": self.total_steps, "train_examples": len(self.objective.lengths)}
        return counts | self.objective.scores(self._models.in_float32(model, self.head))
