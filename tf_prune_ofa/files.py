"""Write files whole or not at all.

Everything is written under a temporary name in the folder of its final name and renamed when it is
complete, so that a full disk, an exception or a kill leaves the old file, never half of a new one.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tf_prune_ofa.errors import UserError

# The final name stays at the end of the temporary one: np.savez, h5py and tf_keras choose their
# format, or append an ending, by the ending they see.
_TEMPORARY_PREFIX = ".partial-"

_ADVICE = {
    errno.ENOSPC: "Free some space there, or choose a folder on another disk.",
    errno.EDQUOT: "Your quota is used up: free some space, or choose a folder on another disk.",
    errno.EFBIG: "Raise the file size limit (ulimit -f), or choose another file system.",
    errno.EACCES: "Give yourself the right to write there, or choose another folder.",
    errno.EPERM: "Give yourself the right to write there, or choose another folder.",
    errno.EROFS: "This file system is mounted read-only: choose another folder.",
    errno.ENOTDIR: "A part of this path is a file: remove that file, or choose another folder.",
    errno.EEXIST: "A part of this path is a file: remove that file, or choose another folder.",
    errno.EISDIR: "A folder has this name: remove it, or choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name or folder.",
    errno.EIO: "The disk reports a failure: choose a folder on another disk.",
}


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path to write to, and renames it to `path` when the block ends well.

    The temporary path is in the same folder (a rename is atomic only inside one file system) and
    ends in the name of `path`. Missing parent folders are created. If the block raises, the
    temporary file is removed and an older file at `path` stays as it was.

    Args:
        path: the file to create or to replace.

    Yields:
        The temporary path. The block must create a file there.

    Raises:
        UserError: the file cannot be written there (full, read-only or forbidden folder).
    """
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        with _explained(path, temporary):
            yield temporary
            if not temporary.exists():
                raise RuntimeError(f"nothing was written to {temporary}")
            _flush_to_disk(temporary)
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
    finally:
        # Failing to clean up must not hide why the write failed.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty temporary folder to fill, and renames it to `path` when the block ends well.

    For files that are of use only together, such as a checkpoint folder. An older folder at `path`
    is replaced as a whole; files of it that the block did not write again are gone.

    Args:
        path: the folder to create or to replace.

    Yields:
        The temporary folder.

    Raises:
        UserError: the folder cannot be written there (full, read-only or forbidden place).
    """
    path = Path(path)
    temporary, outgoing = _temporary_name(path), _temporary_name(path)
    try:
        with _explained(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            for file in sorted(temporary.rglob("*")):
                _flush_to_disk(file)
            if path.is_symlink():
                # The link is replaced, never what it points to.
                path.unlink()
            elif path.is_dir():
                # A rename cannot replace a folder with content, so the old one steps aside first.
                os.replace(path, outgoing)
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
    finally:
        if outgoing.exists() and not path.exists():
            os.replace(outgoing, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all; see `atomic_path` for what it raises."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` in UTF-8 to `path`, whole or not at all; see `atomic_path`."""
    write_bytes(path, text.encode("utf-8"))


def refuse_links(folder: str | os.PathLike[str]) -> None:
    """Checks that a folder of a run, and what is in it, are no symbolic links.

    Through one, a run would write, empty or delete something outside of its folder.

    Raises:
        UserError: one of them is.
    """
    folder = Path(folder)
    inside = sorted(folder.rglob("*")) if folder.is_dir() else []
    for path in (folder, *inside):
        if path.is_symlink():
            raise UserError(
                f"{path} is a symbolic link, and a run writes below its own folder only. Remove "
                "the link; to use another disk, choose another --run_dir."
            )


def require_writable_dir(path: str | os.PathLike[str]) -> Path:
    """Creates the folder `path` if needed and proves that a file can be written in it.

    For tools to call before hours of work whose result goes there.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    path = Path(path)
    probe = path / f"{_TEMPORARY_PREFIX}{secrets.token_hex(4)}-probe"
    with _explained(path, probe):
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    return path


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a UTF-8 text file, without their ends.

    Only line feeds end a line, with or without a carriage return: texts hold what else Unicode
    calls a line's end.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}). Convert it to UTF-8.") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hex.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes temporary files and folders that a killed process left below `folder`.

    Only for a folder that nobody else is writing to at the moment, such as one's own run folder.
    """
    for leftover in sorted(Path(folder).rglob(f"{_TEMPORARY_PREFIX}*")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f"{_TEMPORARY_PREFIX}{secrets.token_hex(4)}-{path.name}")


@contextlib.contextmanager
def _explained(path: Path, *also: Path) -> Iterator[None]:
    """Turns an OSError about writing `path`, or about a file in `also`, into a UserError.

    Other OSErrors pass: the block may well fail to read some other file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            # write() does not know the name of its file; what cannot come from writing passes.
            is_ours = error.errno in _ADVICE
        else:
            named = Path(error.filename)
            is_ours = any(
                named == name or named in name.parents or name in named.parents
                for name in (path, *also)
            )
        if not is_ours:
            raise
        # Not strerror: some libraries put a page of their own there.
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = _ADVICE.get(error.errno or 0, "Choose another folder or name.")
        raise UserError(f"Cannot write {path}: {reason}. {advice}") from error


def _flush_to_disk(path: Path) -> None:
    # Without this a power cut after the rename may leave a file of the right name and no content.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
