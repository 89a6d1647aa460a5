"""Text files as people have them: UTF-8, or UTF-16 and UTF-32 that say so by a byte order mark."""

import codecs
from pathlib import Path

from tf_prune_ofa.errors import UserError

# Far beyond any document, and far below what would fill the memory many times over on its way
# through a parser.
MAX_LINE_BYTES = 10_000_000

# UTF-32 first: its mark begins as that of UTF-16 does. Each codec takes its mark off.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def read_text(path: Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: the file cannot be read, is in no Unicode encoding, or has a longer line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"No file {path}. Correct the path of the task's data.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Name the file in it.") from None
    except PermissionError:
        raise UserError(f"{path} may not be read. Give yourself the right to read it.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Correct the path.") from None
    start = number = 0
    while len(data) - start > max_line_bytes:
        number += 1
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > max_line_bytes:
            raise UserError(
                f"{path}, line {number}: {(end - start) / 1e6:.0f} MB on one line; at most "
                f"{max_line_bytes / 1e6:.0f} MB are read. Put each example, or each document of a "
                "corpus, on a line of its own, and end it with a line feed."
            )
        start = end + 1
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-16", "utf-32"):
            raise UserError(
                f"{path} begins with the byte order mark of {encoding.upper()}, but is none at "
                f"byte {error.start} ({error.reason}). Save it as UTF-8."
            ) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Convert the file, for instance: iconv -f latin1 -t utf-8."
        ) from None
