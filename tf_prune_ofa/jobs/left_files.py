"""The files that a finished stage left: their digests, and whether they are still there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tf_prune_ofa import paths
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of

# What no later stage depends on, and whoever needs the space may delete; and the card, to which
# later stages add their figures.
_SPARE = (
    paths.CHECKPOINT, paths.TENSORBOARD, paths.METRICS, paths.TEACHER_LOGITS, paths.RESULT,
    paths.CARD,
)  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a stage by its path in the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_spare = name.parts[0] in _SPARE or path.name.startswith(".")
        if path.is_file() and not is_spare:
            found[name.as_posix()] = sha256_of(path)
    return found


def require_unchanged(folder: Path, stage: str, recorded: Mapping[str, str]) -> None:
    """Refuse a stage whose files are not those that it left.

    Args:
        folder: of the stage.
        stage: its name.
        recorded: from `digests`; empty of older runs, of which nothing is known.

    Raises:
        UserError: a file is gone, or another one.
    """
    problems = []
    for name, digest in recorded.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif sha256_of(path) != digest:
            problems.append(f"{name} was changed")
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"stage '{stage}' was done before, but its files are not those that it left: "
            f"{', '.join(problems[:5])}{more}. Put them back, or delete {folder} to run the stage "
            "again."
        )
