"""The front door to task data: one function for every source."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data import conll, glue, reviews, squad, tables, tfds_task
from tf_prune_ofa.data.task_data import Split, TaskData
from tf_prune_ofa.errors import UserError

__all__ = ["Split", "TaskData", "load_task", "load_unlabelled_text", "task_files"]

_TFDS, _GLUE = "tfds:", "glue/"
# What a source that knows its own data leaves no choice of.
_COLUMNS = ("text_a", "text_b", "label", "labels", "label_values", "header", "skip_labels")


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
    if source == "reviews":
        _refuse(settings, *_COLUMNS, "train", "dev")
        task = reviews.reviews_task(**options)
    elif source == "files":
        _require_files(settings)
        task = _own_files(settings)
    elif source == "squad":
        _refuse(settings, *_COLUMNS)
        _require_files(settings)
        task = squad.squad_task(settings.train, settings.dev)
    elif source == "conll":
        _refuse(settings, *(name for name in _COLUMNS if name != "labels"))
        _require_files(settings)
        task = conll.conll_task(settings.train, settings.dev, settings.labels)
    elif source == "made_up_questions":
        texts = reviews.reviews_task(**options)
        task = squad.made_up_task(texts.train.text_a, texts.dev.text_a)
    elif source.startswith(_TFDS + "squad"):
        _refuse(settings, *_COLUMNS, "train", "dev")
        task = squad.tfds_squad_task(source.removeprefix(_TFDS), **options)
    elif _glue_name(settings):
        _refuse(settings, *_COLUMNS, "train", "dev")
        task = glue.glue_task(_glue_name(settings), folder=settings.folder, **options)
    elif source.startswith(_TFDS):
        columns = {
            "text_a": settings.text_a,
            "text_b": settings.text_b or None,
            "label": settings.label,
            "labels": settings.labels,
            "skip_labels": settings.skip_labels,
        }
        _refuse(settings, "train", "dev", "label_values", "header")
        task = tfds_task.tfds_task(source.removeprefix(_TFDS), **columns, **options)
    else:
        raise UserError(
            f"No task source {source!r}: it is 'reviews', 'files', 'squad', 'conll', a task of "
            "GLUE such as 'glue/sst2', or 'tfds:NAME'."
        )
    return dataclasses.replace(task, metrics=settings.metrics or task.metrics)


def kind_of_source(source: str) -> str:
    """The kind of task (`tasks.KINDS`) that a source holds, as far as its name says it.

    A regression is told from a classification by its data only.
    """
    name = source.removeprefix(_TFDS)
    if name == "conll":
        return "tokens"
    return "spans" if name.startswith(("squad", "made_up_questions")) else "classification"


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
    if settings.source in ("reviews", "made_up_questions"):
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
