"""Tasks from TensorFlow Datasets."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.data.task_data import (
    Split,
    TaskData,
    check_labels,
    nearest,
    parse_labels,
    without_labels,
)
from tf_prune_ofa.errors import UserError


def tfds_task(
    dataset: str,
    *,
    text_a: str,
    text_b: str | None = None,
    label: str = "label",
    labels: Sequence[str] = (),
    train: str = "train",
    dev: str = "validation",
    metrics: Sequence[str] = (),
    more_dev: Mapping[str, str] | None = None,
    skip_labels: Sequence[str] = (),
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> TaskData:
    """Reads a task from TensorFlow Datasets, downloading and preparing it if need be.

    Args:
        dataset: name for `tfds.load`, such as "glue/sst2".
        text_a: feature of the text.
        text_b: feature of the second text, if the task has pairs.
        label: feature of the label: a class label, an integer, a text or, for regression, a float.
        labels: names of the classes; by default the dataset's own. Needed where the label is a
            plain integer or a text.
        train: split to learn from; slices such as "train[:10%]" work.
        dev: split to judge by.
        metrics: see `TaskData`.
        more_dev: further splits to judge by, by name.
        skip_labels: labels whose examples are left out, and counted: "-1" of SNLI.
        data_dir: where prepared datasets are; by default TFDS's own folder.
        download: False uses only what is prepared already.

    Raises:
        UserError: no such dataset, split or feature; a download that fails; an example without a
            known label, as the test splits of GLUE have.
    """
    others = dict(more_dev or {})
    names_of_splits = [train, dev, *others.values()]
    loaded, info = load_splits(dataset, names_of_splits, data_dir, download)
    columns = [text_a, label] if text_b is None else [text_a, text_b, label]
    for column in columns:
        if column not in info.features:
            raise UserError(
                f"tfds:{dataset} has no feature {column!r}{nearest(column, list(info.features))}. "
                f"Its features are {', '.join(map(repr, info.features))}."
            )
    names = tuple(getattr(info.features[label], "names", None) or ())
    labels = check_labels(labels or names)
    is_score = np.dtype(info.features[label].np_dtype).kind == "f"
    if labels and is_score:
        raise UserError(
            f"{label!r} of tfds:{dataset} is a score, so this is regression: leave the task's "
            "labels out."
        )
    if not labels and not is_score:
        raise UserError(
            f"{label!r} of tfds:{dataset} has no names for its values: list the task's labels, for "
            "numbers in the order of the numbers."
        )
    if names and set(labels) != set(names):
        raise UserError(
            f"The task's labels are {', '.join(map(repr, labels))}; those of tfds:{dataset} are "
            f"{', '.join(map(repr, names))}. Use these, or leave the task's labels out."
        )
    splits = [
        _split(examples, columns, labels, names or labels, f"tfds:{dataset}, {split}", skip_labels)
        for split, examples in zip(names_of_splits, loaded, strict=True)
    ]
    more = dict(zip(others, splits[2:], strict=True))
    return TaskData(dataset, labels, splits[0], splits[1], tuple(metrics), more)


def load_splits(
    dataset: str, splits: list[str], data_dir: str | os.PathLike[str] | None, download: bool
) -> tuple[list[list[dict[str, Any]]], Any]:
    """The examples of each split as dictionaries of plain values, and what TFDS knows of the set.

    Raises:
        UserError: no such dataset or split, a download that fails, or a split without examples.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise UserError(
            f"tfds:{dataset} needs the package tensorflow-datasets, which is not installed. "
            "Run: pip install tensorflow-datasets"
        ) from None
    folder = None if data_dir is None else os.fspath(data_dir)
    try:
        loaded, info = tfds.load(
            dataset, split=splits, data_dir=folder, download=download, with_info=True
        )
        examples = [list(tfds.as_numpy(one)) for one in loaded]
    # What TFDS raises for a wrong name or split, no network, a full disk or a broken file has no
    # common class; its message says which it was.
    except Exception as error:
        # Of an unknown name it lists all the names it knows, from the second line on.
        reason = str(error).split("\n")[0]
        raise UserError(
            f"TensorFlow Datasets cannot give {dataset!r} with splits {' and '.join(splits)}: "
            f"{type(error).__name__}: {reason}"
        ) from error
    for split, found in zip(splits, examples, strict=True):
        if not found:
            raise UserError(f"tfds:{dataset}: the split {split} has no examples. Name another one.")
    return examples, info


def _split(
    examples: list[dict[str, Any]],
    columns: list[str],
    labels: tuple[str, ...],
    names: tuple[str, ...],
    place: str,
    skip_labels: Sequence[str],
) -> Split:
    """Makes a split of examples whose integer labels count in `names`."""
    *text_columns, label_column = columns
    for column in text_columns:
        if not isinstance(examples[0][column], bytes):
            raise UserError(f"{place}: the feature {column!r} is not text. Name another one.")
    values = [_label_name(example[label_column], names) for example in examples]
    examples = without_labels(examples, values, skip_labels, place)
    if not examples:
        raise UserError(f"{place}: task.skip_labels leaves no example. Leave out fewer labels.")
    values = [_label_name(example[label_column], names) for example in examples]
    texts = [[example[column].decode("utf-8") for example in examples] for column in text_columns]
    places = [f"{place}, example {number}" for number in range(len(examples))]
    label = parse_labels(values, labels, places)
    return Split(texts[0], texts[1] if len(texts) == 2 else None, label)


def _label_name(value: Any, names: tuple[str, ...]) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return names[value] if names and 0 <= value < len(names) else str(value)
