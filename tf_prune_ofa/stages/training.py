"""What the four training stages share: models from folders, batches, one fit, saving.

Legend: B batch · S sequence · P predicted positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import TrainSettings
from tf_prune_ofa.data.batches import BatchPlan, model_inputs, to_dataset
from tf_prune_ofa.data.mlm import MlmExamples, mlm_batch
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Distiller, Target
from tf_prune_ofa.distill.losses import hard_loss
from tf_prune_ofa.distill.teacher_logits import cached_logits
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.tensor_names import HEADS
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.pruning.rules import match_layers
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule, steps_of
from tf_prune_ofa.stages.context import MODEL_FOLDER, Context
from tf_prune_ofa.stages.workspace import EncodedSplit
from tf_prune_ofa.train.evaluate import metrics_for, predict
from tf_prune_ofa.train.fit import Run, fit

EVALUATION_BATCH = 64
# Windows of held-out text that an MLM model is judged on: some 5,000 masked tokens of 64-token
# windows, for a standard error below 0.7 points of accuracy, in seconds.
MLM_DEV_EXAMPLES = 512
Batch = dict[str, np.ndarray]


class TrainingJob:
    """One training stage's settings, data and folder, and the steps that it is made of."""

    def __init__(self, settings: TrainSettings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.workspace = context.workspace
        self.is_mlm = settings.objective == "mlm"
        self._unused_pooler: dict[str, np.ndarray] = {}
        # A stream of its own for each stage: no two stages see the same order of examples.
        self.seed = context.recipe.seed * 1_000 + zlib.crc32(context.name.encode()) % 1_000
        self.total_steps = steps_of(settings.length, steps_per_epoch=self.plan.steps_per_epoch)
        if self.total_steps < 1:
            raise UserError(f"{context.name}.length is {settings.length!r}: not even one step")

    # Models

    @property
    def head(self) -> bert.Head:
        """The head of this stage's objective."""
        if self.is_mlm:
            return bert.MaskedLM(nsp=self.settings.nsp)
        return bert.Classification(self.workspace.num_labels)

    def load(
        self, start: str, *, wrap: bert.Wrap | None = None, is_trained: bool = True
    ) -> keras.Model:
        """Build the model of this objective with the weights of a stage or of the encoder.

        Args:
            start: name of a stage before, or "model".
            wrap: see `models.bert.build_model`.
            is_trained: False for a teacher, and where dropout would disturb.
        """
        config = self.workspace.encoder
        has_dropout = is_trained and self.settings.dropout
        model = bert.build_model(
            config if has_dropout else config.without_dropout(),
            self.head,
            wrap=wrap,
            hidden_states=self.settings.loss.hidden > 0,
            attention_scores=self.settings.loss.attention > 0,
            seed=self.seed,
        )
        if start in self.context.results:
            folder = self.context.results[start].model_folder
            weights = huggingface.read_weights(folder)
        elif self.context.recipe.model.weights != "random":
            folder = self.workspace.source.folder
            weights = self.workspace.source.read_weights()
        else:
            return model
        report = assign_weights(model, weights, folder, new_heads=HEADS)
        if report.new:
            print(f"  new, not from '{start}': {', '.join(report.new)}", flush=True)
        if "pooler" in report.unused_heads and not self._unused_pooler:
            # An MLM model has no use for it, but the task that comes later starts from it. What is
            # loaded first is the start; a teacher's pooler is not the student's.
            self._unused_pooler = {k: v for k, v in weights.items() if k.startswith("pooler/")}
        return model

    # Data

    @cached_property
    def _corpus(self) -> tuple[MlmExamples, MlmExamples]:
        return self.workspace.corpus(nsp=self.settings.nsp)

    @cached_property
    def plan(self) -> BatchPlan:
        """Which examples make up the batch of each step."""
        lengths = self._corpus[0].lengths if self.is_mlm else self.workspace.train.tokens.lengths
        return BatchPlan(lengths, self.settings.batch_size, self.seed)

    @property
    def _token_types(self) -> bool:
        return self.workspace.encoder.architecture == "bert"

    def _mlm_batch(self, examples: MlmExamples, indices: Any, epoch: int) -> tuple[Batch, Batch]:
        """Return inputs and targets of masked examples; see `config.TrainSettings.mlm_distil`."""
        batch = mlm_batch(
            examples,
            indices,
            self.workspace.wordpiece,
            seed=self.seed,
            epoch=epoch,
            max_length=self.context.recipe.task.max_length,
            rate=self.settings.mlm_share,
            token_types=self._token_types,
        )
        inputs = {name: value for name, value in batch.items() if name.startswith("input_")}
        targets = {name: batch[name] for name in ("mlm_labels", "mlm_weights")}
        inputs["mlm_positions"] = batch["mlm_positions"]
        if self.settings.loss.soft and self.settings.mlm_distil == "all":
            inputs["mlm_positions"], targets = _all_positions(batch)
        if self.settings.nsp:
            targets["nsp_labels"] = batch["nsp_labels"]
        return inputs, targets

    def _task_inputs(self, split: EncodedSplit, indices: Any) -> Batch:
        return model_inputs(
            [split.tokens.ids[i] for i in indices],
            [split.tokens.type_ids[i] for i in indices] if self._token_types else None,
            max_length=self.context.recipe.task.max_length,
            pad_id=self.workspace.wordpiece.pad_id,
        )

    def _task_batch(self, indices: Any, logits: np.ndarray | None) -> tuple[Batch, Batch]:
        split = self.workspace.train
        targets = {"labels": split.labels[indices]}
        if logits is not None:
            targets[TEACHER_PREFIX + "logits"] = logits[indices]
        return self._task_inputs(split, indices), targets

    def _batch(self, step: int, logits: np.ndarray | None) -> tuple[Batch, Batch]:
        """Return inputs and targets of a step; `logits` are the teacher's, if cached."""
        indices = self.plan.indices(step)
        if self.is_mlm:
            return self._mlm_batch(self._corpus[0], indices, self.plan.epoch(step))
        return self._task_batch(indices, logits)

    def evaluation_batches(self, split: EncodedSplit) -> tuple[BatchPlan, Iterator[Batch]]:
        """Return the plan and the inputs of all examples of a split, each once, by length."""
        plan = BatchPlan(split.tokens.lengths, EVALUATION_BATCH, remainder="short", shuffle=False)
        return plan, (
            self._task_inputs(split, plan.indices(step)) for step in range(plan.steps_per_epoch)
        )

    def predict(self, model: keras.Model, split: EncodedSplit) -> np.ndarray:
        """Return the logits [N, labels] of a split, in its order."""
        plan, batches = self.evaluation_batches(split)
        order = np.concatenate([plan.indices(step) for step in range(plan.steps_per_epoch)])
        logits = predict(model, batches)
        return logits[np.argsort(order)]

    # Training

    def distiller(self, student: keras.Model, lock: PatternLock | None = None) -> Distiller:
        """Set up the student's training; the teacher is loaded only where it has to run."""
        settings = self.settings
        runs_teacher = settings.loss.distils and not self._caches_teacher
        frozen = match_layers(settings.frozen, bert.layer_names(bert.parameters(student)))
        frozen_layers = {name for names in frozen.values() for name in names}
        frozen_variables = {
            variable.ref()
            for name, variable in bert.parameters(student).items()
            if name.rpartition("/")[0] in frozen_layers
        }
        return Distiller(
            student,
            self._targets(),
            settings.loss,
            teacher=self.load(settings.teacher, is_trained=False) if runs_teacher else None,
            lock=lock,
            trainable=lambda variable: variable.ref() not in frozen_variables,
            clip_norm=settings.clip_norm,
        )

    def _targets(self) -> tuple[Target, ...]:
        if not self.is_mlm:
            kind = "value" if self.workspace.num_labels == 1 else "classes"
            return (Target("logits", "labels", kind=kind),)
        soft_weights = "token_weights" if self.settings.mlm_distil == "all" else ""
        mlm = Target("mlm_logits", "mlm_labels", "mlm_weights", soft_weights, suffix="_mlm")
        return (mlm, Target("nsp_logits", "nsp_labels", suffix="_nsp"))[: 1 + self.settings.nsp]

    @property
    def _caches_teacher(self) -> bool:
        loss = self.settings.loss
        distils_logits_only = loss.distils and not loss.distils_layers
        return self.settings.cache_teacher and not self.is_mlm and distils_logits_only

    def _teacher_logits(self) -> np.ndarray | None:
        if not self._caches_teacher:
            return None
        split = self.workspace.train

        def compute() -> np.ndarray:
            return self.predict(self.load(self.settings.teacher, is_trained=False), split)

        return cached_logits(self.context.folder / "teacher_logits.npz", len(split), compute)

    def schedule(self, sparsity: SparsitySchedule | None = None) -> LearningRateSchedule:
        """Return the learning rate of the run, rewound while `sparsity` ramps up, if given."""
        settings = self.settings
        rewind = {}
        if sparsity is not None:
            rewind = {
                "rewind_begin": sparsity.begin,
                "rewind_end": sparsity.ramp_end,
                "rewind_every": sparsity.frequency,
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
        )
        fit(
            distiller,
            lambda start: to_dataset(
                lambda step: self._batch(step, logits), start, self.total_steps
            ),
            run,
            callbacks=callbacks,
            extra_metrics=extra_metrics,
            before_save=before_save,
        )

    def calibration_inputs(self, count: int) -> list[Batch]:
        """Return the inputs of the run's first `count` batches."""
        return [self._batch(step, None)[0] for step in range(count)]

    # Results

    def save(self, model: keras.Model) -> Path:
        """Write the model as a Hugging Face folder."""
        folder = self.context.folder / MODEL_FOLDER
        huggingface.write_folder(
            folder,
            model,
            self.workspace.encoder,
            self.head,
            self.workspace.source.vocab_path,
            labels=None if self.is_mlm else self.workspace.task.labels or None,
            extra=self._unused_pooler,
            tokenizer=self.workspace.tokenizer_settings,
        )
        return folder

    def figures(self, model: keras.Model) -> dict[str, Any]:
        """Return steps, examples and the model's scores on held-out data."""
        examples = self._corpus[0].ids if self.is_mlm else self.workspace.train.labels
        counts = {"steps": self.total_steps, "train_examples": len(examples)}
        return counts | (self._mlm_scores(model) if self.is_mlm else self._task_scores(model))

    def _task_scores(self, model: keras.Model) -> dict[str, Any]:
        split = self.workspace.dev
        metrics = metrics_for(self.workspace.num_labels)
        return {"dev_examples": len(split), **metrics(self.predict(model, split), split.labels)}

    def _mlm_scores(self, model: keras.Model) -> dict[str, Any]:
        """Return the loss (nats a masked token) and accuracy on the corpus's held-out documents."""
        examples = self._corpus[1]
        lengths = examples.lengths[:MLM_DEV_EXAMPLES]
        plan = BatchPlan(lengths, EVALUATION_BATCH, remainder="short", shuffle=False)
        losses, hits, count = 0.0, 0.0, 0.0
        for step in range(plan.steps_per_epoch):
            inputs, targets = self._mlm_batch(examples, plan.indices(step), epoch=0)
            logits = model(inputs, training=False)["mlm_logits"]
            labels, weights = targets["mlm_labels"], targets["mlm_weights"]
            losses += float(hard_loss(logits, labels, weights)) * weights.sum()
            hits += float(((np.argmax(logits, -1) == labels) * weights).sum())
            count += weights.sum()
        return {
            "dev_examples": len(lengths),
            "mlm_loss": float(losses / count),
            "mlm_accuracy": float(hits / count),
        }


def _all_positions(batch: Batch) -> tuple[np.ndarray, Batch]:
    """Return all positions [B, S], and targets over them instead of over the masked ones [B, P]."""
    rows, length = batch["input_word_ids"].shape
    labels = np.zeros((rows, length), np.int32)
    weights = np.zeros((rows, length), np.float32)
    row, place = np.nonzero(batch["mlm_weights"])
    where = row, batch["mlm_positions"][row, place]
    labels[where] = batch["mlm_labels"][row, place]
    weights[where] = 1.0
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    targets = {
        "mlm_labels": labels,
        "mlm_weights": weights,
        "token_weights": batch["input_mask"].astype(np.float32),
    }
    return positions, targets
