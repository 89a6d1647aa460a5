"""Makes the records of a corpus on this machine, and shards of what any runner made."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.corpus.bundles import bundles_of
from tf_prune_ofa.corpus.examples import INDEX, SPLITS, parts_of
from tf_prune_ofa.corpus.folder import Workshop
from tf_prune_ofa.corpus.plan import Plan
from tf_prune_ofa.corpus.sources import Unit, pieces_of
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import atomic_path, sha256_of
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.paths import MANIFEST

VERSION = 1  # of the folder's form
Runner = Callable[[Plan, Sequence[Unit], Workshop], None]


def build(
    plan: Plan, units: Sequence[Unit], folder: Path, *, shards: int, runner: Runner
) -> dict[str, Any]:
    """Make the records of all units in `folder`; return the manifest.

    Args:
        plan: settings.
        units: the text.
        folder: of the corpus; one of a killed run with the same plan is finished.
        shards: files of each split; they change no record and no order.
        runner: makes the part of every bucket: `local`, or one of `beam_run`.

    Raises:
        UserError: the folder is another corpus's, a source is damaged, there are more shards than
            buckets, or no document.
    """
    if not 1 <= shards <= plan.buckets:
        raise UserError(
            f"--shards is {shards}, and this corpus has {plan.buckets} buckets, which are not cut: "
            f"choose 1 to {plan.buckets}, or more --buckets"
        )
    described = {"plan": plan.described(), "sources": _sources(units)}
    manifest = read_json_object(folder / MANIFEST, missing={})
    if manifest:
        made = {name: manifest.get(name) for name in described}
        if made != described or manifest.get("shards_per_split") != shards:
            raise UserError(
                f"{folder} has the records of other settings or sources; choose another --output"
            )
        print(f"{folder} is whole already")
        return manifest
    # How text is cut changes no record, but what was begun can be finished only as it was cut.
    workshop = Workshop(folder, {**described, "pieces": len(pieces_of(units))})
    runner(plan, units, workshop)
    counts, content = _write_shards(plan, workshop, shards)
    if not counts["train"].get("examples"):
        shutil.rmtree(folder)
        raise UserError(
            f"no document has {plan.min_characters} characters and a word; choose a lower "
            "--min_characters, or other text"
        )
    manifest = {"version": VERSION, **described, "shards_per_split": shards, **content}
    workshop.finish(manifest)
    return manifest


def local(processes: int) -> Runner:
    """Return a runner that works in this process, or in some like it."""

    def run(plan: Plan, units: Sequence[Unit], workshop: Workshop) -> None:
        missing = [b for b in range(plan.buckets) if not workshop.has_part(b)]
        if not missing:
            return
        pieces = pieces_of(units)
        left = [n for n in range(len(pieces)) if not workshop.has_piece(n)]
        with _workers(processes) as do:
            do("text", write_piece, [(n, pieces[n], plan, workshop) for n in left])
            do("records", write_part, [(bucket, plan, workshop) for bucket in missing])

    return run


def write_piece(number: int, units: Sequence[Unit], plan: Plan, workshop: Workshop) -> None:
    """Tokenize a piece of the text."""
    workshop.write_piece(number, bundles_of(units, plan), plan.buckets)


def write_part(bucket: int, plan: Plan, workshop: Workshop) -> None:
    """Make the records of a bucket."""
    workshop.write_part(bucket, parts_of(workshop.bundles(bucket, plan.buckets), plan))


@contextlib.contextmanager
def _workers(processes: int) -> Iterator[Callable[..., None]]:
    if processes == 1:
        yield lambda title, function, items: _for_all(title, function, items)
        return
    # They tokenize beside each other; threads of their own would only get in the way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:

        def do(title: str, function: Callable[..., None], items: list[tuple[Any, ...]]) -> None:
            jobs = [pool.submit(function, *item) for item in items]
            try:
                for job in tqdm(as_completed(jobs), desc=title, total=len(jobs), mininterval=1.0):
                    job.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

        yield do


def _for_all(title: str, function: Callable[..., None], items: Iterable[tuple[Any, ...]]) -> None:
    for item in tqdm(list(items), desc=title, mininterval=1.0):
        function(*item)


def _write_shards(
    plan: Plan, workshop: Workshop, shards: int
) -> tuple[dict[str, dict[str, int]], dict[str, Any]]:
    """Put the parts into shards; return the counts, and what the manifest says of the content."""
    counts: dict[str, dict[str, int]] = {}
    files: list[dict[str, Any]] = []
    whole = hashlib.sha256()
    for split in SPLITS:
        counts[split] = {}
        indices, offset = [], 0
        for shard in range(shards):
            # Buckets are put into shards in order, so that the order of all records is one.
            buckets = [b for b in range(plan.buckets) if b * shards // plan.buckets == shard]
            path = workshop.folder / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"
            digest, examples = hashlib.sha256(), 0
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                for bucket in buckets:
                    part = workshop.part(bucket)
                    data = (part / f"{split}.tfrecord").read_bytes()
                    index = np.load(part / f"{split}.index.npy")
                    index["offset"] += offset
                    indices.append(index)
                    offset += len(data)
                    examples += len(index)
                    digest.update(data)
                    whole.update(data)
                    file.write(data)
                    told = read_json_object(part / "part.json")[split]["counts"]
                    for name, value in told.items():
                        counts[split][name] = counts[split].get(name, 0) + value
                size = file.tell()
            files.append(
                {
                    "name": path.name,
                    "examples": examples,
                    "bytes": size,
                    "sha256": digest.hexdigest(),
                }
            )
        path = workshop.folder / f"{split}.index.npy"
        with atomic_path(path) as temporary:
            np.save(temporary, np.concatenate([np.zeros(0, INDEX), *indices]))
        files.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)})
    return counts, {"counts": counts, "files": files, "digest": whole.hexdigest()}


def _sources(units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Return names and sizes of the sources; of files the size on disk, which a change shows."""
    found: dict[str, dict[str, Any]] = {}
    for unit in units:
        one = found.setdefault(unit.name, {"name": unit.name, "kind": unit.kind, "size": 0})
        one["size"] += unit.size
    return list(found.values())
