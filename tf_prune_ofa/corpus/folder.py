"""The folder of a corpus: what is in it while it is made, and when it is whole.

    manifest.json                    written last: without it the folder is not whole
    train-00000-of-00003.tfrecord    records; behind each other they are in one order
    train.index.npy                  where each record begins, for reading from the middle
    dev-..., dev.index.npy           the same of the held-out documents
    unfinished/                      of a run that has not ended
        plan.json                    what it makes
        pieces/000007/000.bundles     documents as ids
        parts/00012/                 the records of a bucket

Every file and folder is written under another name and renamed when it is complete.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.corpus.examples import SPLITS, Part
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import atomic_folder, remove_leftovers, require_writable_dir
from tf_prune_ofa.json_files import read_json_object, write_json
from tf_prune_ofa.paths import MANIFEST

_UNFINISHED = "unfinished"


class Workshop:
    """A corpus in the making; a later run with the same plan goes on where this one ended."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        """Open the folder.

        Args:
            folder: of the corpus.
            plan: plain values of everything that decides the records, and what is in which piece.

        Raises:
            UserError: the folder has records, or the beginning of records, of another plan.
        """
        self.folder = folder
        self._inside = folder / _UNFINISHED
        self._pieces, self._parts = self._inside / "pieces", self._inside / "parts"
        require_writable_dir(folder)
        written = self._inside / "plan.json"
        begun = read_json_object(written, missing={})
        if begun and begun != plan:
            raise UserError(
                f"{folder} has the beginning of another corpus: {_difference(begun, plan)}. Give "
                f"the same sources and flags to go on with it, delete {self._inside}, or choose "
                "another --output"
            )
        if not begun:
            others = [p.name for p in folder.iterdir() if p != self._inside]
            if others:
                raise UserError(
                    f"{folder} is not empty (it has {others[0]}); choose another --output"
                )
            write_json(written, plan)
        for place in (folder, self._inside, self._pieces, self._parts):
            place.mkdir(exist_ok=True)
            remove_leftovers(place)

    # Pieces

    def has_piece(self, number: int) -> bool:
        """Return whether the documents of a piece are here."""
        return self._piece(number).is_dir()

    def write_piece(self, number: int, groups: Iterable[dict[int, bytes]], buckets: int) -> None:
        """Write the bundles of a piece.

        Args:
            number: of the piece.
            groups: of bundles by bucket, as `bundles.bundles_of` yields them.
            buckets: how many there are.
        """
        with atomic_folder(self._piece(number)) as folder:
            for count, bundles in enumerate(groups):
                sizes = [len(bundles.get(bucket, b"")) for bucket in range(buckets)]
                with open(folder / f"{count:03d}.bundles", "wb") as file:
                    file.write(np.cumsum([0, *sizes], dtype=np.int64).tobytes())
                    for bucket in sorted(bundles):
                        file.write(bundles[bucket])

    def bundles(self, bucket: int, buckets: int) -> list[bytes]:
        """Return all bundles of a bucket."""
        found = []
        for path in sorted(self._pieces.glob("*/*.bundles")):
            with open(path, "rb") as file:
                file.seek(8 * bucket)
                start, end = struct.unpack("<qq", file.read(16))
                if end > start:
                    file.seek(8 * (buckets + 1) + start)
                    found.append(file.read(end - start))
        return found

    def _piece(self, number: int) -> Path:
        return self._pieces / f"{number:06d}"

    # Parts

    def has_part(self, bucket: int) -> bool:
        """Return whether the records of a bucket are here."""
        return self.part(bucket).is_dir()

    def part(self, bucket: int) -> Path:
        """Return the folder of a bucket's records."""
        return self._parts / f"{bucket:05d}"

    def write_part(self, bucket: int, parts: dict[str, Part]) -> None:
        """Write the records of a bucket."""
        with atomic_folder(self.part(bucket)) as folder:
            for split in SPLITS:
                (folder / f"{split}.tfrecord").write_bytes(parts[split].data)
                np.save(folder / f"{split}.index.npy", parts[split].index)
            described = {s: {"counts": p.counts, "sha256": p.sha256} for s, p in parts.items()}
            write_json(folder / "part.json", described)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, and remove what was needed on the way."""
        write_json(self.folder / MANIFEST, manifest)
        shutil.rmtree(self._inside)


def _difference(begun: dict[str, Any], plan: dict[str, Any]) -> str:
    names = [name for name in {**begun, **plan} if begun.get(name) != plan.get(name)]
    return ", ".join(f"{name} was {begun.get(name)!r}"[:120] for name in names[:3])
