"""The front door to task data: one function for every source."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data import (
    conll,
    glue,
    label_sets,
    reviews,
    sentence_texts,
    squad,
    tables,
    tfds_task,
)
from tf_prune_ofa.data.task_data import Split, TaskData
from tf_prune_ofa.errors import UserError

__all__ = ["Split", "TaskData", "load_task", "load_unlabelled_text", "task_files"]

_TFDS, _GLUE = "tfds:", "glue/"
# What a source that knows its own data leaves no choice of.
_COLUMNS = ("text_a", "text_b", "label", "labels", "label_values", "header", "skip_labels")
_FILES = ("train", "dev")


def load_task(settings: TaskSettings, **options: Any) -> TaskData:
    """Reads the task that a recipe names, whole: its limits are left to the caller.

    Args:
        settings: the recipe's section.
        **options: further arguments of the source's function, such as `path` of
            `reviews.reviews_task` or `data_dir` of `tfds_task.tfds_task`.

    Raises:
        UserError: no such source, a setting that it has no use for, or what its function raises.
    """
    source = settings.source
    if settings.folder and not _glue_name(settings):
        raise UserError(
            f"task.folder is for the GLUE tasks, such as glue/sst2, not for {source!r}: name the "
            "files with task.source 'files', task.train and task.dev."
        )
    if source in SOURCES:
        found = SOURCES[source]
        _refuse(settings, *(name for name in (*_COLUMNS, *_FILES) if name not in found.takes))
        if found.needs_files:
            _require_files(settings)
        task = found.read(settings, **options)
    elif source.startswith(_TFDS + "squad"):
        _refuse(settings, *_COLUMNS, *_FILES)
        task = squad.tfds_squad_task(source.removeprefix(_TFDS), **options)
    elif _glue_name(settings):
        _refuse(settings, *_COLUMNS, *_FILES)
        task = glue.glue_task(_glue_name(settings), folder=settings.folder, **options)
    elif source.startswith(_TFDS):
        columns: dict[str, Any] = {
            "text_a": settings.text_a,
            "text_b": settings.text_b or None,
            "label": settings.label,
            "labels": settings.labels,
            "skip_labels": settings.skip_labels,
        }
        _refuse(settings, *_FILES, "label_values", "header")
        task = tfds_task.tfds_task(source.removeprefix(_TFDS), **columns, **options)
    else:
        known = ", ".join(repr(name) for name in SOURCES if name != "made_up_questions")
        raise UserError(
            f"No task source {source!r}: it is one of {known}, a task of GLUE such as "
            "'glue/sst2', or 'tfds:NAME'."
        )
    return dataclasses.replace(task, metrics=settings.metrics or task.metrics)


def kind_of_source(source: str) -> str:
    """The kind of task (`tasks.KINDS`) that a source holds, as far as its name says it.

    A regression is told from a classification by its data only.
    """
    if source in SOURCES:
        return SOURCES[source].kind
    return "spans" if source.startswith(_TFDS + "squad") else "classification"


def load_unlabelled_text(
    settings: TaskSettings, *, side: Literal["train", "dev"] = "train", **options: Any
) -> list[list[str]]:
    """Reads one side of a task as text for masked language modelling.

    Args:
        settings: as for `load_task`; the same ones, or the sides do not match.
        side: "train" to learn from, "dev" only to measure the loss on.
        **options: as for `load_task`.

    Returns:
        Documents, each a list of passages that belong together.
    """
    if settings.source == "reviews":
        return reviews.unlabelled_text(side=side, **options)
    task = load_task(settings, **options)
    return {"train": task.train, "dev": task.dev}[side].documents()


def task_files(settings: TaskSettings) -> list[Path]:
    """The files that the task is read from; none of what TensorFlow Datasets keeps."""
    if settings.folder:
        return glue.glue_files(_glue_name(settings), settings.folder)
    if settings.source in SOURCES and not SOURCES[settings.source].needs_files:
        return [reviews.find_corpus()]
    return [Path(file) for file in (settings.train, settings.dev) if file]


def _glue_name(settings: TaskSettings) -> str:
    """The task of GLUE that is meant, or "".

    "tfds:glue/sst2" means the same as "glue/sst2", unless it names columns of its own.
    """
    source = settings.source.removeprefix(_TFDS)
    if not source.startswith(_GLUE):
        return ""
    is_plain = settings.text_a == TaskSettings.text_a
    return source.removeprefix(_GLUE) if is_plain or source == settings.source else ""


def _refuse(settings: TaskSettings, *names: str) -> None:
    changed = [n for n in names if getattr(settings, n) != getattr(TaskSettings, n)]
    if not changed:
        return
    shown = ", ".join("task." + name for name in changed)
    if {"train", "dev"} & set(changed):
        raise UserError(
            f"The task {settings.source} has its own data, but {shown} would be ignored: to use "
            "your files, set task.source to 'files' (or 'squad'); else leave it out."
        )
    raise UserError(
        f"The task {settings.source} knows its own columns and labels: leave out {shown}."
    )


def _require_files(settings: TaskSettings) -> None:
    if not settings.train or not settings.dev:
        raise UserError(
            f"task.source is {settings.source!r}: name the files with task.train and task.dev"
        )


def _own_files(settings: TaskSettings) -> TaskData:
    return tables.table_task(
        Path(settings.train).stem,
        train=settings.train,
        dev=settings.dev,
        text_a=settings.text_a,
        text_b=settings.text_b or None,
        label=settings.label,
        labels=settings.labels,
        label_values=settings.label_values,
        header=settings.header,
        skip_labels=settings.skip_labels,
    )


def _made_up_questions(settings: TaskSettings, **options: Any) -> TaskData:
    texts = reviews.reviews_task(**options)
    train, dev = cast(Split, texts.train), cast(Split, texts.dev)
    return squad.made_up_task(train.text_a, dev.text_a)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a task's data may come from.

    Attributes:
        kind: of its tasks (`tasks.KINDS`); "classification" may turn out to be a regression.
        read: the task of a recipe's section.
        takes: settings that it has a use for; others are refused.
        needs_files: whether task.train and task.dev name them; else it is installed.
    """

    kind: str
    read: Callable[..., TaskData]
    takes: tuple[str, ...] = ()
    needs_files: bool = True


# By the name in `task.source`; TensorFlow Datasets and GLUE are known by their prefixes.
SOURCES = {
    "reviews": Source(
        "classification", lambda _, **options: reviews.reviews_task(**options), needs_files=False
    ),
    "files": Source("classification", _own_files, (*_COLUMNS, *_FILES)),
    "squad": Source(
        "spans", lambda settings: squad.squad_task(settings.train, settings.dev), _FILES
    ),
    "conll": Source(
        "tokens",
        lambda settings: conll.conll_task(settings.train, settings.dev, settings.labels),
        ("labels", *_FILES),
    ),
    "multilabel": Source(
        "multilabel",
        label_sets.label_set_task,
        ("text_a", "text_b", "label", "labels", "header", *_FILES),
    ),
    "embeddings": Source(
        "embeddings",
        sentence_texts.embedding_task,
        ("text_a", "text_b", "label", "header", *_FILES),
    ),
    "made_up_questions": Source("spans", _made_up_questions, _FILES, needs_files=False),
}
