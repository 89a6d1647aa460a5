"""Tasks from TensorFlow Datasets."""

import os
from collections.abc import Sequence
from typing import Any

from tf_prune_ofa.data.task_data import Split, TaskData, check_labels, nearest, parse_labels
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
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> TaskData:
    """Reads a task from TensorFlow Datasets, downloading and preparing it if need be.

    Args:
        dataset: name for `tfds.load`, such as "glue/sst2".
        text_a: feature of the text.
        text_b: feature of the second text, if the task has pairs.
        label: feature of the label: a class label, an integer or, for regression, a float.
        labels: names of the classes; by default the dataset's own. Needed where the label is a
            plain integer.
        train: split to learn from; slices such as "train[:10%]" work.
        dev: split to judge by.
        data_dir: where prepared datasets are; by default TFDS's own folder.
        download: False uses only what is prepared already.

    Raises:
        UserError: no such dataset, split or feature; a download that fails; an example without a
            known label, as the test splits of GLUE have.
    """
    loaded, info = _load(dataset, [train, dev], data_dir, download)
    columns = [text_a, label] if text_b is None else [text_a, text_b, label]
    for column in columns:
        if column not in info.features:
            raise UserError(
                f"tfds:{dataset} has no feature {column!r}{nearest(column, list(info.features))}. "
                f"Its features are {', '.join(map(repr, info.features))}."
            )
    names = tuple(getattr(info.features[label], "names", None) or ())
    labels = check_labels(labels or names)
    if not labels and info.features[label].np_dtype.kind != "f":
        raise UserError(
            f"The label of tfds:{dataset} is a number without names: list the task's labels in the "
            "order of these numbers."
        )
    if names and set(labels) != set(names):
        raise UserError(
            f"The task's labels are {', '.join(map(repr, labels))}; those of tfds:{dataset} are "
            f"{', '.join(map(repr, names))}. Use these, or leave the task's labels out."
        )
    splits = [
        _split(list(examples), columns, labels, names or labels, f"tfds:{dataset}, {split}")
        for split, examples in zip([train, dev], loaded, strict=True)
    ]
    return TaskData(dataset, labels, *splits)


def _load(
    dataset: str, splits: list[str], data_dir: str | os.PathLike[str] | None, download: bool
) -> tuple[Any, Any]:
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
    # What TFDS raises for a wrong name, a wrong split, no network or a full disk has no common
    # class; its message says which it was.
    except Exception as error:
        raise UserError(
            f"TensorFlow Datasets cannot give {dataset!r} with splits {' and '.join(splits)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return [tfds.as_numpy(one) for one in loaded], info


def _split(
    examples: list[dict[str, Any]],
    columns: list[str],
    labels: tuple[str, ...],
    names: tuple[str, ...],
    place: str,
) -> Split:
    """Makes a split of examples whose integer labels count in `names`."""
    if not examples:
        raise UserError(f"{place} has no examples. Name another split.")
    texts = [[example[column].decode("utf-8") for example in examples] for column in columns[:-1]]
    values = [
        names[value] if labels and 0 <= value < len(names) else str(value)
        for value in (example[columns[-1]] for example in examples)
    ]
    places = [f"{place}, example {number}" for number in range(len(examples))]
    label = parse_labels(values, labels, places)
    return Split(texts[0], texts[1] if len(texts) == 2 else None, label)
