"""The front door to task data: one function for every source."""

from typing import Any, Literal

from tf_prune_ofa.data import reviews, tables, tfds_task
from tf_prune_ofa.data.task_data import Split, TaskData
from tf_prune_ofa.errors import UserError

__all__ = ["Split", "TaskData", "load_task", "load_unlabelled_text"]

_TFDS = "tfds:"


def load_task(source: str, **settings: Any) -> TaskData:
    """Reads a task.

    Args:
        source: "reviews" for the corpus of the quickstart, "files" for the user's own files, or
            "tfds:NAME" for a dataset of TensorFlow Datasets.
        **settings: the arguments of `reviews.reviews_task`, `tables.table_task` or
            `tfds_task.tfds_task`.

    Raises:
        UserError: no such source, or what the source's function raises.
    """
    if source == "reviews":
        return reviews.reviews_task(**settings)
    if source == "files":
        return tables.table_task(**settings)
    if source.startswith(_TFDS):
        return tfds_task.tfds_task(source.removeprefix(_TFDS), **settings)
    raise UserError(
        f"No task source {source!r}: it is 'reviews', 'files' or 'tfds:NAME', such as "
        "'tfds:glue/sst2'."
    )


def load_unlabelled_text(
    source: str, *, side: Literal["train", "dev"] = "train", **settings: Any
) -> list[list[str]]:
    """Reads one side of a task as text for masked language modelling.

    Args:
        source: as for `load_task`.
        side: "train" to learn from, "dev" only to measure the loss on.
        **settings: as for `load_task`; the same ones, or the sides do not match.

    Returns:
        Documents, each a list of passages that belong together.
    """
    if source == "reviews":
        return reviews.unlabelled_text(side=side, **settings)
    task = load_task(source, **settings)
    return {"train": task.train, "dev": task.dev}[side].documents()
