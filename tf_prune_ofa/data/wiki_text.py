"""WikiExtractor's text as a corpus file: a document a line, in random order."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import atomic_path

_OPENERS = {".xz": lzma.open, ".bz2": bz2.open, ".gz": gzip.open}


def read_documents(path: str | Path, *, min_characters: int = 0) -> Iterator[str]:
    """Yield the documents of a file in WikiExtractor's form, each as one line without its title.

    Args:
        path: plain, or packed as .xz, .bz2 or .gz.
        min_characters: leave shorter documents out: they are lists and redirects.

    Raises:
        UserError: the file cannot be read, is damaged, or has no `<doc ...>` line.
    """
    opener: Any = _OPENERS.get(Path(path).suffix, open)
    found = False
    try:
        with opener(path, "rt", encoding="utf-8", errors="strict") as file:
            for text in documents_in((True, line) for line in file):
                found = True
                if text and len(text) >= min_characters:
                    yield text
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: {error}") from error
    if not found:
        raise UserError(
            f"{path} has no '<doc ...>' line; WikiExtractor writes one before each document. Run "
            "it on the dump first, without --json"
        )


def documents_in(lines: Iterable[tuple[bool, str]]) -> Iterator[str]:
    """Yield the documents of WikiExtractor's lines, each as one line without its title.

    Args:
        lines: each with whether a document that begins there is wanted; the first one that is not
            ends the reading.
    """
    parts: list[str] | None = None
    for is_wanted, raw in lines:
        line = " ".join(raw.split())
        if line.startswith("<doc "):
            if not is_wanted:
                return
            parts = []
        elif line.startswith("</doc>"):
            if parts is not None:
                yield " ".join(parts[1:])
            parts = None
        elif parts is not None and line:
            parts.append(line)


def write_corpus(
    paths: Iterable[str | Path],
    target: str | Path,
    *,
    megabytes: float,
    min_characters: int = 400,
    seed: int = 0,
) -> tuple[int, int]:
    """Write a random selection of documents to `target`, a document a line.

    Args:
        paths: files for `read_documents`.
        target: text file that `task.corpus` of a recipe can name.
        megabytes: how much text at most, in million bytes; 0 for all of it.
        min_characters: of a document.
        seed: of the order; a file of another size with the same seed begins with the same text.

    Returns:
        Number of documents and of bytes written.

    Raises:
        UserError: see `read_documents`; or no document is long enough.
    """
    documents = [d for path in paths for d in read_documents(path, min_characters=min_characters)]
    if not documents:
        raise UserError(f"no document has {min_characters} characters; choose fewer")
    order = np.random.default_rng(seed).permutation(len(documents))
    limit = megabytes * 1e6 or float("inf")
    count = size = 0
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        for place in order:
            line = documents[place].encode() + b"\n"
            if size + len(line) > limit and count:
                break
            file.write(line)
            count, size = count + 1, size + len(line)
    return count, size
