"""Where measured costs are kept: one file for each processor, runtime and library."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.runtime.layer_chain import LayerShape

# A folder, or OFF. The option of the same meaning comes first.
ENVIRONMENT = "TF_PRUNE_OFA_COSTS"
OPTION = "cost_cache"
OFF = "off"

# Files that were spoken of: one line for each.
_IGNORED: set[Path] = set()
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerTimes:
    """Microseconds of one layer in a chain of them: `fixed` + `entry` * entries, by layout.

    Attributes:
        shape: of the layer.
        kernels: instruction set.
        tile_columns: columns that are multiplied at a time.
        dense: of the runtime's own layer.
        groups: (fixed, entry) of live groups of 1x4.
        columns: (fixed, entry) of fours of any columns.
    """

    shape: LayerShape
    kernels: str
    tile_columns: int
    dense: float
    groups: tuple[float, float]
    columns: tuple[float, float]

    def line(self) -> str:
        """The line of a cost table, as native/src/cost.h has it."""
        shape = self.shape
        times = (self.dense, *self.groups, *self.columns)
        return " ".join(
            [
                *("layer", self.kernels, "static" if shape.is_static else "dynamic"),
                *map(str, (shape.threads, shape.rows, shape.columns, shape.tokens)),
                *(str(self.tile_columns), *(f"{time:.6g}" for time in times)),
            ]
        )


@dataclass(frozen=True)
class CostFile:
    """The file of one processor, runtime and library.

    Attributes:
        path: where it is, or will be.
        header: its first lines; a file that begins otherwise is none of ours.
    """

    path: Path
    header: str

    def lines(self) -> list[str]:
        """Return the stored lines of layers; none if there is no file, or only a foreign one."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            self._ignore(str(error))
            return []
        lines = text.removeprefix(self.header).splitlines()
        if not text.startswith(self.header) or not all(map(_is_layer, lines)):
            self._ignore("damaged, or not of this processor, runtime and library")
            return []
        return lines

    def has(self, shape: LayerShape, lines: Sequence[str]) -> bool:
        """Whether some of `lines` is of a layer of this shape."""
        kind = "static" if shape.is_static else "dynamic"
        wanted = [kind, *map(str, (shape.threads, shape.rows, shape.columns, shape.tokens))]
        return any(line.split()[2:7] == wanted for line in lines)

    def write(self, lines: Sequence[str]) -> None:
        """Replace the file as a whole.

        Raises:
            UserError: it cannot be written.
        """
        write_text(self.path, self.header + "".join(f"{line}\n" for line in lines))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from measuring at the same time.

        Raises:
            UserError: the folder cannot be made or written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f"{self.path.name}.lock").open("w")
        except OSError as error:
            raise UserError(
                f"measured costs cannot be kept in {self.path.parent}: {error}. Name another "
                f"folder by the option {OPTION} or by {ENVIRONMENT}."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ignore(self, reason: str) -> None:
        if self.path not in _IGNORED:
            _IGNORED.add(self.path)
            _LOGGER.warning("Measured costs in %s are ignored: %s.", self.path, reason)


def cost_file(
    option: str | None, processor: str, runtime: str, version: str, library: Path
) -> CostFile | None:
    """Return the file of this processor, runtime and library; None if nothing is to be kept.

    Args:
        option: a folder, or "off"; None for what the environment variable TF_PRUNE_OFA_COSTS says,
            and without that for the user's cache folder.
        processor: its model, as the library calls it.
        runtime: name of the runtime.
        version: of the runtime.
        library: of the delegate; another build has other costs.
    """
    place: str | os.PathLike[str] | None = option or os.environ.get(ENVIRONMENT)
    if place == OFF:
        return None
    if not place:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        place = Path(cache) / "tf_prune_ofa"
    build = hashlib.sha256(library.read_bytes()).hexdigest()[:12]
    header = (
        f"# Costs of the sparse delegate, measured; {build}\n"
        f"runtime {runtime} {version}\nprocessor {processor}\n"
    )
    return CostFile(Path(place) / f"{processor}-{runtime}-{version}-{build}.txt", header)


def _is_layer(line: str) -> bool:
    """Whether it has the words of a layer's line; the library reads the rest."""
    words = line.split()
    return (
        len(words) == 13
        and words[0] == "layer"
        and words[2] in ("static", "dynamic")
        and all(word.isdecimal() for word in words[3:8])
        and all(map(_is_time, words[8:]))
    )


def _is_time(word: str) -> bool:
    try:
        return 0 <= float(word) < 1e9
    except ValueError:
        return False
