"""The files that a `.tflite` file carries behind the model: vocabulary, labels, settings.

TFLite metadata appends its files as an archive; runtimes ignore what follows the model. Every read
is bounded: an archive of a few kilobytes can claim to unpack to gigabytes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tf_prune_ofa.errors import UserError

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
# Instead of a vocabulary, of tokenizers of other kinds than WordPiece.
TOKENIZER_FILE = "tokenizer.json"

# A vocabulary has about a quarter of a megabyte; what is larger than this is no such file.
MAX_BYTES = 256 * 2**20
MAX_FILES = 1000
# What readers on phones know, and what unpacks no faster than it can be bounded.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# A fixed date keeps equal input byte-identical.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PackedFiles:
    """What is packed behind a model.

    Attributes:
        files: content by name, in the archive's order.
        entries: how the archive has each; a file without one is stored uncompressed.
        comment: of the archive.
        start: where in the file the archive begins; None where there is none.
    """

    files: Mapping[str, bytes]
    entries: Mapping[str, zipfile.ZipInfo]
    comment: bytes = b""
    start: int | None = None

    def with_files(self, files: Mapping[str, bytes]) -> PackedFiles:
        """Return the same with some files added or replaced."""
        kept = {name: entry for name, entry in self.entries.items() if name not in files}
        return replace(self, files={**self.files, **files}, entries=kept)

    def without(self, names: Collection[str]) -> PackedFiles:
        """Return the same without some files."""
        files = {name: content for name, content in self.files.items() if name not in names}
        entries = {name: entry for name, entry in self.entries.items() if name not in names}
        return replace(self, files=files, entries=entries)

    def behind(self, model: bytes) -> bytes:
        """Return a model with the archive behind it."""
        if not self.files:
            return model
        stream = io.BytesIO(model)
        with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
            archive.comment = self.comment
            for name, content in self.files.items():
                # Offsets belong to the old file; `writestr` fills them in.
                entry = zipfile.ZipInfo(name, _DATE)
                known = self.entries.get(name)
                if known is not None:
                    entry.date_time, entry.compress_type = known.date_time, known.compress_type
                    entry.external_attr, entry.comment = known.external_attr, known.comment
                archive.writestr(entry, content)
        return stream.getvalue()


NONE = PackedFiles({}, {})


def associated_files(file: bytes, *, name: str = "the file") -> dict[str, str]:
    """Return the text files in the zip part of a .tflite file, by name; none without a zip part.

    Args:
        file: the bytes of the .tflite file.
        name: what error messages call it.

    Raises:
        UserError: the zip part is damaged, or one of its files is no text in UTF-8.
    """
    texts = {}
    for entry, content in read(file, name=name).files.items():
        try:
            texts[entry] = content.decode()
        except UnicodeDecodeError as error:
            raise _refused(name, f"{entry!r} is no text in UTF-8 ({error})") from error
    return texts


def names(file: bytes, *, name: str = "the file") -> tuple[str, ...]:
    """Return the names of what is packed behind a model, unpacking nothing.

    Args:
        file: the bytes of the .tflite file.
        name: what error messages call it.

    Raises:
        UserError: the archive is damaged.
    """
    with _opened(file, name) as archive:
        return () if archive is None else tuple(archive.namelist())


def read(file: bytes, *, name: str = "the file") -> PackedFiles:
    """Return what is packed behind a model; `NONE` where nothing is.

    Args:
        file: the bytes of the .tflite file.
        name: what error messages call it.

    Raises:
        UserError: the archive is damaged, encrypted, or unpacks to more than `MAX_BYTES`.
    """
    with _opened(file, name) as archive:
        if archive is None:
            return NONE
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise _refused(name, "it has two files of one name")
        total = sum(entry.file_size for entry in entries.values())
        if total > MAX_BYTES or len(entries) > MAX_FILES:
            raise _refused(
                name,
                f"it unpacks to {len(entries):,} files of {total:,} bytes; at most {MAX_FILES:,} "
                f"files of {MAX_BYTES:,} bytes are read",
            )
        files = {one: _content(archive, entry, name) for one, entry in entries.items()}
        start = min((entry.header_offset for entry in entries.values()), default=archive.start_dir)
        return PackedFiles(files, entries, archive.comment, start)


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
        raise _refused(name, f"{entry.filename!r} is encrypted or compressed by an unusual method")
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise _refused(name, f"{entry.filename!r} cannot be read ({error})") from error


class _opened:  # noqa: N801 (used as a function)
    """The archive behind a model, or None."""

    def __init__(self, file: bytes, name: str) -> None:
        self._name = name
        self._stream = io.BytesIO(file)
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> zipfile.ZipFile | None:
        try:
            if zipfile.is_zipfile(self._stream):
                self._archive = zipfile.ZipFile(self._stream)
        # Names that are no text, fields that contradict each other, an archive cut short.
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise _refused(self._name, str(error)) from error
        return self._archive

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()


def _refused(name: str, reason: str) -> UserError:
    return UserError(
        f"{name}: what is packed behind the model (vocabulary, labels) cannot be read: {reason}. "
        "Export the file again or fetch it again."
    )
