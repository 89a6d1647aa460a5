"""Open a file with the sparse delegate, after measuring what it would cost here.

Which layers the delegate takes is decided by times: dense ones of the runtime, sparse ones of its
own. Both are measured where the file runs, once for each shape of a layer, and kept (`costs`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import calibrate, costs
from tf_prune_ofa.runtime import delegate as sparse_delegate

# With any of these somebody else decides.
_DECIDING = ("force", "isa", "cost_table", "layout", "tile_columns")
_LOGGER = logging.getLogger(__name__)

Opened = TypeVar("Opened")


def open_measured(
    module: ModuleType,
    runtime: tuple[str, str],
    delegate: str | os.PathLike[str],
    options: Mapping[str, str] | None,
    open_file: Callable[[Any | None], Opened],
) -> tuple[Opened, Any | None]:
    """Open a file with the delegate, a second time if its layers had to be measured in between.

    Args:
        module: the runtime's interpreter module.
        runtime: its name and version.
        delegate: as `delegate.load` takes it.
        options: of the delegate, and `costs.OPTION`: the folder for what was measured, or "off".
        open_file: opens the file with a loaded delegate, or with None.

    Returns:
        What `open_file` returned, and the delegate; None if there is none that works here.

    Raises:
        UserError: the library that was named, or an option, is refused.
    """
    given = dict(options or {})
    place = given.pop(costs.OPTION, None)
    library = sparse_delegate.LIBRARY
    is_own = delegate == sparse_delegate.AUTO or Path(delegate).absolute() == library
    kept = None
    if is_own and not set(given) & set(_DECIDING) and "TF_PRUNE_OFA_ISA" not in os.environ:
        kept = _kept(library, place, runtime)
    loaded = _load(module, delegate, given, kept)
    opened = open_file(loaded)
    missing = [] if loaded is None or kept is None else sparse_delegate.unmeasured(loaded)
    if kept is None or not missing:
        return opened, loaded
    try:
        is_new = measure_shapes(module, library, missing, kept) or bool(kept.lines())
    except (UserError, RuntimeError, ValueError, MemoryError) as error:
        _LOGGER.warning("The sparse delegate's costs are not measured: %s", error)
        is_new = False
    if not is_new:
        return opened, loaded
    del opened  # before its delegate
    loaded = _load(module, delegate, given, kept)
    return open_file(loaded), loaded


def _kept(library: Path, place: str | None, runtime: tuple[str, str]) -> costs.CostFile | None:
    try:
        model, _, _ = sparse_delegate.processor(library)
        return costs.cost_file(place, model, *runtime, library)
    except OSError:  # no library, or none for this machine: `delegate.load` says so
        return None


def _load(
    module: ModuleType,
    delegate: str | os.PathLike[str],
    options: Mapping[str, str],
    kept: costs.CostFile | None,
) -> Any | None:
    if kept is None or not kept.lines():
        return sparse_delegate.load(module, delegate, options)
    try:
        return sparse_delegate.load(module, delegate, {**options, "cost_table": str(kept.path)})
    except UserError as error:
        _LOGGER.warning("Measured costs are ignored: %s", error)
        return sparse_delegate.load(module, delegate, options)


def measure_shapes(
    module: ModuleType, library: Path, shapes: Sequence[calibrate.LayerShape], kept: costs.CostFile
) -> bool:
    """Measure those layers that are not kept yet.

    Args:
        module: the runtime's interpreter module.
        library: of the delegate.
        shapes: of layers.
        kept: where the times are and go.

    Returns:
        Whether all of them are kept now: on a busy machine some may not be.

    Raises:
        UserError: the file cannot be written.
    """
    _, kernels, tile = sparse_delegate.processor(library)
    with kept.locked():
        # Another process may have been faster.
        lines = kept.lines()
        missing = [shape for shape in shapes if not kept.has(shape, lines)]
        if missing:
            _LOGGER.info("Measuring %d layers for the sparse delegate, once.", len(missing))
            times = calibrate.measure(module, library, kernels, tile, missing)
            lines += [time.line() for time in times]
            if times:
                kept.write(lines)
        return all(kept.has(shape, lines) for shape in shapes)
