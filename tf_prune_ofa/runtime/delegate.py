"""The sparse INT8 delegate: a library that runs fully-connected layers with many zeros.

It is loaded into a runtime beside XNNPACK, takes the layers that it runs faster, and leaves the
rest. The library is built from native/ when the package is installed and a C++ compiler is there;
see docs/delegate.md.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.layer_chain import LayerShape

LIBRARY = Path(__file__).with_name("libtf_prune_ofa_delegate.so")
AUTO = "auto"

_ABSENT = (
    "The sparse INT8 delegate is absent: install the package where a C++ compiler (g++ 11 or "
    "later) is found."
)
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerVerdict:
    """What became of one INT8 layer.

    Attributes:
        node: index of the operator.
        name: of its weights.
        is_taken: whether the delegate runs it.
        reason: the layout of its weights and the expected time (1 for dense), or why it was left.
    """

    node: int
    name: str
    is_taken: bool
    reason: str


@dataclass(frozen=True)
class DelegateReport:
    """What the delegate says of the graph it was given.

    Attributes:
        kernels: the instruction set whose kernels run, such as "avx512vnni".
        threads: threads of its own.
        costs: where the times come from that decide, such as "measured".
        layers: one entry for each INT8 layer.
        beside_layers: what else it took of an encoder, in words; empty if nothing.
    """

    kernels: str
    threads: int
    costs: str
    layers: tuple[LayerVerdict, ...]
    beside_layers: str = ""


def require() -> Path:
    """Return the package's own library.

    Raises:
        UserError: it is not there.
    """
    if not LIBRARY.is_file():
        raise UserError(f"{_ABSENT} See docs/delegate.md.")
    return LIBRARY


def load(
    module: ModuleType, delegate: str | os.PathLike[str], options: Mapping[str, str] | None = None
) -> Any | None:
    """Load the delegate into a runtime.

    Args:
        module: the runtime's interpreter module, from `installed.find_runtime`.
        delegate: the library's path, or "auto" for the package's own, which may be missing.
        options: what docs/delegate.md lists.

    Returns:
        What the runtime's `experimental_delegates` takes; None if "auto" found nothing that works
        here, which is logged in one line.

    Raises:
        UserError: the library that was named, or an option, is refused.
    """
    if delegate == AUTO and not LIBRARY.is_file():
        _LOGGER.warning("%s Running without it; see docs/delegate.md.", _ABSENT)
        return None
    path = LIBRARY if delegate == AUTO else Path(delegate).absolute()
    try:
        # By itself first: where this fails, the runtime would complain once more, on its own.
        ctypes.CDLL(str(path))
        return module.load_delegate(str(path), dict(options or {}))
    except (OSError, ValueError) as error:
        # The runtime puts its own words first, the library's reason comes last.
        reason = " ".join(str(error).split())
        if delegate == AUTO and not options:
            _LOGGER.warning("Without the sparse INT8 delegate, %s does not load: %s", path, reason)
            return None
        raise UserError(
            f"cannot load the delegate {path}: {reason}. Install the package anew to build it for "
            "this machine, or correct the options."
        ) from error


def report(delegate: Any) -> DelegateReport:
    """Ask a loaded delegate what it made of the last graph that it was given.

    Args:
        delegate: what `load` returned, of this package's library.

    Raises:
        UserError: it is another library's.
    """
    library = delegate._library
    try:
        ask = library.tf_prune_ofa_report
    except AttributeError as error:
        raise UserError(
            "the delegate is not this package's library: it has no report. Leave the path out."
        ) from error
    ask.argtypes, ask.restype = [ctypes.c_void_p], ctypes.c_char_p
    return read_report(ask(delegate._get_native_delegate_pointer()).decode(errors="replace"))


def read_report(text: str) -> DelegateReport:
    """Return what the library's report says."""
    first, *rest = text.splitlines()
    beside = [line for line in rest if line.startswith("with ")]
    kernels, threads, costs = first.split(", ", 2)
    return DelegateReport(
        kernels.removeprefix("kernels "),
        int(threads.removeprefix("threads ")),
        costs.removeprefix("costs "),
        tuple(_verdict(line) for line in rest if line not in beside),
        beside[0].removeprefix("with ") if beside else "",
    )


def processor(library: Path) -> tuple[str, str, int]:
    """Return this machine's processor model, the best instruction set and its tile of columns.

    Args:
        library: the package's own.

    Raises:
        UserError: it was built from another version of the package.
        OSError: it does not load here.
    """
    try:
        ask = ctypes.CDLL(str(library)).tf_prune_ofa_processor
    except AttributeError as error:
        raise UserError(
            f"{library} was built from another version of this package. Install the package anew "
            "to build it again."
        ) from error
    ask.restype = ctypes.c_char_p
    model, kernels, tile = ask().decode().split()
    return model, kernels, int(tile)


def unmeasured(delegate: Any) -> list[LayerShape]:
    """Ask a loaded delegate which layers of its last graph might gain but were never measured."""
    ask = delegate._library.tf_prune_ofa_unmeasured
    ask.argtypes, ask.restype = [ctypes.c_void_p], ctypes.c_char_p
    shapes = []
    for line in ask(delegate._get_native_delegate_pointer()).decode().splitlines():
        arithmetic, *sizes = line.split()
        shapes.append(LayerShape(arithmetic == "static", *map(int, sizes)))
    return shapes


def _verdict(line: str) -> LayerVerdict:
    """Read a line "taken NODE NAME: REASON" or "left NODE NAME: REASON"."""
    action, node, rest = line.split(" ", 2)
    name, _, reason = rest.rpartition(": ")
    return LayerVerdict(int(node), name, action == "taken", reason)
