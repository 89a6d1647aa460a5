"""Hugging Face `tokenizers`, which is there to train and need not be there to run a file."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tf_prune_ofa.errors import UserError


def is_installed() -> bool:
    """Whether `tokenizers` can be imported."""
    return importlib.util.find_spec("tokenizers") is not None


def tokenizers_for(what: str) -> ModuleType:
    """Return the module `tokenizers`.

    Args:
        what: needs it, for the message.

    Raises:
        UserError: it is not installed.
    """
    if not is_installed():
        raise UserError(
            f"{what} needs the package tokenizers, which is not installed. Run: pip install "
            "'tokenizers>=0.21,<1' (the extra [tokenizers] of this package)"
        )
    import tokenizers

    return tokenizers
