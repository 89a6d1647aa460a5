"""What a recipe names for all of its stages: the encoder, tokenizer, task and corpus."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import CorpusSettings, ModelSettings, Recipe, TaskSettings
from tf_prune_ofa.corpus.reading import Records
from tf_prune_ofa.data import segments
from tf_prune_ofa.data.corpus import corpus_documents, corpus_files
from tf_prune_ofa.data.documents import tokenize_documents
from tf_prune_ofa.data.mlm import Corpus
from tf_prune_ofa.data.tasks import (
    TaskData,
    load_task,
    load_unlabelled_text,
    task_files,
)
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.jobs.records import open_records, split_of
from tf_prune_ofa.models import presets
from tf_prune_ofa.models.bert import EncoderConfig
from tf_prune_ofa.plain_values import digest
from tf_prune_ofa.tasks import kind_of
from tf_prune_ofa.tasks.kind import EncodedSplit, Examples, Kind
from tf_prune_ofa.text.opening import open_tokenizer
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.tokenizer_files import tokenizer_files

# A few long texts are no reason to make all sequences longer.
_FEW = 0.01


def cut_note(lengths: np.ndarray, length: int) -> str:
    """Return a sentence on texts that were cut; "" where they are few.

    Args:
        lengths: of the sequences, in tokens.
        length: the most that a sequence may have.
    """
    full = int(np.count_nonzero(lengths >= length))
    if full <= _FEW * len(lengths):
        return ""
    return (
        f"{full:,} of {len(lengths):,} texts fill all {length} tokens: what they have more was cut "
        "(task.max_length, or a file's sequence_length)"
    )


class RecipeInputs:
    """Loads each of them once, when a stage first asks for it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.is_checked = False  # by `jobs.preflight`
        self._said: set[str] = set()

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
            config.family.require_tokenizer(self.wordpiece.kind, self.source.vocab_path)
        else:
            config = self.source.config
        if settings.activation != "checkpoint":
            config = replace(config, activation=settings.activation)
        lengths = {
            "task.max_length": self.recipe.task.max_length,
            "corpus.length": self.recipe.corpus.length
            if self.records is None
            else self.corpus_length,
        }
        for where, length in lengths.items():
            if length > config.max_positions:
                raise UserError(
                    f"{where} is {length}, but the encoder has only {config.max_positions} "
                    f"positions; choose at most {config.max_positions}"
                )
        return replace(config, dropout=settings.dropout, attention_dropout=settings.dropout)

    @cached_property
    def wordpiece(self) -> TextTokenizer:
        """The tokenizer of the encoder's vocabulary."""
        return open_tokenizer(self.source.vocab_path, self.tokenizer_settings)

    @property
    def tokenizer_settings(self) -> dict[str, Any]:
        """The encoder's tokenizer settings, with the recipe's choice of accents and clean-up."""
        model, settings = self.recipe.model, dict(self.source.tokenizer)
        if not settings:
            if (model.strip_accents, model.clean_up) != ("checkpoint", "checkpoint"):
                raise UserError(
                    "model.strip_accents and model.clean_up are of WordPiece tokenizers; this "
                    "encoder's tokenizer.json says all of its own: leave them out"
                )
            return settings
        if model.strip_accents != "checkpoint":
            settings["strip_accents"] = model.strip_accents == "always"
        if model.clean_up != "checkpoint":
            settings["clean_up"] = model.clean_up
        if settings.get("clean_up", "bert") == "mediapipe":
            if model.strip_accents == "always":
                raise UserError(
                    "model.clean_up is 'mediapipe', which keeps accents, and model.strip_accents "
                    "is 'always'; leave one of them out"
                )
            # What it does is not a choice; said, so that what is written says it.
            settings |= {"lower_case": True, "strip_accents": False, "split_chinese": True}
        return settings

    @cached_property
    def task(self) -> TaskData:
        """The labelled task, limited as the recipe says."""
        settings = self.recipe.task
        task = load_task(settings)

        def limited(split: Any, limit: int) -> Any:
            return split.take(limit) if limit else split

        return replace(
            task,
            train=limited(task.train, settings.train_limit),
            dev=limited(task.dev, settings.dev_limit),
            more_dev={n: limited(s, settings.dev_limit) for n, s in task.more_dev.items()},
        )

    @cached_property
    def kind(self) -> Kind:
        """All that is particular to the task: its head, its scores, what its files give."""
        return kind_of(self.task, self.recipe.task)

    @cached_property
    def train(self) -> Examples:
        """The task's training split as ids."""
        return self.encode(self.task.train)

    @cached_property
    def dev(self) -> Examples:
        """The task's held-out split as ids."""
        return self.encode(self.task.dev)

    @cached_property
    def more_dev(self) -> dict[str, Examples]:
        """Further held-out splits as ids, by name."""
        return {name: self.encode(split) for name, split in self.task.more_dev.items()}

    @property
    def corpus_length(self) -> int:
        """Tokens of an unlabelled example."""
        if self.records is not None:
            return int(self.records.plan["length"])
        return self.recipe.corpus.length or self.recipe.task.max_length

    @cached_property
    def records(self) -> Records | None:
        """The corpus's records, where the recipe names some.

        Raises:
            UserError: they are not whole, or of another vocabulary than the encoder's.
        """
        corpus = self.recipe.corpus
        return open_records(corpus, self.source.vocab_path, self.tokenizer_settings)

    def corpus(self, *, nsp: bool) -> tuple[Corpus, Corpus]:
        """Return unlabelled examples to learn from, and held-out ones to judge by."""
        if self.records is not None:
            return split_of(self.records, nsp=nsp)
        make = segments.segment_pairs if nsp else segments.chunks
        length = self.corpus_length
        parts = (
            tokenize_documents(documents, self.wordpiece, sentences=nsp)
            for documents in self._documents
        )
        train, dev = (make(part, self.wordpiece, max_length=length) for part in parts)
        return train, dev

    @cached_property
    def _documents(self) -> tuple[list[list[str]], list[list[str]]]:
        if self.recipe.corpus.files:
            return corpus_documents(self.recipe.corpus)
        settings = self.recipe.task
        train = load_unlabelled_text(settings, side="train")
        dev = load_unlabelled_text(settings, side="dev")
        return _limited(train, settings.train_limit), _limited(dev, settings.dev_limit)

    def texts_to_learn(self, files: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        """Return the texts of the task's train split, and what further files have besides."""
        settings = self.recipe.task
        documents = load_unlabelled_text(settings, side="train")
        documents = [*_limited(documents, settings.train_limit), *self.task.train.documents()]
        texts = dict.fromkeys(text for document in documents for text in document)
        parts = corpus_documents(CorpusSettings(files)) if files else []
        more = dict.fromkeys(text for part in parts for document in part for text in document)
        return list(texts), [text for text in more if text not in texts]

    def encode(self, split: Any, length: int = 0) -> Examples:
        """Return a split as ids, in sequences of at most `length`; 0 means the recipe's."""
        length = length or self.recipe.task.max_length
        examples = self.kind.encode(split, self.wordpiece, length=length)
        if isinstance(examples, EncodedSplit):
            note = cut_note(examples.tokens.lengths, length)
            if note and note not in self._said:
                print(f"  note: {note}", flush=True)
            self._said.add(note)
        return examples

    @cached_property
    def digest(self) -> str:
        """Hash of everything that a stage's result depends on besides its own settings."""
        return self._digest_of(self.recipe.task, task_files(self.recipe.task))

    @cached_property
    def corpus_digest(self) -> str:
        """The same of a stage that learns from unlabelled text.

        Of text that is not the task's it is the same whatever the task, for what is learned serves
        all of them: recipes that share a run folder share such a stage.
        """
        corpus = self.recipe.corpus
        settings = {"corpus": corpus.files, "limit": corpus.limit, "length": self.corpus_length}
        # Not said where it is as ever, so that runs of before are found again.
        if corpus.whole_words:
            settings["whole_words"] = True
        if self.records is not None:
            return self._digest_of({**settings, "records": self.records.digest}, [])
        if not corpus.files:
            return digest([self.digest, settings])
        return self._digest_of(settings, corpus_files(corpus))

    def _digest_of(self, settings: TaskSettings | dict[str, Any], files: list[Path]) -> str:
        content = [_content(files), self._encoder_content]
        return digest([self.recipe.model, settings, self.recipe.seed, content])

    @cached_property
    def _encoder_content(self) -> list[tuple[str, str]]:
        files = tokenizer_files(self.source.folder)
        if self.recipe.model.weights != "random":
            files += self.source.weight_files()
        return _content(files)

    def model_digest(self, name: str) -> str:
        """Hash of a model that a stage names by folder or handle."""
        source = presets.open_pretrained(name)
        return digest(_content([*source.weight_files(), *tokenizer_files(source.folder)]))


def _content(files: list[Path]) -> list[tuple[str, str]]:
    """Return names and hashes of files: a list, since those of two folders may have one name."""
    return [(path.name, sha256_of(path)) for path in sorted(set(files))]


def _random_encoder(settings: ModelSettings, vocab_size: int) -> EncoderConfig:
    sizes: dict[str, Any] = {"architecture": "bert", "vocab_size": vocab_size, **settings.sizes}
    try:
        return EncoderConfig(**sizes)
    except TypeError as error:
        raise UserError(
            f"model.sizes {settings.sizes} does not describe an encoder: {error}"
        ) from error


def _limited(items: list[Any], limit: int) -> list[Any]:
    return items[:limit] if limit else items
