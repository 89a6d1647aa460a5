"""Which TFLite runtime is installed, and whether it is new enough."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
from types import ModuleType
from typing import Literal

from tf_prune_ofa.errors import UserError

Runtime = Literal["auto", "litert", "tflite_runtime", "tensorflow"]

# Module and distribution of each runtime, best first: LiteRT is the one that is maintained.
_RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}


# The oldest versions that this package's files were run on, with results equal to newer ones. In
# LiteRT 1.0.1 logits of a static INT8 file were up to 0.2 off, without a word.
OLDEST = {"litert": (1, 4), "tflite_runtime": (2, 14)}


def find_runtime(runtime: Runtime = "auto") -> tuple[ModuleType, str, str]:
    """Import a runtime and return its module, its name and its version.

    Raises:
        UserError: no runtime of this name, or it is not installed, or is older than `OLDEST`.
    """
    if runtime != "auto" and runtime not in _RUNTIMES:
        raise UserError(f"there is no runtime {runtime!r}; choose auto, {', '.join(_RUNTIMES)}.")
    names = list(_RUNTIMES) if runtime == "auto" else [runtime]
    for name in names:
        module, distribution = _RUNTIMES[name]
        if name == "tensorflow":
            # TensorFlow must not bring Keras 3 in before keras_compat is asked.
            os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        version = importlib.metadata.version(distribution)
        _require_new(name, distribution, version)
        return found, name, version
    wanted = " or ".join(_RUNTIMES[name][1] for name in names)
    raise UserError(f"no TFLite runtime found: {wanted} is not installed. pip install {wanted}")


def _require_new(name: str, distribution: str, version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    oldest = OLDEST.get(name, ())
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        raise UserError(
            f"{distribution} {version} is older than {wanted}, the oldest that files of this "
            "package were compared on (LiteRT 1.0.1 has logits that are up to 0.2 off). "
            f"pip install '{distribution}>={wanted}'"
        )
