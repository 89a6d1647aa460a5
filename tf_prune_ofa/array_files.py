"""Arrays in .npz files, written whole and read with every doubt refused."""

import io
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_bytes

# What reading a file raises that is not what it should be.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    OverflowError,
)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays to `path` (.npz, not compressed), whole or not at all; see `atomic_path`.

    They pass through memory: on a full disk np.savez leaves an open archive behind, which complains
    once more when it is collected.
    """
    buffer = io.BytesIO()
    named: dict[str, Any] = {**arrays}  # savez has settings of its own beside the names
    np.savez(buffer, **named)
    write_bytes(path, buffer.getvalue())


def read_arrays(
    path: str | os.PathLike[str],
    names: Iterable[str] = (),
    *,
    remedy: str = "delete it to compute it again",
) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote.

    Args:
        path: the file.
        names: of arrays that must be in it.
        remedy: what to do where the file is of no use, for the message.

    Raises:
        UserError: the file cannot be read, is damaged, or lacks one of the arrays.
    """
    try:
        with zipfile.ZipFile(path) as file:
            arrays = {
                member.filename.removesuffix(".npy"): _stored_array(file, member)
                for member in file.infolist()
            }
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; {remedy}") from error
    # An archive cut short, another kind of file, pickled objects, a header that is none.
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UserError(f"{path} is damaged (without '{missing[0]}'); {remedy}")
    return arrays


def _stored_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member that `write_arrays` wrote: as large as the file has bytes for it.

    Raises:
        ValueError: it is compressed, or its header speaks of another size; NumPy would set that
            much memory aside, whatever it is.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
        raise ValueError(f"'{member.filename}' is compressed")
    with file.open(member) as stream:
        if np.lib.format.read_magic(stream) == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        else:
            raise ValueError(f"'{member.filename}' is of another version")
        shape, _, dtype = header
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - stream.tell():
            raise ValueError(
                f"'{member.filename}' says that it has {size} bytes, and has "
                f"{member.file_size - stream.tell()}"
            )
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
