"""Errors that a user can cause and can put right."""


class UserError(Exception):
    """A mistake in the input, the settings or the machine, not in this package.

    The message says what was wrong, what was received and what to do. Tools print it without a
    traceback and exit with code 1.
    """


class EnvironmentMismatch(UserError, ImportError):
    """The installed packages, or the Keras that is already active, cannot run this package."""
