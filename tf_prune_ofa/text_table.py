"""Aligned plain-text tables for the console."""

from collections.abc import Sequence


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)
) -> str:
    """Lays rows out in columns two spaces apart, with a rule under the header.

    Args:
        header: one title per column.
        rows: cells as text, as many per row as there are titles.
        left: columns that are set flush left (words); all others flush right (numbers).

    Returns:
        The lines, joined, without a line break at the end.

    >>> print(text_table(["file", "MB"], [["a.tflite", "7.5"], ["b.tflite", "110.0"]]))
    file         MB
    --------  -----
    a.tflite    7.5
    b.tflite  110.0
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def megabytes(size_bytes: int | float | None) -> str:
    """A size in MB (a million bytes), or `-` where there is none.

    >>> megabytes(110_243_000)
    '110.24'
    """
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.2f}"
