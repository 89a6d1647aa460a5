"""Encoders that a recipe can name: the dense one of the quickstart, and sparse ones made from it.

The sparse ones come with this package, each as a small file with a card beside it; `models.shipped`
unpacks them. Nothing heavy is imported here: recipes are checked by these names.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

BASE = "minilm_l6"
SUFFIX = ".npz"
# Kind of a tokenizer, as tokenizer.json calls it -> a small vocabulary of that kind for random
# weights, as --tiny has them. Learned from this package's README.
TINY_VOCABULARIES = {"BPE": "tiny_bpe", "Unigram": "tiny_unigram"}


def shipped_encoders() -> dict[str, Path]:
    """Return the packed files of the sparse encoders, by the encoders' names."""
    return {path.stem: path for path in sorted(_folder().glob(f"*{SUFFIX}"))}


def tiny_vocabularies() -> dict[str, Path]:
    """Return the folders of `TINY_VOCABULARIES` by name; they hold no weights."""
    return {name: _folder() / name for name in TINY_VOCABULARIES.values()}


def encoder_names() -> list[str]:
    """Return the names of all encoders that need no folder, handle or download."""
    return [BASE, *shipped_encoders()]


def _folder() -> Path:
    return Path(str(importlib.resources.files(__name__)))
