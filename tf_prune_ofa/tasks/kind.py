"""What a labelled task is to the rest of the package, whatever its kind.

Legend: N examples · B batch · S sequence · C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from tf_prune_ofa.config import LossSettings, TaskSettings
from tf_prune_ofa.data.task_data import TaskData
from tf_prune_ofa.distill.distiller import Target
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import Head
from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.train.evaluate import NOWHERE

Batch = dict[str, np.ndarray]


class Examples(Protocol):
    """A split of a task as token ids, with the labels of each sequence."""

    @property
    def tokens(self) -> Encoded:
        """Token ids and token types of each sequence."""

    @property
    def labels(self) -> np.ndarray:
        """[N, ...], what the head learns."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class EncodedSplit:
    """Texts as token ids, one label for each."""

    tokens: Encoded
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


E = TypeVar("E", bound=Examples)


class Kind(ABC, Generic[E]):
    """A labelled task: its head, what that learns, how it is judged, and what a file gives.

    All outputs of a head together are one array, the logits [N, ...]: of a model or of a file, of
    a padded batch or not. Places of padding are `NOWHERE` in it.

    Attributes:
        layer: name of the head's last layer; "" where the head has no weights.
        why_not_augmented: why words of its texts must not be replaced; "" where they may be.
        agreements: names of the figures of `agreement`.
        by_token: whether the outputs are of tokens, so that those of padding mean nothing.
    """

    layer: ClassVar[str] = ""
    why_not_augmented: ClassVar[str] = ""
    agreements: ClassVar[tuple[str, ...]]
    by_token: ClassVar[bool] = False

    def __init__(self, data: TaskData, settings: TaskSettings) -> None:
        """Keep the task's labels and the recipe's settings; the examples are not looked at."""
        self.data = data
        self.settings = settings

    # Learning

    @property
    @abstractmethod
    def head(self) -> Head:
        """What is built on the encoder."""

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """What the outputs of the head learn."""

    @abstractmethod
    def encode(self, split: Any, wordpiece: TextTokenizer, *, length: int) -> E:
        """Return a split as ids, in sequences of at most `length` tokens.

        Args:
            split: of `TaskData`.
            wordpiece: the tokenizer.
            length: with special tokens.
        """

    @abstractmethod
    def batch_targets(self, labels: np.ndarray, logits: np.ndarray | None, width: int) -> Batch:
        """Return the targets of a batch, by the names in `targets`.

        Args:
            labels: [B, ...] of `encode`.
            logits: [B, ...] of the teacher, if they are cached.
            width: S of the batch's sequences.
        """

    def check_length(self, length: int, where: str) -> None:  # noqa: B027
        """Check that an example has room in a sequence.

        Args:
            length: of the sequence, in tokens.
            where: the setting that says so, for the message.

        Raises:
            UserError: it has none.
        """

    def check_loss(self, loss: LossSettings, where: str) -> None:  # noqa: B027
        """Check that a stage's loss is one that the task can be trained with.

        Args:
            loss: the stage's.
            where: the setting, for the message.

        Raises:
            UserError: it is not.
        """

    def start_head(self, parameters: Mapping[str, Any], labels: np.ndarray) -> None:  # noqa: B027
        """Set a head that is new, before training, where that saves steps.

        Args:
            parameters: the model's variables by name.
            labels: [N, ...] of the training examples.
        """

    # Judging

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the task's scores (`tasks.scores`), the main one first.

        Raises:
            UserError: the recipe asks for one that is not known, or not of such a task.
        """

    @abstractmethod
    def predict(self, model: keras.Model, batches: Iterable[Batch], *, length: int) -> np.ndarray:
        """Return a model's logits of all batches in their order.

        Args:
            model: with this task's head.
            batches: inputs by name.
            length: S of the result, where it has such an axis.
        """

    @abstractmethod
    def score(self, logits: np.ndarray, split: E) -> dict[str, float]:
        """Return all scores of logits on a split by name."""

    def count(self, split: E) -> int:
        """Return how many examples a split has: what one score is the mean over."""
        return len(split)

    # Files

    @abstractmethod
    def file_logits(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Return the logits of one example from the outputs of a file.

        Args:
            outputs: by name, each [1, ...].
            mask: [S], 1 for tokens and 0 for padding.
        """

    @abstractmethod
    def read(self, logits: np.ndarray, split: E) -> list[Any]:
        """Return what logits say of each example that `count` counts: a label, a number, a text."""

    @abstractmethod
    def agreement(self, logits: np.ndarray, reference: np.ndarray, split: E) -> dict[str, float]:
        """Return how far what one reads from the logits is what one reads from a reference's."""

    @classmethod
    def text_agreement(
        cls, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
        mask: np.ndarray,
    ) -> dict[str, float]:  # fmt: skip
        """Return the like of `agreement` for texts that nobody has labelled, if there is one.

        Args:
            outputs: of a file by name, [N, ...].
            reference: of its model.
            mask: [N, S], 1 for tokens and 0 for padding.
        """
        return {}

    def without_padding(self, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return logits with `NOWHERE` at padding, as those of a file have it.

        Args:
            logits: of `predict`.
            mask: [N, S].
        """
        return logits

    def compare(self, logits: np.ndarray, reference: np.ndarray, split: E) -> dict[str, float]:
        """Return how far logits are from a reference's, and whether the answers are the same."""
        difference = np.abs(logits - reference)[reference > NOWHERE]
        return self.agreement(logits, reference, split) | {
            "max_logit_difference": float(difference.max()),
            "mean_logit_difference": float(difference.mean()),
        }

    def text_settings(self, **tokenizer: Any) -> TextSettings:
        """Return what a file says of how its texts become ids and its logits answers.

        Args:
            **tokenizer: settings of the tokenizer.
        """
        return TextSettings(**tokenizer)

    @classmethod
    def settings_in(cls, **tokenizer: Any) -> TextSettings:
        """Return the like of `text_settings` for a model folder of which no recipe is known.

        Args:
            **tokenizer: settings of the tokenizer.
        """
        return TextSettings(**tokenizer)

    # Recipes and folders

    @classmethod
    @abstractmethod
    def head_in(cls, weights: Mapping[str, np.ndarray]) -> Head | None:
        """Return the head that a model's weights have, if it is of this kind.

        Where two kinds have heads of the same weights, config.json tells them apart by what the
        head's `problem_type` is; see `tasks.kind_in`.
        """

    @classmethod
    def tiny(cls, settings: TaskSettings, small: Mapping[str, Any]) -> TaskSettings:
        """Return the task for a recipe that is tried out with --tiny; see `tiny`.

        Args:
            settings: of the recipe.
            small: limits that every tiny task has.
        """
        raise NotImplementedError
