"""Which runtime runs which variant, and whether sparse and dense files agree there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.runtime.elsewhere import FileRun, make_python, run_file
from tf_prune_ofa.text_table import text_table

_NUMPY = "numpy==1.26.4"

# A file, and the sparse delegate that runs it with the rest, if any; see `Interpreter`.
FileAndDelegate = tuple[str | os.PathLike[str], str | os.PathLike[str] | None]


@dataclass(frozen=True)
class RuntimeSpec:
    """A runtime, and what to install for it."""

    name: str
    version: str
    requirements: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


def _litert(version: str) -> RuntimeSpec:
    return RuntimeSpec("litert", version, (f"ai-edge-litert=={version}", _NUMPY))


# tflite-runtime has no classes for the file format; those of LiteRT are used to check files.
RUNTIMES = (
    _litert("1.4.0"),
    _litert("2.1.6"),
    _litert("2.3.0"),
    RuntimeSpec(
        "tflite_runtime", "2.14.0", ("tflite-runtime==2.14.0", "ai-edge-litert==2.3.0", _NUMPY)
    ),
)


def run_matrix(
    files: Mapping[str, str | os.PathLike[str]],
    pairs: Mapping[str, tuple[FileAndDelegate, FileAndDelegate]],
    examples: Mapping[str, np.ndarray],
    cache: str | os.PathLike[str],
    on_runtime: Callable[[str], None] = lambda label: None,
) -> list[dict[str, Any]]:
    """Run files in every runtime of `RUNTIMES`.

    Args:
        files: name -> .tflite file.
        pairs: name of a comparison -> two files, each with a delegate or None, whose outputs of
            one name should be equal.
        examples: inputs by name, int [N, S] each.
        cache: folder for the runtimes' virtual environments.
        on_runtime: called with the name of each runtime before its turn.

    Returns:
        For each runtime `runtime`, `version`, `files` (by name: `loads`, `error`, `operators`,
        `delegated`, `partitions`) and `pairs` (by name: `is_equal`, `max_steps`, the largest
        difference of any two numbers, `share_equal`, `compared`, how many numbers there were, and
        `sparse`, how many operators the delegate ran; None where a file does not load).
    """
    rows = []
    for spec in RUNTIMES:
        on_runtime(spec.label)
        python = make_python(Path(cache) / f"{spec.name}-{spec.version}", spec.requirements)
        runs = {name: run_file(python, path, examples, spec.name) for name, path in files.items()}
        rows.append(
            {
                "runtime": spec.name,
                "version": spec.version,
                "files": {name: _facts(run) for name, run in runs.items()},
                "pairs": {
                    name: compare(
                        *(
                            run_file(python, path, examples, spec.name, delegate)
                            for path, delegate in pair
                        )
                    )
                    for name, pair in pairs.items()
                },
            }
        )
    return rows


def compare(first: FileRun, second: FileRun) -> dict[str, Any] | None:
    """Return how far the outputs that both runs have differ; None if one of them failed.

    For INT8 outputs a difference is counted in INT8 steps, for float outputs in their unit.
    """
    if first.outputs is None or second.outputs is None:
        return None
    names = [name for name in first.outputs if name in second.outputs]
    differences = np.concatenate(
        [np.abs(first.outputs[n].astype(float) - second.outputs[n]).ravel() for n in names]
    )
    return {
        "is_equal": not differences.any(),
        "max_steps": float(differences.max()),
        "share_equal": float(np.mean(differences == 0)),
        "compared": len(differences),
        "sparse": max(first.sparse, second.sparse),
    }


def describe(rows: list[dict[str, Any]]) -> str:
    """Return the matrix as text for the console."""
    names = list(rows[0]["files"])
    pairs = list(rows[0]["pairs"])
    lines = [
        [
            f"{row['runtime']} {row['version']}",
            *[_load_text(row["files"][name]) for name in names],
            *[_pair_text(row["pairs"][name]) for name in pairs],
        ]
        for row in rows
    ]
    reasons = [
        f"{row['runtime']} {row['version']}, {name}: {facts['error']}"
        for row in rows
        for name, facts in row["files"].items()
        if not facts["loads"]
    ]
    table = text_table(["runtime", *names, *pairs], lines, left=range(1 + len(names) + len(pairs)))
    return "\n\n".join([table, *reasons])


def _facts(run: FileRun) -> dict[str, Any]:
    return {
        "loads": run.error is None,
        "error": run.error,
        "operators": run.operators,
        "delegated": run.delegated,
        "partitions": run.partitions,
    }


def _load_text(facts: Mapping[str, Any]) -> str:
    if not facts["loads"]:
        return "does not load"
    return f"{facts['delegated']}/{facts['operators']} in XNNPACK"


def _pair_text(pair: Mapping[str, Any] | None) -> str:
    if pair is None:
        return "-"
    text = "bit-equal" if pair["is_equal"] else f"differ by up to {pair['max_steps']:g} steps"
    return text + (f", {pair['sparse']} in the delegate" if pair["sparse"] else "")
