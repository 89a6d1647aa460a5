"""What the head of a task gives and learns, and how it is judged: classes, a score, or a span.

Legend: N examples or windows · C classes · S sequence.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Target
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.stages.workspace import EncodedSplit, Workspace
from tf_prune_ofa.text.windows import Windows, find_answers
from tf_prune_ofa.train.evaluate import predict, predict_ends, scores
from tf_prune_ofa.train.squad_metrics import squad_scores, squad_v2_scores

ENDS = ("start", "end")
Batch = dict[str, np.ndarray]


def task_head(workspace: Workspace) -> bert.Head:
    """Return the head of the task."""
    return bert.SpanQA() if workspace.is_span else bert.Classification(workspace.num_labels)


def task_targets(workspace: Workspace) -> tuple[Target, ...]:
    """Return what the outputs of the task's head learn; of a span, each end is half of it."""
    if workspace.is_span:
        return tuple(
            Target(f"{end}_logits", f"{end}_labels", positions="input_mask", share=0.5,
                   suffix=f"_{end}")
            for end in ENDS
        )  # fmt: skip
    return (Target("logits", "labels", kind="value" if workspace.num_labels == 1 else "classes"),)


def batch_targets(
    workspace: Workspace, labels: np.ndarray, teacher_logits: np.ndarray | None, width: int
) -> Batch:
    """Return the targets of a batch.

    Args:
        workspace: of the recipe.
        labels: [B] or, of spans, [B, 2].
        teacher_logits: [B, C] or [B, 2, S], if they are cached.
        width: length of the batch's sequences.
    """
    if not workspace.is_span:
        targets = {"labels": labels}
        if teacher_logits is not None:
            targets[TEACHER_PREFIX + "logits"] = teacher_logits
        return targets
    targets = {f"{end}_labels": labels[:, index] for index, end in enumerate(ENDS)}
    if teacher_logits is not None:
        for index, end in enumerate(ENDS):
            targets[f"{TEACHER_PREFIX}{end}_logits"] = teacher_logits[:, index, :width]
    return targets


def task_layer(workspace: Workspace) -> str:
    """Return the name of the head's last layer."""
    return "span" if workspace.is_span else "classifier"


def predict_task(
    workspace: Workspace, model: keras.Model, batches: Iterable[Batch], *, length: int
) -> np.ndarray:
    """Return the logits of batches in their order: [N, C], or of spans [N, 2, length]."""
    if workspace.is_span:
        return predict_ends(model, batches, length=length)
    return predict(model, batches)


def count_of(split: EncodedSplit | Windows) -> int:
    """Return the number of examples, or of questions."""
    return len(split.questions) if isinstance(split, Windows) else len(split)


def judge(
    workspace: Workspace, logits: np.ndarray, split: EncodedSplit | Windows
) -> dict[str, float]:
    """Return the scores of the task's logits on a split, by name; see `predict_task`."""
    if isinstance(split, Windows):
        task = workspace.recipe.task
        found = find_answers(split, logits, n_best=task.n_best, answer_length=task.answer_length)
        right = [[answer.text for answer in q.answers] for q in split.questions]
        answers = [one.text for one in found]
        if not all(right):
            return squad_v2_scores(answers, right, [one.null_difference for one in found])
        return squad_scores(answers, right)
    return scores(workspace.metrics, logits, split.labels)
