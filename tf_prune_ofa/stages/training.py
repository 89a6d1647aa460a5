"""What the four training stages share: models from folders, batches, one fit, saving.

Legend: B batch · S sequence · P predicted positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import TrainSettings, is_model_name
from tf_prune_ofa.data.batches import BatchPlan, model_inputs, to_dataset
from tf_prune_ofa.data.mlm import MlmExamples, mlm_batch
from tf_prune_ofa.distill.distiller import HIDDEN_PREFIX, Distiller, Target
from tf_prune_ofa.distill.losses import default_teacher_layers, hard_loss
from tf_prune_ofa.distill.teacher_logits import cached_logits
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface, presets
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.tensor_names import HEADS, head_of
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.pruning.rules import match_layers
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule, steps_of
from tf_prune_ofa.stages.augmentation import augmented_split
from tf_prune_ofa.stages.context import MODEL_FOLDER, Context
from tf_prune_ofa.stages.other_models import load_other_model
from tf_prune_ofa.stages.outputs import (
    batch_targets,
    count_of,
    judge,
    predict_task,
    task_head,
    task_targets,
)
from tf_prune_ofa.stages.workspace import EncodedSplit
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
        return task_head(self.workspace)

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
            hidden_states=self.settings.loss.needs_hidden_states,
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
        # Where start and teacher are one stage, so are their heads.
        if self.settings.head == "teacher" and start == self.settings.start:
            weights = self._with_head_of_teacher(weights)
        report = assign_weights(model, weights, folder, new_heads=HEADS)
        if "classifier" in report.new and self.workspace.num_labels == 1:
            # From zero, hundreds of small steps would go into learning the mean.
            mean = np.mean(self.train.labels, dtype=np.float64)
            bert.parameters(model)["classifier/bias"].assign([mean])
        if report.new:
            print(f"  new, not from '{start}': {', '.join(report.new)}", flush=True)
        if "pooler" in report.unused_heads and not self._unused_pooler:
            # An MLM model has no use for it, but the task that comes later starts from it. What is
            # loaded first is the start; a teacher's pooler is not the student's.
            self._unused_pooler = {k: v for k, v in weights.items() if k.startswith("pooler/")}
        return model

    def _with_head_of_teacher(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights with the heads of the teacher, which must be a stage of the recipe."""
        name = self.settings.teacher
        if name not in self.context.results:
            raise UserError(
                f"{self.context.name}.head is 'teacher', but {self.context.name}.teacher is "
                f"{name!r}; name a stage of the recipe, or leave head out"
            )
        taught = huggingface.read_weights(self.context.results[name].model_folder)
        return {key: value for key, value in weights.items() if head_of(key) is None} | {
            key: value for key, value in taught.items() if head_of(key) is not None
        }

    def load_teacher(self) -> keras.Model:
        """Build the teacher, of a stage before or from elsewhere, without dropout."""
        name = self.settings.teacher
        if name in self.context.results:
            return self.load(name, is_trained=False)
        return load_other_model(name, self.head, self.workspace, self.settings.loss)

    # Data

    @cached_property
    def train(self) -> EncodedSplit:
        """The task's training examples, with the copies that the recipe asks for."""
        if not self.settings.augment.model:
            return self.workspace.train
        return augmented_split(self.settings.augment, self.context)

    @cached_property
    def _corpus(self) -> tuple[MlmExamples, MlmExamples]:
        return self.workspace.corpus(nsp=self.settings.nsp)

    @cached_property
    def plan(self) -> BatchPlan:
        """Which examples make up the batch of each step."""
        lengths = self._corpus[0].lengths if self.is_mlm else self.train.tokens.lengths
        return BatchPlan(lengths, self.settings.batch_size, self.seed)

    @cached_property
    def _token_types(self) -> bool:
        """Whether the student has token types, or a teacher from elsewhere."""
        configs = [self.workspace.encoder]
        teacher = self.settings.teacher
        if teacher not in self.context.results and is_model_name(teacher):
            configs.append(presets.open_pretrained(teacher).config)
        return any(config.architecture == "bert" for config in configs)

    def _mlm_batch(self, examples: MlmExamples, indices: Any, epoch: int) -> tuple[Batch, Batch]:
        """Return inputs and targets of masked examples; see `config.TrainSettings.mlm_distil`."""
        batch = mlm_batch(
            examples,
            indices,
            self.workspace.wordpiece,
            seed=self.seed,
            epoch=epoch,
            max_length=self.workspace.corpus_length,
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
        split = self.train
        inputs = self._task_inputs(split, indices)
        taught = None if logits is None else logits[indices]
        width = inputs["input_word_ids"].shape[1]
        return inputs, batch_targets(self.workspace, split.labels[indices], taught, width)

    def batch(self, step: int, logits: np.ndarray | None = None) -> tuple[Batch, Batch]:
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
        """Return the logits of a split, in its order: [N, labels], of spans [N, 2, S]."""
        plan, batches = self.evaluation_batches(split)
        order = np.concatenate([plan.indices(step) for step in range(plan.steps_per_epoch)])
        # A teacher may have token types that its student has not.
        known = ({name: batch[name] for name in model.input_names} for batch in batches)
        length = self.context.recipe.task.max_length
        logits = predict_task(self.workspace, model, known, length=length)
        return logits[np.argsort(order)]

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
            self._targets(),
            settings.loss,
            teacher=teacher,
            lock=lock,
            trainable=lambda variable: variable.ref() not in frozen_variables,
            clip_norm=settings.clip_norm,
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

    def _targets(self) -> tuple[Target, ...]:
        if not self.is_mlm:
            return task_targets(self.workspace)
        soft_weights = "token_weights" if self.settings.mlm_distil == "all" else ""
        mlm = Target("mlm_logits", "mlm_labels", "mlm_weights", soft_weights, suffix="_mlm")
        return (mlm, Target("nsp_logits", "nsp_labels", suffix="_nsp"))[: 1 + self.settings.nsp]

    @property
    def _caches_teacher(self) -> bool:
        loss = self.settings.loss
        if self.is_mlm or not self.settings.cache_teacher:
            return False
        # Where no example comes twice, every logit would be computed for one use.
        comes_twice = self.total_steps > self.plan.steps_per_epoch
        return loss.distils and not loss.distils_layers and comes_twice

    def _teacher_logits(self) -> np.ndarray | None:
        if not self._caches_teacher:
            return None
        split = self.train

        def compute() -> np.ndarray:
            return self.predict(self.load_teacher(), split)

        return cached_logits(self.context.folder / "teacher_logits.npz", len(split), compute)

    def schedule(self, sparsity: SparsitySchedule | None = None) -> LearningRateSchedule:
        """Return the learning rate of the run, rewound while sparsity ramps up, if given."""
        settings = self.settings
        rewind = {}
        if sparsity is not None:
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
        )
        fit(
            distiller,
            lambda start: to_dataset(
                lambda step: self.batch(step, logits), start, self.total_steps
            ),
            run,
            callbacks=callbacks,
            extra_metrics=extra_metrics,
            before_save=before_save,
        )

    def calibration_inputs(self, count: int) -> list[Batch]:
        """Return the inputs of the run's first `count` batches."""
        return [self.batch(step)[0] for step in range(count)]

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
        examples = self._corpus[0].ids if self.is_mlm else self.train.labels
        counts = {"steps": self.total_steps, "train_examples": len(examples)}
        return counts | (self._mlm_scores(model) if self.is_mlm else self._task_scores(model))

    def _task_scores(self, model: keras.Model) -> dict[str, Any]:
        """Return all scores on the held-out split, by name, and on further ones as name_split."""
        workspace = self.workspace
        found = judge(workspace, self.predict(model, workspace.dev), workspace.dev)
        for word, split in workspace.more_dev.items():
            more = judge(workspace, self.predict(model, split), split)
            found |= {f"{name}_{word}": value for name, value in more.items()}
        counts = {"dev_examples": count_of(workspace.dev)}
        return counts | {"main_metric": workspace.metrics[0]} | found

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
