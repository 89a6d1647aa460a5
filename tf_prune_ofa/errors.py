"""Errors that a user can cause and can put right."""

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A mistake in the input, the settings or the machine, not in this package.

    The message says what was wrong, what was received and what to do. Tools print it without a
    traceback and exit with code 1.
    """


class EnvironmentMismatch(UserError, ImportError):
    """The installed packages, or the Keras that is already active, cannot run this package."""


def did_you_mean(word: str, known: Iterable[Any]) -> str:
    """What to add to a message about an unknown word; nothing where no known one is near."""
    near = difflib.get_close_matches(word, [str(name) for name in known], n=1)
    return f". Did you mean '{near[0]}'?" if near else ""
