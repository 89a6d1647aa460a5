"""Kinds of tasks: one module holds all that is particular to one.

Stages, verification, export and report ask the task and know no kind by its name. A further kind is
a module here, a line in `KINDS`, and a reader of its data.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from tf_prune_ofa.config import StageSettings, TaskSettings
    from tf_prune_ofa.data.task_data import TaskData
    from tf_prune_ofa.models.bert import Head
    from tf_prune_ofa.tasks.kind import Kind

# By the name in `TaskData.kind`: module and class. They are loaded when they are asked for, since
# they load TensorFlow.
KINDS = {
    "classification": ("classification", "Classification"),
    "multilabel": ("multilabel", "MultiLabel"),
    "regression": ("classification", "Regression"),
    "spans": ("spans", "Spans"),
    "tokens": ("tokens", "Tokens"),
    # The last: what has no head of another kind is an encoder, and that is one of texts.
    "embeddings": ("embeddings", "Embeddings"),
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


def kind_in(
    weights: Mapping[str, np.ndarray], problem_type: str = ""
) -> tuple[type[Kind], Head] | None:
    """Return the kind of task that a model is for, and its head; None if it has none of ours.

    Args:
        weights: by stable name.
        problem_type: what its config.json calls the problem; "" where it says nothing.
    """
    for name in KINDS:
        kind = find_kind(name)
        head = kind.head_in(weights)
        if head is not None and problem_type in ("", head.problem_type):
            return kind, head
    return None
