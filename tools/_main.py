"""What every tool does around its own work."""

import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from tf_prune_ofa.errors import UserError


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the flags, calls `main` with the arguments that are left, and ends the process.

    A `UserError` is printed without a traceback and ends with code 1; Ctrl-C ends with 130, as
    shells expect. Messages of libraries below the level of an error are hidden unless
    TF_CPP_MIN_LOG_LEVEL or --verbosity ask for them.
    """
    # Read when TensorFlow is imported, so it has to be set before a tool does that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.ERROR)

    def guarded(argv: list[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            # The reader of our output, `head` say, has seen enough. Python would complain once more
            # when it flushes at the end, were the output still that pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    app.run(guarded, flags_parser=_parse)


def refuse_idle(are_for: str, *names: str) -> None:
    """Refuse flags that were given, and that would do nothing beside the others.

    Args:
        are_for: what they are for.
        *names: of the flags.
    """
    for name in names:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} would do nothing here: it is for {are_for}. Leave it out")


def _parse(argv: list[str]) -> list[str]:
    """Sets the flags; returns the arguments that are none."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"Error: {str(error).rstrip(' .')}. --help lists the flags.", file=sys.stderr)
        sys.exit(1)
    except SystemExit:
        # Only what was asked for ends the process here: --help and its like. absl calls that 1.
        sys.exit(0)
