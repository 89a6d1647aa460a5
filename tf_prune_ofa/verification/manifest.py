"""The manifest of an export: what it may say, and whether its files are still those it names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.paths import MANIFEST
from tf_prune_ofa.verification.files import FORMS

_ENTRY = {"variant": str, "file": str, "sha256": str, "size_bytes": int}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return an export's manifest; its files are in `folder`, each of a known variant, once.

    Raises:
        UserError: it is missing, damaged or names something that is no file of that folder.
    """
    path = folder / MANIFEST
    remedy = "Delete the folder and run the export again"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. {remedy}.") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise UserError(f"{path} is not JSON ({error}). {remedy}.") from error
    problem = _find_problem(manifest)
    if problem:
        raise UserError(f"{path} is no manifest of an export: {problem}. {remedy}.")
    return manifest


def _find_problem(manifest: Any) -> str:
    if not isinstance(manifest, dict):
        return f"it is a {type(manifest).__name__} instead of an object"
    length, entries = manifest.get("sequence_length"), manifest.get("files")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        return f"its sequence_length is {length!r}"
    if not isinstance(entries, list) or not entries:
        return "it names no files"
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            return f"its file {number} is {entry!r}"
        for key, kind in _ENTRY.items():
            if not isinstance(entry.get(key), kind):
                return f"its file {number} has the {key} {entry.get(key)!r}"
        if entry["variant"] not in FORMS:
            return f"its file {number} is of the variant {entry['variant']!r}, which is unknown"
        name = entry["file"]
        if name != Path(name).name or "\\" in name or not name.endswith(".tflite") or "\0" in name:
            return f"its file {number} is {name!r}, which is no .tflite file in its own folder"
    for key in ("variant", "file"):
        seen = [entry[key] for entry in entries]
        twice = sorted({value for value in seen if seen.count(value) > 1})
        if twice:
            return f"it names the {key} {twice[0]!r} more than once"
    return ""


def find_folder_problems(
    folder: Path,
    manifest: dict[str, Any],
    *,
    variants: Iterable[str],
    sequence_length: int,
    digests: dict[str, str],
) -> list[str]:
    """Return what sets a folder apart from its manifest, and that from what was asked for.

    Args:
        folder: of the files.
        manifest: from `read_manifest`.
        variants: that the export was to write.
        sequence_length: likewise.
        digests: SHA-256 by variant, as the stage's result has them; empty of older runs.
    """
    entries = {entry["variant"]: entry for entry in manifest["files"]}
    problems = []
    if set(entries) != set(variants):
        problems.append(
            f"{MANIFEST} names {', '.join(sorted(entries))}; asked for were "
            f"{', '.join(sorted(variants))}"
        )
    if manifest["sequence_length"] != sequence_length:
        problems.append(
            f"{MANIFEST} says {manifest['sequence_length']} tokens; asked for were "
            f"{sequence_length}"
        )
    known = {entry["file"] for entry in entries.values()}
    foreign = sorted(path.name for path in folder.glob("*.tflite") if path.name not in known)
    if foreign:
        problems.append(f"{', '.join(foreign)} is in the folder, and not in {MANIFEST}")
    for variant, digest in digests.items():
        if variant in entries and entries[variant]["sha256"] != digest:
            problems.append(f"{MANIFEST} has another SHA-256 of {variant} than result.json")
    return problems
