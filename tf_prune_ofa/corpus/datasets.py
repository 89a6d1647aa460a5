"""Prepared datasets of TensorFlow Datasets, read only and a range at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tf_prune_ofa.errors import UserError

PREFIX = "tfds:"


def ranges_of(
    name: str, unit_bytes: int, most_units: int, folder: str
) -> list[tuple[int, int, int]]:
    """Return ranges of a dataset's examples, each with its size in bytes.

    Args:
        name: "tfds:NAME" or "tfds:NAME:SPLIT"; the split is "train" where it is not said.
        unit_bytes: of a range, about.
        most_units: how many ranges at most.
        folder: where prepared datasets are; "" for TensorFlow Datasets' own.

    Raises:
        UserError: it is not installed, not prepared, or has no such split.
    """
    _, split, builder = _opened(name, folder)
    info = builder.info.splits[split]
    size = max(1, info.num_bytes)
    parts = max(1, min(-(-size // unit_bytes), most_units))
    step = max(1, -(-info.num_examples // parts))
    starts = range(0, info.num_examples, step)
    ends = [*starts[1:], info.num_examples]
    share = size / max(1, info.num_examples)
    return [(a, b, int((b - a) * share)) for a, b in zip(starts, ends, strict=True)]


def read(name: str, start: int, end: int, folder: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a range, in the dataset's own order.

    Raises:
        UserError: as `ranges_of`, or the dataset is damaged.
    """
    tfds, split, builder = _opened(name, folder)
    try:
        yield from tfds.as_numpy(builder.as_dataset(split=f"{split}[{start}:{end}]"))
    # What it raises for a broken file has no common class.
    except Exception as error:
        raise UserError(f"{name} cannot be read: {type(error).__name__}: {error}") from error


def _opened(name: str, folder: str) -> tuple[Any, str, Any]:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise UserError(
            f"{name} needs the package tensorflow-datasets, which is not installed. Run: pip "
            "install 'tf_prune_ofa[train]'"
        ) from None
    dataset, _, split = name.removeprefix(PREFIX).partition(":")
    split = split or "train"
    try:
        builder = tfds.builder(dataset, **({"data_dir": folder} if folder else {}))
        is_there = bool(builder.info.splits)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{name} cannot be opened: {type(error).__name__}: {reason}") from error
    if not is_there:
        raise UserError(
            f"{name} is not prepared here; prepare it with TensorFlow Datasets first "
            f"(tfds build {dataset}), or name its folder: --tfds_dir=FOLDER"
        )
    if split not in builder.info.splits:
        raise UserError(f"{name} has the splits {', '.join(builder.info.splits)}, not {split!r}")
    return tfds, split, builder
