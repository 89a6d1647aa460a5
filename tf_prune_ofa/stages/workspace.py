"""What all stages of a recipe share: the encoder, its tokenizer, the task and the corpus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import ModelSettings, Recipe, TaskSettings, digest, to_dict
from tf_prune_ofa.data import mlm
from tf_prune_ofa.data.documents import tokenize_documents
from tf_prune_ofa.data.mlm import MlmExamples
from tf_prune_ofa.data.tasks import Split, TaskData, load_task, load_unlabelled_text
from tf_prune_ofa.data.wordpiece import Encoded, WordPiece
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import read_lines, sha256_of
from tf_prune_ofa.models import presets
from tf_prune_ofa.models.bert import EncoderConfig

CORPUS_DEV_SHARE = 0.05  # of the lines of corpus files, as in the reference


@dataclass(frozen=True)
class EncodedSplit:
    """A split of the task as token ids."""

    tokens: Encoded
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class Workspace:
    """Loads each shared input once, when a stage first asks for it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @cached_property
    def source(self) -> presets.Pretrained:
        """The encoder's weights, vocabulary and sizes, resolved from the recipe."""
        settings = self.recipe.model
        is_random = settings.weights == "random"
        return presets.open_pretrained(settings.vocabulary if is_random else settings.weights)

    @cached_property
    def encoder(self) -> EncoderConfig:
        """Sizes of the encoder, with the recipe's dropout and GELU."""
        settings = self.recipe.model
        if settings.weights == "random":
            config = _random_encoder(settings, self.wordpiece.vocab_size)
        else:
            config = self.source.config
        if settings.activation != "checkpoint":
            config = replace(config, activation=settings.activation)
        if self.recipe.task.max_length > config.max_positions:
            raise UserError(
                f"task.max_length is {self.recipe.task.max_length}, but the encoder has only "
                f"{config.max_positions} positions; choose at most {config.max_positions}"
            )
        return replace(config, dropout=settings.dropout, attention_dropout=settings.dropout)

    @cached_property
    def wordpiece(self) -> WordPiece:
        """The tokenizer of the encoder's vocabulary."""
        return WordPiece(self.source.vocab_path, **self.tokenizer_settings)

    @property
    def tokenizer_settings(self) -> dict[str, Any]:
        """The encoder's tokenizer settings, with the recipe's choice of accents."""
        choice = self.recipe.model.strip_accents
        if choice == "checkpoint":
            return self.source.tokenizer
        return {**self.source.tokenizer, "strip_accents": choice == "always"}

    @cached_property
    def task(self) -> TaskData:
        """The labelled task, limited as the recipe says."""
        settings = self.recipe.task
        task = load_task(settings.source, **_task_arguments(settings))
        train, dev = (
            split.take(limit) if limit else split
            for split, limit in (
                (task.train, settings.train_limit),
                (task.dev, settings.dev_limit),
            )
        )
        return replace(task, train=train, dev=dev)

    @property
    def num_labels(self) -> int:
        """Outputs of the task's head; 1 is a regression."""
        return max(1, len(self.task.labels))

    @cached_property
    def train(self) -> EncodedSplit:
        """The task's training split as ids."""
        return self._encode(self.task.train)

    @cached_property
    def dev(self) -> EncodedSplit:
        """The task's held-out split as ids."""
        return self._encode(self.task.dev)

    def corpus(self, *, nsp: bool) -> tuple[MlmExamples, MlmExamples]:
        """Return unlabelled examples to learn from, and held-out ones to judge by."""
        make = mlm.segment_pairs if nsp else mlm.windows
        length = self.recipe.task.max_length
        parts = (
            tokenize_documents(documents, self.wordpiece, sentences=nsp)
            for documents in self._documents
        )
        train, dev = (make(part, self.wordpiece, max_length=length) for part in parts)
        return train, dev

    @cached_property
    def _documents(self) -> tuple[list[list[str]], list[list[str]]]:
        settings = self.recipe.task
        if settings.corpus:
            lines = [[line] for path in settings.corpus for line in read_lines(path)]
            # By position, so that the same documents stay out whatever the seed.
            period = round(1 / CORPUS_DEV_SHARE)
            train = [line for number, line in enumerate(lines) if number % period]
            dev = lines[::period]
        else:
            arguments = _task_arguments(settings)
            train = load_unlabelled_text(settings.source, side="train", **arguments)
            dev = load_unlabelled_text(settings.source, side="dev", **arguments)
        return _limited(train, settings.train_limit), _limited(dev, settings.dev_limit)

    def _encode(self, split: Split) -> EncodedSplit:
        length = self.recipe.task.max_length
        tokens = self.wordpiece.encode(split.text_a, split.text_b, max_length=length)
        return EncodedSplit(tokens, split.label)

    @cached_property
    def digest(self) -> str:
        """Hash of everything that a stage's result depends on besides its own settings."""
        task = self.recipe.task
        files = [Path(file) for file in (task.train, task.dev, *task.corpus) if file]
        files.append(self.source.vocab_path)
        if self.recipe.model.weights != "random":
            kinds = ("config.json", ".safetensors", ".h5")
            files += [path for path in self.source.folder.iterdir() if path.name.endswith(kinds)]
        # A list: files of two folders may have the same name.
        content = [(path.name, sha256_of(path)) for path in sorted(files)]
        return digest([to_dict(self.recipe.model), to_dict(task), self.recipe.seed, content])


def _random_encoder(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    sizes: dict[str, Any] = {"architecture": "bert", "vocab_size": vocab_size, **settings.sizes}
    try:
        return EncoderConfig(**sizes)
    except TypeError as error:
        raise UserError(
            f"model.sizes {settings.sizes} does not describe an encoder: {error}"
        ) from error


def _task_arguments(settings: TaskSettings) -> dict[str, Any]:
    """Return the keyword arguments of the source's reader (`data.tasks.load_task`)."""
    if settings.source == "reviews":
        return {}
    columns = {
        "text_a": settings.text_a,
        "text_b": settings.text_b or None,
        "label": settings.label,
        "labels": settings.labels,
    }
    if settings.source != "files":
        return columns
    if not settings.train or not settings.dev:
        raise UserError("task.source is 'files': name the files with task.train and task.dev")
    files = {"train": settings.train, "dev": settings.dev}
    return {"name": Path(settings.train).stem, **files, **columns}


def _limited(items: list[Any], limit: int) -> list[Any]:
    return items[:limit] if limit else items
