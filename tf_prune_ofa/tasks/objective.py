"""What a training stage learns: the labels of a task, or masked words.

Legend: N examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from tf_prune_ofa.data.batches import BatchPlan, model_inputs
from tf_prune_ofa.data.windowed_plan import WindowedPlan
from tf_prune_ofa.distill.distiller import Target
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import Head
from tf_prune_ofa.tasks.kind import Batch, Examples, Kind

EVALUATION_BATCH = 64


class Objective(ABC):
    """Head, batches and scores of a training stage.

    Attributes:
        can_cache_teacher: whether a teacher's logits of all examples can be kept.
    """

    can_cache_teacher: ClassVar[bool]

    @property
    @abstractmethod
    def head(self) -> Head:
        """What is built on the encoder."""

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """What the outputs of the head learn."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """[N], tokens of each training example."""

    def plan(self, batch_size: int, seed: int) -> BatchPlan | WindowedPlan:
        """Return which training examples make up the batch of each step."""
        return BatchPlan(self.lengths, batch_size, seed)

    @abstractmethod
    def has_head(self, weights: Mapping[str, np.ndarray]) -> bool:
        """Return whether weights, by name, hold a head of this kind and size."""

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """What the outputs are called in the model's folder, if they have names."""
        return None

    @abstractmethod
    def batch(self, indices: Any, epoch: int, logits: np.ndarray | None) -> tuple[Batch, Batch]:
        """Return inputs and targets of training examples.

        Args:
            indices: which examples.
            epoch: how many times all examples were seen.
            logits: [N, ...], the teacher's of all examples, if they are cached.
        """

    @abstractmethod
    def scores(self, model: keras.Model) -> dict[str, Any]:
        """Return a model's scores on held-out examples, and how many these are."""

    def predict_train(self, model: keras.Model) -> np.ndarray:
        """Return a model's logits [N, ...] of all training examples, where they can be kept."""
        raise NotImplementedError(f"{type(self).__name__} has other examples in each epoch")

    def start_head(self, parameters: Mapping[str, Any], new: Sequence[str]) -> None:  # noqa: B027
        """Set a head of which layers are new, before training, where that saves steps."""


class Labels(Objective):
    """The labels of a task."""

    can_cache_teacher = True

    def __init__(
        self,
        kind: Kind,
        train: Examples,
        dev: Callable[[], Examples],
        more_dev: Callable[[], Mapping[str, Examples]],
        *,
        token_types: bool,
        pad_id: int,
    ) -> None:
        """Keep the examples.

        Args:
            kind: of the task.
            train: examples to learn from.
            dev: returns the examples to be judged by.
            more_dev: returns further ones, by name.
            token_types: whether the models need them.
            pad_id: of the tokenizer.
        """
        self.kind = kind
        self.train = train
        self._dev, self._more_dev = dev, more_dev
        self._token_types, self._pad_id = token_types, pad_id

    @property
    def head(self) -> Head:
        """The task's."""
        return self.kind.head

    @property
    def targets(self) -> tuple[Target, ...]:
        """The task's."""
        return self.kind.targets

    @cached_property
    def lengths(self) -> np.ndarray:
        """[N], tokens of each training example."""
        return self.train.tokens.lengths

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The task's labels."""
        return self.kind.data.labels or None

    def has_head(self, weights: Mapping[str, np.ndarray]) -> bool:
        """Return whether weights hold a head of the task."""
        return self.kind.head_in(weights) == self.kind.head

    def inputs(self, split: Examples, indices: Any) -> Batch:
        """Return the inputs of examples of a split."""
        return model_inputs(
            [split.tokens.ids[i] for i in indices],
            [split.tokens.type_ids[i] for i in indices] if self._token_types else None,
            max_length=self.kind.settings.max_length,
            pad_id=self._pad_id,
        )

    def batch(
        self, indices: Any, epoch: int = 0, logits: np.ndarray | None = None
    ) -> tuple[Batch, Batch]:
        """Return inputs and targets of training examples."""
        inputs = self.inputs(self.train, indices)
        taught = None if logits is None else logits[indices]
        width = inputs["input_word_ids"].shape[1]
        return inputs, self.kind.batch_targets(self.train.labels[indices], taught, width)

    def predict_train(self, model: keras.Model) -> np.ndarray:
        """Return a model's logits [N, ...] of all training examples."""
        return self.predict(model, self.train)

    def predict(self, model: keras.Model, split: Examples) -> np.ndarray:
        """Return the logits of a split, in its order; see `tasks.kind.Kind`."""
        plan, batches = self.evaluation_batches(split)
        order = np.concatenate([plan.indices(step) for step in range(plan.steps_per_epoch)])
        # A teacher may have token types that its student has not.
        known = ({name: batch[name] for name in model.input_names} for batch in batches)
        logits = self.kind.predict(model, known, length=self.kind.settings.max_length)
        return logits[np.argsort(order)]

    def evaluation_batches(self, split: Examples) -> tuple[BatchPlan, Iterator[Batch]]:
        """Return the plan and the inputs of all examples of a split, each once, by length."""
        plan = BatchPlan(split.tokens.lengths, EVALUATION_BATCH, remainder="short", shuffle=False)
        return plan, (
            self.inputs(split, plan.indices(step)) for step in range(plan.steps_per_epoch)
        )

    def scores(self, model: keras.Model) -> dict[str, Any]:
        """Return all scores on the held-out split, by name, and on further ones as name_split."""
        kind = self.kind
        dev = self._dev()
        found = kind.score(self.predict(model, dev), dev)
        for word, split in self._more_dev().items():
            more = kind.score(self.predict(model, split), split)
            found |= {f"{name}_{word}": value for name, value in more.items()}
        counts = {"dev_examples": kind.count(dev)}
        return counts | {"main_metric": kind.metrics[0]} | found

    def start_head(self, parameters: Mapping[str, Any], new: Sequence[str]) -> None:
        """Let the task set its head if the head's last layer is new."""
        if self.kind.layer in new:
            self.kind.start_head(parameters, self.train.labels)
