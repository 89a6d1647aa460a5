"""A task given from Python: data in memory, or a name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.plain_values import digest, settings_of
from tf_prune_ofa.recipe_files import named_task

Texts = Sequence[str] | Sequence[tuple[str, str]]
Examples = tuple[Texts, Sequence[Any] | None]


@dataclass(frozen=True)
class Task:
    """A labelled task: data in memory, a task that the package knows by name, or its settings.

    Attributes:
        name: of a task in configs/tasks, e.g. "sst2"; "" for data or settings of your own.
        train, dev: (texts, labels) to learn from, and to be judged by. A text is a string, or a
            pair of strings; a label is one of `labels`, its index, or without `labels` a number;
            where the task's source needs none (embeddings), None stands for all of them; where a
            text may have several (multilabel), it is a list.
        labels: names of the classes in the order of the logits; empty means a regression.
        settings: further settings, as in a recipe's section `task` (`config.TaskSettings`), e.g.
            {"max_length": 128} or {"source": "squad", "train": "train.json", "dev": "dev.json"}.

    Raises:
        UserError: neither data nor name nor settings, two of them, or data of one side only.
    """

    name: str = ""
    train: Examples | None = None
    dev: Examples | None = None
    labels: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.train is None) != (self.dev is None):
            raise UserError(
                "a task needs both train and dev: texts and labels to learn from, and others to be "
                "judged by; give both, or neither and a name"
            )
        if self.name and self.train is not None:
            raise UserError(
                f"the task has a name, {self.name!r}, and data of its own; leave out one of them"
            )
        if self.train is None and not self.name and not self.settings:
            raise UserError(
                'a task needs data (train=, dev=), a name such as "sst2", or settings of a source'
            )

    def resolve(self, folder: Path) -> TaskSettings:
        """Return the task as settings of a recipe; data in memory goes to files in `folder`.

        Raises:
            UserError: unknown name or setting, texts and labels of different numbers, something
                that is no text, or no index of a label.
        """
        settings = dict(self.settings)
        if self.name:
            settings = {**named_task(self.name, Path()), **settings}
        if self.train is None or self.dev is None:
            return settings_of(TaskSettings, settings, "task")
        rows = {"train": self._rows("train", self.train), "dev": self._rows("dev", self.dev)}
        key = digest(rows)[:16]
        for side, of_side in rows.items():
            path = folder / f"task-{key}-{side}.jsonl"
            if not path.exists():
                write_text(path, "".join(json.dumps(row) + "\n" for row in of_side))
            settings[side] = str(path)
        columns = {"text_a": "text_a", "label": "label"}
        if "text_b" in rows["dev"][0]:
            columns["text_b"] = "text_b"
        if self.labels:
            settings["labels"] = list(self.labels)
        if "label" not in rows["dev"][0]:
            columns["label"] = ""
        settings = {"source": "files", **settings, **columns}
        return settings_of(TaskSettings, settings, "task")

    def _rows(self, side: str, examples: Examples) -> list[dict[str, Any]]:
        texts, labels = examples
        if labels is None and self.settings.get("source", "files") == "files":
            raise UserError(f"task.{side} has texts without labels; give (texts, labels)")
        has_labels = labels is not None
        labels = labels if labels is not None else [None] * len(texts)
        if isinstance(texts, str) or len(texts) != len(labels) or not len(texts):
            raise UserError(
                f"task.{side} must be a list of texts and one of as many labels, at least one; got "
                f"{len(texts)} and {len(labels)}"
            )
        rows: list[dict[str, Any]] = []
        for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
            where = f"task.{side}, example {number}"
            parts = (text,) if isinstance(text, str) else text
            is_text = isinstance(parts, tuple | list) and len(parts) in (1, 2)
            if not is_text or not all(isinstance(part, str) for part in parts):
                raise UserError(f"{where} must be a text or a pair of texts, got {text!r:.80}")
            if rows and ("text_b" in rows[0]) != (len(parts) == 2):
                raise UserError(f"{where}: single texts and pairs are mixed; give one kind")
            row = dict(zip(("text_a", "text_b"), parts, strict=False))
            rows.append({**row, "label": self._label(label, where)} if has_labels else row)
        return rows

    def _label(self, label: Any, where: str) -> Any:
        if isinstance(label, list | tuple | set | frozenset):  # of a text with several
            return sorted({self._label(one, where) for one in label})
        label = label.item() if hasattr(label, "item") else label  # NumPy's numbers
        if self.labels and isinstance(label, int) and not isinstance(label, bool):
            if not 0 <= label < len(self.labels):
                raise UserError(
                    f"{where}: the label {label} is no index into {list(self.labels)}; they begin "
                    "at 0"
                )
            return self.labels[label]
        if not isinstance(label, str | int | float):
            raise UserError(f"{where}: a label must be a name or a number, got {label!r:.80}")
        return label
