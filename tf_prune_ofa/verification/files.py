"""All that can be said of one file without running it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.verification import constants, container, dense, graph, shared_rows
from tf_prune_ofa.verification.expected import Expected
from tf_prune_ofa.verification.reading import TfliteFile

# How each variant computes; what else sets it apart is in `_form_problems`.
FORMS = {
    "float32": "float",
    "dynamic_int8": "dynamic",
    "dense_int4": "dynamic_int4",
    "dense_int8": "static",
    "sparse_int8": "static",
    "block_sparse_int8": "static",
}
BLOCKS = "block_sparse_int8"
DENSE = "dense_int8"
_STAMPS = "tf_prune_ofa.dense_layers"
# What damage and foreign data raise in a place where the format allows them.
_FOREIGN = (
    UserError,
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    TypeError,
    ValueError,
)
# What a layer must save by being stored without its zeros.
_WORTHWHILE_BYTES = 1000


def find_problems(content: bytes, variant: str, expected: Expected) -> list[str]:
    """Return what of a file is not as its model and its variant say; a sentence each.

    Args:
        content: the file.
        variant: what it is said to be.
        expected: what it must hold.
    """
    form = FORMS[variant]
    try:
        file = TfliteFile(content)
        problems = _form_problems(file, variant)
        problems += container.find_problems(file, expected)
        problems += dense.find_problems(
            file,
            form,
            expected,
            may_rearrange=variant == BLOCKS,
            may_shorten=form == "dynamic_int4",
        )
        problems += constants.find_problems(file, form, expected)
        problems += graph.find_problems(file, form, expected)
        return problems + _stamp_problems(file, expected)
    except UserError as error:
        return [str(error)]
    except _FOREIGN as error:
        return [f"it is no file of this export ({type(error).__name__}: {error})"]


def read_shared_rows(
    content: bytes, words: np.ndarray, used: np.ndarray
) -> shared_rows.SharedRows | None:
    """Return `shared_rows.read` of a file; None, too, of one that is damaged."""
    try:
        return shared_rows.read(TfliteFile(content), words, used)
    except _FOREIGN:
        return None


def find_entry_problems(content: bytes, entry: Mapping[str, Any]) -> list[str]:
    """Return what of a file is not as its entry in the manifest says.

    Args:
        content: the file.
        entry: from `manifest.read_manifest`.
    """
    problems = []
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        problems.append(f"its SHA-256 is {digest[:16]}..., not {entry['sha256'][:16]}...")
    if len(content) != entry["size_bytes"]:
        problems.append(f"it has {len(content)} bytes, not {entry['size_bytes']}")
    try:
        found = dense.stored_layers(TfliteFile(content))
    except _FOREIGN:
        return problems  # `find_problems` says why
    sizes = {name: one.size_bytes for name, one in found.items()}
    sparse = {name for name, one in found.items() if one.is_sparse}
    pieces = {name for name, one in found.items() if one.is_in_pieces}
    said = entry.get("blocks", {})
    in_blocks = {name for name, one in said.items() if "block" in one}
    if entry.get("layers", sizes) != sizes:
        problems.append("its layers are not of the sizes that the manifest gives")
    if set(entry.get("sparse_layers", sparse)) != sparse:
        problems.append("other layers are stored without their zeros than the manifest says")
    if pieces != in_blocks:
        problems.append("other layers are computed in blocks than the manifest says")
    return problems


def count_sparsity(content: bytes, shapes: Mapping[str, tuple[int, int]]) -> float | None:
    """Return the share of zeros in some layers of a file, counted; None if there are no layers."""
    if not shapes:
        return None
    zeros, size = dense.count_zeros(TfliteFile(content), shapes)
    return zeros / size


def _form_problems(file: TfliteFile, variant: str) -> list[str]:
    """Return what sets the file apart from its variant's form."""
    problems = []
    may_be_sparse = variant in ("sparse_int8", BLOCKS)
    for operator, kernel in file.dense_operators():
        name = file.tensors[kernel].name
        if file.is_sparse(kernel):
            if not may_be_sparse:
                problems.append(f"{name} is stored without its zeros, which {variant} does not do")
            continue
        is_static = file.tensors[operator.inputs[0]].dtype == "int8"
        if may_be_sparse and is_static and operator.name == "FULLY_CONNECTED":
            values = file.values(kernel)
            if _sparse_bytes(values) + _WORTHWHILE_BYTES < values.nbytes:
                problems.append(f"{name} is stored with its zeros, which {variant} leaves out")
    return problems


def _sparse_bytes(kernel: Any) -> int:
    """Return the bytes of an INT8 kernel [N, K] without its zeros, in places of at most 256."""
    outputs, inputs = kernel.shape
    numbers = int((kernel != 0).sum())
    if not numbers:
        return kernel.nbytes
    split = next(w for w in range(1, inputs + 1) if inputs % w == 0 and inputs // w <= 256)
    per_segment = 1 if numbers < 2**8 else 2 if numbers < 2**16 else 4

    def size(width: int) -> int:
        per_index = 1 if inputs // width <= 2**8 else 2 if inputs // width <= 2**16 else 4
        return numbers * (1 + per_index) + (outputs * width + 1) * per_segment

    return min(size(1), size(split))


def _stamp_problems(file: TfliteFile, expected: Expected) -> list[str]:
    """The list of dense layers that the export leaves for its own passes and for `inspect`."""
    try:
        entries = json.loads(file.metadata.get(_STAMPS, b"[]"))
        factors = {entry["name"]: float(entry["factor"]) for entry in entries}
    except (ValueError, KeyError, TypeError):
        return ["its list of dense layers is damaged"]
    wanted = {name: one.factor for name, one in expected.dense.items()}
    if set(factors) != set(wanted):
        return ["its list of dense layers is not the model's"]
    wrong = [name for name, factor in factors.items() if abs(factor / wanted[name] - 1) > 1e-6]
    return [f"its list of dense layers gives {name} another factor" for name in wrong]
