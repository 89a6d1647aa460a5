"""Encoders that a recipe can name: the dense one of the quickstart, and sparse ones made from it.

The sparse ones come with this package, each as a small file with a card beside it; `models.shipped`
unpacks them. Nothing heavy is imported here: recipes are checked by these names.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

BASE = "minilm_l6"
SUFFIX = ".npz"


def shipped_encoders() -> dict[str, Path]:
    """Return the packed files of the sparse encoders, by the encoders' names."""
    folder = Path(str(importlib.resources.files(__name__)))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def encoder_names() -> list[str]:
    """Return the names of all encoders that need no folder, handle or download."""
    return [BASE, *shipped_encoders()]
