"""The nine tasks of GLUE by name: columns, labels and official metrics (Wang et al. 2019).

Each is read from TensorFlow Datasets, or from a folder with the benchmark's TSV files.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from tf_prune_ofa.data.tables import table_task
from tf_prune_ofa.data.task_data import TaskData, nearest
from tf_prune_ofa.data.tfds_task import tfds_task
from tf_prune_ofa.errors import UserError


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """One task of the benchmark.

    Attributes:
        text_a, text_b: features in TensorFlow Datasets; "" means single sentences.
        labels: names in the order of the logits; empty for regression.
        metrics: the official scores; the first is the main one.
        columns: names in the TSV files of text_a, text_b (where there is one) and label.
        label_values: how the TSV files write the labels; empty means as they are.
        header: whether the TSV files begin with a line of names.
        score_range: of a regression.
        short_rows: some rows of the published files were broken in two, and lack columns.
        dev: name of the split to judge by: in TensorFlow Datasets "validation" + name, as a file
            "dev" + name + ".tsv".
        more_dev: further splits to judge by: a word for the figures, and the name.
    """

    text_a: str
    text_b: str = ""
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    columns: tuple[str, ...] = ()
    label_values: tuple[str, ...] = ()
    header: bool = True
    score_range: tuple[float, float] = (-math.inf, math.inf)
    short_rows: bool = False
    dev: str = ""
    more_dev: tuple[tuple[str, str], ...] = ()


_NUMBERS = ("0", "1")
_SENTENCES = ("sentence1", "sentence2")

GLUE_TASKS = {
    "cola": GlueTask(
        "sentence",
        labels=("unacceptable", "acceptable"),
        metrics=("matthews", "accuracy"),
        columns=("4", "2"),
        label_values=_NUMBERS,
        header=False,
    ),
    "sst2": GlueTask(
        "sentence",
        labels=("negative", "positive"),
        columns=("sentence", "label"),
        label_values=_NUMBERS,
    ),
    "mrpc": GlueTask(
        *_SENTENCES,
        labels=("not_equivalent", "equivalent"),
        metrics=("f1", "accuracy"),
        columns=("#1 String", "#2 String", "Quality"),
        label_values=_NUMBERS,
    ),
    "stsb": GlueTask(
        *_SENTENCES,
        metrics=("pearson", "spearman"),
        columns=(*_SENTENCES, "score"),
        score_range=(0.0, 5.0),
    ),
    "qqp": GlueTask(
        "question1",
        "question2",
        labels=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        columns=("question1", "question2", "is_duplicate"),
        label_values=_NUMBERS,
        short_rows=True,
    ),
    "mnli": GlueTask(
        "premise",
        "hypothesis",
        labels=("entailment", "neutral", "contradiction"),
        columns=(*_SENTENCES, "gold_label"),
        dev="_matched",
        more_dev=(("mismatched", "_mismatched"),),
    ),
    "qnli": GlueTask(
        "question",
        "sentence",
        labels=("entailment", "not_entailment"),
        columns=("question", "sentence", "label"),
    ),
    "rte": GlueTask(
        *_SENTENCES,
        labels=("entailment", "not_entailment"),
        columns=(*_SENTENCES, "label"),
    ),
    "wnli": GlueTask(
        *_SENTENCES,
        labels=("not_entailment", "entailment"),
        columns=(*_SENTENCES, "label"),
        label_values=_NUMBERS,
    ),
}


def glue_task(name: str, *, folder: str | os.PathLike[str] = "", **options: Any) -> TaskData:
    """Reads a task of GLUE.

    Args:
        name: a key of `GLUE_TASKS`.
        folder: with train.tsv and dev.tsv (MNLI: dev_matched.tsv and dev_mismatched.tsv) as the
            benchmark has them; "" reads TensorFlow Datasets.
        **options: `data_dir` and `download` of `tfds_task.tfds_task`.

    Raises:
        UserError: no such task, or its data cannot be read.
    """
    task = find_glue_task(name)
    if not folder:
        return tfds_task(
            f"glue/{name}",
            text_a=task.text_a,
            text_b=task.text_b or None,
            dev="validation" + task.dev,
            metrics=task.metrics,
            more_dev={word: "validation" + split for word, split in task.more_dev},
            **options,
        )
    *texts, label = task.columns
    return table_task(
        f"glue/{name}",
        train=glue_files(name, folder)[0],
        dev=Path(folder) / f"dev{task.dev}.tsv",
        text_a=texts[0],
        text_b=texts[1] if task.text_b else None,
        label=label,
        labels=task.labels,
        label_values=task.label_values,
        header=task.header,
        metrics=task.metrics,
        more_dev={word: Path(folder) / f"dev{split}.tsv" for word, split in task.more_dev},
        score_range=task.score_range,
        skip_short_rows=task.short_rows,
    )


def glue_files(name: str, folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a task in a folder: training examples, then those to judge by."""
    task = find_glue_task(name)
    names = ["train", "dev" + task.dev, *("dev" + split for _, split in task.more_dev)]
    return [Path(folder) / f"{one}.tsv" for one in names]


def find_glue_task(name: str) -> GlueTask:
    """The entry of a task.

    Raises:
        UserError: no such task.
    """
    if name not in GLUE_TASKS:
        raise UserError(
            f"GLUE has no task {name!r}{nearest(name, list(GLUE_TASKS))}. Its tasks here are "
            f"{', '.join(GLUE_TASKS)}."
        )
    return GLUE_TASKS[name]
