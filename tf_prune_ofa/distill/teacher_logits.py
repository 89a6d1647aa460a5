"""Teacher logits on disk: the teacher is frozen, so they are the same in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.errors import UserError


def cached_logits(path: Path, examples: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return logits [examples, ...] from `path`, computing and writing them if it does not exist.

    Raises:
        UserError: the file is damaged, or of another number of examples.
    """
    if not path.exists():
        write_arrays(path, {"logits": compute()})
    logits = read_arrays(path, ["logits"])["logits"]
    if len(logits) != examples:
        raise UserError(
            f"{path} has logits of {len(logits)} examples, the data has {examples}; delete it to "
            "compute it again"
        )
    return logits
