"""JSON files, written whole and read with one clear error."""

import json
import os
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON to `path`, whole or not at all; see `atomic_path`.

    NumPy scalars and arrays are written as numbers and lists, paths as strings.

    Raises:
        UserError: the file cannot be written there.
        ValueError: `value` holds NaN or an infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, default=_json_value) + "\n")


def read_json(
    path: str | os.PathLike[str], *, remedy: str = "delete it to make it again"
) -> dict[str, Any]:
    """Reads a JSON object that this package wrote.

    Args:
        path: the file.
        remedy: what to do where the file is of no use, for the message.

    Raises:
        UserError: the file cannot be read, is no JSON (NaN is none), or is no object.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged ({type(value).__name__} for an object); {remedy}")
    return value


def read_json_object(
    path: str | os.PathLike[str], *, missing: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: the file.
        missing: what to return where there is no such file; None makes that an error.

    Raises:
        UserError: the file cannot be read, is no JSON, or holds something else than an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise UserError(
            f"{path.parent} has no {path.name}; give a folder with a whole model"
        ) from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); get the file again") from error
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read; get the file again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, not an object; get it again")
    return value


def _json_value(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")
