"""Kinds of tasks: one module holds all that is particular to one.

Stages, verification, export and report ask the task and know no kind by its name. A further kind is
a module here, a line in `KINDS`, and a reader of its data.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tf_prune_ofa.config import StageSettings, TaskSettings
    from tf_prune_ofa.data.task_data import TaskData
    from tf_prune_ofa.tasks.kind import Kind

# By the name in `TaskData.kind`: module and class. They are loaded when they are asked for, since
# they load TensorFlow.
KINDS = {
    "classification": ("classification", "Classification"),
    "regression": ("classification", "Regression"),
    "spans": ("spans", "Spans"),
    "tokens": ("tokens", "Tokens"),
}
# What a stage may learn, as recipes call it (`objective`): masked words of the corpus, or the
# task's labels.
MASKED_WORDS, LABELS = "mlm", "task"


def reads_corpus(settings: StageSettings) -> bool:
    """Return whether a stage learns from the corpus, not from the task's labels."""
    return getattr(settings, "objective", LABELS) == MASKED_WORDS


def find_kind(name: str) -> type[Kind]:
    """Return the class of a kind of task."""
    module, cls = KINDS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def kind_of(data: TaskData, settings: TaskSettings) -> Kind:
    """Return all that is particular to a task."""
    return find_kind(data.kind)(data, settings)
