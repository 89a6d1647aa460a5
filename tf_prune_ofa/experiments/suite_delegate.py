"""Rows of a benchmark suite for the sparse INT8 delegate: zeros anywhere, and in blocks of 1x4."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tf_prune_ofa import __version__
from tf_prune_ofa.bench.rows import Row
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.experiments.suite import REFERENCE, SuiteRow
from tf_prune_ofa.experiments.suite_files import with_zeros
from tf_prune_ofa.files import write_bytes
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime import delegate

# Shares of zeros in each pattern; "unstructured" means anywhere.
PATTERNS: Mapping[str, Sequence[float]] = {
    "unstructured": (0.80, 0.85, 0.90, 0.95),
    "1x4": (0.80, 0.90),
}
_BLOCKS = {"unstructured": Block(1, 1), "1x4": Block(1, 4)}
# The dense files that get the zeros; they are stored as dense ones, and run as such anywhere else.
# Of the dynamic-range one, one share of zeros shows the difference.
_SOURCES = ("dense_int8", REFERENCE)
_DYNAMIC_SHARE = 0.90
_SETTINGS = "suite_delegate.json"


def make_rows(
    folder: Path,
    *,
    patterns: Mapping[str, Sequence[float]] = PATTERNS,
    seed: int = 0,
    on_file: Callable[[str], None] = lambda name: None,
) -> list[SuiteRow]:
    """Make files with zeros from a suite's dense ones, unless they are there already.

    Args:
        folder: of the suite; `experiments.suite_files.make_files` has made its files.
        patterns: shares of zeros by pattern.
        seed: of the patterns.
        on_file: called with the name of each file before it is made, for progress.

    Returns:
        The dense files with the delegate, to show what it costs where there is nothing to gain,
        and for each pattern and share of zeros the static file with the delegate, and the
        dynamic-range file for one of them.

    Raises:
        UserError: the delegate's library is not there.
    """
    library = str(delegate.require())
    dense = {name: (folder / f"{name}.tflite").read_bytes() for name in _SOURCES}
    settings = {
        "patterns": {name: list(shares) for name, shares in patterns.items()},
        "sources": {name: hashlib.sha256(file).hexdigest() for name, file in dense.items()},
        "seed": seed,
        "version": __version__,
    }
    stored = folder / _SETTINGS
    is_made = stored.is_file() and json.loads(stored.read_text()) == settings
    stored.unlink(missing_ok=True)
    rows = [_row(name, folder / f"{name}.tflite", name, 0.0, library) for name in _SOURCES]
    wanted = [
        (source, pattern, share)
        for pattern, shares in patterns.items()
        for source in _SOURCES
        for share in (shares if source == "dense_int8" else [_DYNAMIC_SHARE])
    ]
    for source, pattern, share in wanted:
        label = f"{source} {pattern} {share:.0%}"
        path = folder / f"{source}_{pattern}_{round(100 * share)}.tflite"
        if not (is_made and path.is_file()):
            on_file(label)
            write_bytes(path, with_zeros(dense[source], _BLOCKS[pattern], share, seed))
        series = pattern if source == "dense_int8" else f"{source} {pattern}"
        rows.append(_row(label, path, series, share, library))
    write_json(stored, settings)
    return rows


def _row(label: str, path: Path, series: str, share: float, library: str) -> SuiteRow:
    options = {"delegate": library}
    return SuiteRow(f"{label}, delegate", Row(path, options=options), f"{series}, delegate", share)
