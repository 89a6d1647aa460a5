"""Prune a BERT encoder once, keep its sparsity pattern on every task, ship sparse INT8 files.

`import tf_prune_ofa as ofa` has the functions and classes of `tf_prune_ofa.api`, and those of
`tf_prune_ofa.runtime` that take a text and return a label. Each is loaded when it is first used:
running a file loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Name -> the module that has it.
_NAMES = {
    "TextClassifier": "tf_prune_ofa.runtime.text_classifier",
    "QuestionAnswerer": "tf_prune_ofa.runtime.question_answerer",
    "TextEmbedder": "tf_prune_ofa.runtime.text_embedder",
    "TokenClassifier": "tf_prune_ofa.runtime.token_classifier",
    "prunable": "tf_prune_ofa.api.prunable",
    **dict.fromkeys(
        ("Exported", "Files", "Model", "Result", "Task", "benchmark", "export", "finetune", "open",
         "prune", "push_to_hub", "quantize", "reconstruct", "transfer", "verify"),
        "tf_prune_ofa.api",
    ),
}  # fmt: skip
__all__ = ["__version__", *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
