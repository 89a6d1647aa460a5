"""The text files that a `.tflite` file carries behind the model: vocabulary, labels, settings."""

from __future__ import annotations

import io
import zipfile

from tf_prune_ofa.errors import UserError

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"


def associated_files(file: bytes, *, name: str = "the file") -> dict[str, str]:
    """Return the text files in the zip part of a .tflite file, by name; none without a zip part.

    Args:
        file: the bytes of the .tflite file.
        name: what error messages call it.

    Raises:
        UserError: the zip part is damaged.
    """
    stream = io.BytesIO(file)
    if not zipfile.is_zipfile(stream):
        return {}
    try:
        with zipfile.ZipFile(stream) as archive:
            return {entry: archive.read(entry).decode() for entry in archive.namelist()}
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, NotImplementedError) as error:
        raise UserError(
            f"{name}: the vocabulary and labels behind the model cannot be read ({error}). Export "
            "it again or fetch it again."
        ) from error
