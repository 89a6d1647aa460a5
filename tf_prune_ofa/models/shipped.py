"""Sparse encoders that come with this package, by name.

Each is a packed file in `encoders/`; the word table and all else that pruning left alone come from
the base encoder's own package. An encoder is unpacked once, into a Hugging Face folder in the
user's cache, and from there on it is an encoder like any other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors_numpy

from tf_prune_ofa import files
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.packed import Packed, read_packed, unpack
from tf_prune_ofa.models.tensor_names import tensor_names

CACHE = "TF_PRUNE_OFA_CACHE"  # environment variable: the folder for unpacked encoders


def unpacked(path: Path, base: Path) -> Path:
    """Return the folder of a packed encoder in the cache, unpacked now if it is not there.

    Args:
        path: the packed file.
        base: Hugging Face folder of the encoder that it was made from.

    Raises:
        UserError: the file is damaged, the base is another one, or the cache cannot be written.
    """
    packed = read_packed(path)
    folder = _cache() / f"{path.stem}-{packed.about['digest'][:16]}"
    # Written whole or not at all, and named by its content: what is there is right.
    if not folder.is_dir():
        files.require_writable_dir(folder.parent)
        unpack_folder(packed, base, folder)
    return folder


def unpack_folder(packed: Packed, base: Path, folder: Path) -> None:
    """Write an encoder as a Hugging Face folder, whole or not at all.

    Raises:
        UserError: the base is not the one that it was packed against, or `folder` cannot be
            written.
    """
    weights = unpack(packed, huggingface.read_weights(base))
    with files.atomic_folder(folder) as temporary:
        for kept in base.iterdir():
            if kept.is_file() and kept.name in _KEPT:
                shutil.copyfile(kept, temporary / kept.name)
        data = safetensors_numpy.save(_tensors(weights, base), metadata={"format": "pt"})
        (temporary / huggingface.WEIGHTS).write_bytes(data)


_KEPT = ("config.json", "vocab.txt", "tokenizer_config.json", "tokenizer.json")


def _tensors(weights: Mapping[str, np.ndarray], base: Path) -> dict[str, np.ndarray]:
    """Return weights by the file's names, kernels [out, in]."""
    names = tensor_names(huggingface.read_config(base))
    return {
        # safetensors writes the memory as it lies, ignoring that a transposed view is one.
        names[name]: np.ascontiguousarray(value.T if name.endswith("/kernel") else value)
        for name, value in weights.items()
    }


def _cache() -> Path:
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tf_prune_ofa" / "encoders"
