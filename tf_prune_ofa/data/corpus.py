"""The unlabelled text that a recipe names: files, or what is installed with the quickstart."""

from __future__ import annotations

from pathlib import Path

from tf_prune_ofa.config import CorpusSettings
from tf_prune_ofa.data import reviews
from tf_prune_ofa.data.text_files import read_text
from tf_prune_ofa.errors import UserError

DEV_SHARE = 0.05  # of the documents of files, as in the reference
INSTALLED = "reviews"

Documents = list[list[str]]  # of each document its passages


def corpus_files(corpus: CorpusSettings) -> list[Path]:
    """The files that the text is in.

    Raises:
        UserError: the installed text is named, and not installed.
    """
    return [reviews.find_corpus() if name == INSTALLED else Path(name) for name in corpus.files]


def corpus_documents(corpus: CorpusSettings) -> tuple[Documents, Documents]:
    """Documents to learn from, and held-out ones to judge by, which do not depend on a seed.

    The installed text holds out the films that its task is judged on.

    Raises:
        UserError: a file that cannot be read, or no text in any.
    """
    train: Documents = []
    dev: Documents = []
    for name in corpus.files:
        if name == INSTALLED:
            train += reviews.unlabelled_text(side="train")
            dev += reviews.unlabelled_text(side="dev")
    lines = [
        [line]
        for name in corpus.files
        if name != INSTALLED
        for line in read_text(Path(name)).splitlines()
        if line.strip()
    ]
    if not lines and not train:
        raise UserError(
            f"the corpus {', '.join(corpus.files)} has no text; give files with a document on each "
            "line"
        )
    count = corpus.limit or len(lines) + len(train)
    lines = lines[:count]
    # By position, so that the same documents stay out whatever the seed.
    period = round(1 / DEV_SHARE)
    train = train[:count] + [line for number, line in enumerate(lines) if number % period]
    return train, dev[:count] + lines[::period]
