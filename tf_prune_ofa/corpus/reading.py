"""Records of a corpus, read one by one from wherever they lie; the one module here with TensorFlow.

An index says where each record begins, so that a batch is a function of its step alone: a resumed
run goes on at its step and reads nothing twice, and no more than a batch is held in memory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.corpus import tfrecord
from tf_prune_ofa.corpus.build import VERSION
from tf_prune_ofa.corpus.examples import IDS, INDEX, LABEL, SECOND
from tf_prune_ofa.data.segments import MlmExamples
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.paths import MANIFEST


class Records:
    """A folder that `tools/prepare_corpus.py` has made.

    Attributes:
        folder: of the corpus.
        plan: settings that it was made with, as plain values.
        digest: SHA-256 of all records, whatever the number of shards.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the manifest, and compare the sizes of all files with it.

        Raises:
            UserError: the folder is not whole, or is none of records.
        """
        self.folder = Path(folder)
        manifest = read_json_object(self.folder / MANIFEST, missing={})
        if not manifest:
            raise UserError(
                f"{self.folder} has no {MANIFEST}; make the records with tools/prepare_corpus.py, "
                "or run its command again if it was stopped"
            )
        if manifest.get("version") != VERSION:
            raise UserError(
                f"{self.folder / MANIFEST} is of version {manifest.get('version')!r}, and version "
                f"{VERSION} is read here; make the records again"
            )
        self.plan: dict[str, Any] = manifest["plan"]
        self.digest: str = manifest["digest"]
        self._files: list[dict[str, Any]] = manifest["files"]
        for file in self._files:
            path = self.folder / file["name"]
            size = path.stat().st_size if path.is_file() else -1
            if size != file["bytes"]:
                found = "is missing" if size < 0 else f"has {size} bytes"
                raise UserError(
                    f"{path} {found}, the manifest says {file['bytes']}; make the records again"
                )

    @property
    def has_pairs(self) -> bool:
        """Whether examples are pairs of segments."""
        return self.plan["form"] == "pairs"

    def examples(self, split: str) -> RecordExamples:
        """Return the examples of "train" or "dev"."""
        shards = [
            (self.folder / file["name"], file["bytes"])
            for file in self._files
            if file["name"].startswith(f"{split}-")
        ]
        return RecordExamples(shards, self.folder / f"{split}.index.npy", pairs=self.has_pairs)


class RecordExamples:
    """Sequences to mask that stay on disk; else as `data.segments.MlmExamples`."""

    def __init__(self, shards: Sequence[tuple[Path, int]], index: Path, *, pairs: bool) -> None:
        """Open the index.

        Args:
            shards: paths and sizes, in order.
            index: of their records.
            pairs: whether examples are pairs of segments.

        Raises:
            UserError: the index is damaged.
        """
        self._paths = [path for path, _ in shards]
        self._ends = np.cumsum([size for _, size in shards])
        self._pairs = pairs
        try:
            self._index = np.load(index, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{index} cannot be read ({error}); make the records again") from error
        if self._index.dtype != INDEX:
            raise UserError(f"{index} is no index of records; make the records again")

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example, on disk."""
        return self._index["length"]

    def take(self, indices: Sequence[int] | np.ndarray) -> MlmExamples:
        """Return some of the examples, in the order of `indices`.

        Raises:
            UserError: a record is damaged.
        """
        rows = self._index[np.asarray(indices)]
        records = [self._record(int(row["offset"]), int(row["size"])) for row in rows]
        contents = [tfrecord.content_of(record) for record in records]
        told = [tfrecord.checksum_of(record) for record in records]
        wrong = np.flatnonzero(tfrecord.masked_crc32c(contents) != np.array(told, np.int64))
        if len(wrong):
            shard, place = self._place(int(rows[wrong[0]]["offset"]))
            raise UserError(
                f"{self._paths[shard]} is damaged in the record at byte {place}; make the records "
                "again"
            )
        ids, type_ids, labels = zip(*(self._decoded(content) for content in contents), strict=True)
        nsp_labels = np.array(labels, np.int32) if self._pairs else None
        return MlmExamples(list(ids), list(type_ids), nsp_labels)

    def _decoded(self, content: bytes) -> tuple[np.ndarray, np.ndarray, int]:
        feature = tf.train.Example.FromString(content).features.feature
        ids = np.array(feature[IDS].int64_list.value, np.int32)
        if not self._pairs:
            return ids, np.zeros(len(ids), np.int32), 0
        second = feature[SECOND].int64_list.value[0]
        type_ids = (np.arange(len(ids)) >= second).astype(np.int32)
        return ids, type_ids, int(feature[LABEL].int64_list.value[0])

    def _place(self, offset: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, offset, side="right"))
        return shard, offset - (int(self._ends[shard - 1]) if shard else 0)

    def _record(self, offset: int, size: int) -> bytes:
        shard, place = self._place(offset)
        # Reads at a place, so that threads share the file.
        return os.pread(self._file(shard), size, place)

    @functools.cache  # noqa: B019 - as long as the examples
    def _file(self, shard: int) -> int:
        return os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
