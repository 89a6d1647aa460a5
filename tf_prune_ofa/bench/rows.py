"""What one line of a benchmark is: a model file, the runtime that runs it, and its options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Behind the name of a file, where it ran with the delegate.
DELEGATE_SUFFIX = ", delegate"


@dataclass(frozen=True)
class Row:
    """Something to measure.

    Attributes:
        path: the model file.
        runtime: one of `runners.NAMES`.
        options: what the runtime is opened with beside the number of threads, as plain JSON
            values; see the classes in `runners`.
        python: the interpreter that has the runtime; None means this one.
        label: how tables name it; "" means by the file's name.
    """

    path: Path
    runtime: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None
    label: str = ""


def with_delegate(row: Row, library: str | os.PathLike[str]) -> Row:
    """Return a row that runs the same file with the sparse INT8 delegate."""
    options = {**row.options, "delegate": os.fspath(library)}
    return replace(row, options=options, label=f"{row.path.name}{DELEGATE_SUFFIX}")


def row_labels(rows: list[Row]) -> list[str]:
    """Return labels that differ: a row's own, or its file's name, with the folder where needed."""
    names = [row.label or row.path.name for row in rows]
    return [
        name if names.count(name) == 1 else os.fspath(Path(row.path.parent.name, name))
        for row, name in zip(rows, names, strict=True)
    ]
