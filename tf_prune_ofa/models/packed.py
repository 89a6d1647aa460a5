"""A sparse encoder in a small file: what differs from its base, kept weights and a bit mask.

The file is an .npz. Of each pruned kernel it holds which weights are kept, one bit each, and their
values in float16 or bfloat16; of each other weight that differs from the base, the values in
float32. All else, the word table above all, is read from the base, whose digest the file names.
The values in the file are the encoder: unpacked and packed again, it is the same file content.

A JSON text in it says where it comes from: see `Packed.about`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.errors import UserError

FORMAT = 1
ABOUT = "about"  # the key of the JSON text
MASK, VALUES, PLAIN = ":mask", ":values", ":plain"
TYPES = ("float16", "bfloat16")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Packed:
    """What a file holds.

    Attributes:
        about: `name`, `version`, `base` (the encoder's name), `licence` and whatever the maker
            wrote; and what `pack` adds: `format`, `type` of the values, `base_digest`, `digest`.
        arrays: packed weights by their keys in the file.
    """

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


def pack(
    weights: Arrays, base: Arrays, about: Mapping[str, Any], *, dtype: str = TYPES[0]
) -> Packed:
    """Return what of an encoder is not in its base.

    Args:
        weights: of the sparse encoder by stable name, kernels with exact zeros where pruned.
        base: of the dense encoder that it was made from. What it has and `weights` has not, such as
            a pooler, is taken from it.
        about: see `Packed`.
        dtype: of the kept weights; one of `TYPES`.

    Raises:
        UserError: no kernel is sparse, the two do not fit, or a value does not fit `dtype`.
    """
    if dtype not in TYPES:
        raise UserError(f"type of kept weights is {dtype!r}; choose {' or '.join(TYPES)}")
    unknown = sorted(set(weights) - set(base))
    if unknown:
        raise UserError(
            f"the base has no weight {unknown[0]} ({len(unknown)} such in all); pack an encoder "
            "without the head of a task, and name the encoder that it was made from"
        )
    arrays: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if value.shape != base[name].shape:
            raise UserError(f"{name} is {value.shape}, in the base {base[name].shape}")
        if np.array_equal(value, base[name]):
            continue
        mask = value != 0
        if name.endswith("/kernel") and not mask.all():
            arrays[name + MASK] = np.packbits(mask)
            arrays[name + VALUES] = _rounded(value[mask], dtype, name)
        else:
            arrays[name + PLAIN] = value.astype(np.float32)
    if not any(key.endswith(MASK) for key in arrays):
        raise UserError("no kernel of the encoder has zeros: there is nothing sparse to pack")
    own = {"format": FORMAT, "type": dtype, "base_digest": digest_of(base)}
    return Packed({**about, **own, "digest": digest_of(arrays)}, arrays)


def unpack(packed: Packed, base: Arrays) -> dict[str, np.ndarray]:
    """Return all weights by stable name, float32.

    Raises:
        UserError: the base is not the one that the encoder was packed against.
    """
    about = packed.about
    if digest_of(base) != about["base_digest"]:
        raise UserError(
            f"the sparse encoder {about.get('name')} needs the base {about.get('base')} with the "
            f"digest {about['base_digest'][:12]}, but the one found has {digest_of(base)[:12]}; "
            "install the version of the base that it was made from"
        )
    weights = {name: value.astype(np.float32) for name, value in base.items()}
    for key, value in packed.arrays.items():
        name, _, kind = key.rpartition(":")
        if f":{kind}" == PLAIN:
            weights[name] = value
        elif f":{kind}" == MASK:
            shape = base[name].shape
            mask = np.unpackbits(value, count=int(np.prod(shape))).astype(bool).reshape(shape)
            weights[name] = np.zeros(shape, np.float32)
            weights[name][mask] = _widened(packed.arrays[name + VALUES], about["type"])
    return weights


def write_packed(path: str | Path, packed: Packed) -> None:
    """Write the file whole or not at all; equal content gives equal bytes."""
    about = np.array(json.dumps(packed.about, indent=1, sort_keys=True))
    write_arrays(path, {ABOUT: about, **dict(sorted(packed.arrays.items()))})


def read_packed(path: str | Path) -> Packed:
    """Read what `write_packed` wrote.

    Raises:
        UserError: the file is missing, damaged, or of another kind or a later format.
    """
    remedy = "get the file again"
    arrays = read_arrays(path, [ABOUT], remedy=remedy)
    try:
        about = json.loads(str(arrays.pop(ABOUT)))
        version, expected = about["format"], about["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no sparse encoder ({error}); {remedy}") from error
    if version != FORMAT:
        raise UserError(
            f"{path} is of format {version}, this version reads {FORMAT}; install a newer one"
        )
    if digest_of(arrays) != expected:
        raise UserError(f"{path} is damaged: its content has another digest than it says; {remedy}")
    return Packed(about, arrays)


def sparsity(packed: Packed) -> float:
    """Return the share of zeros in all pruned kernels together."""
    bits = {key: value for key, value in packed.arrays.items() if key.endswith(MASK)}
    kept = sum(packed.arrays[key.removesuffix(MASK) + VALUES].size for key in bits)
    # A mask is filled up to whole bytes: at most seven bits of a kernel, and none where its size is
    # a multiple of eight.
    return 1 - kept / sum(8 * value.size for value in bits.values())


def digest_of(arrays: Arrays) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes, whatever their order."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def _rounded(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Return values in 16 bits; a weight that is kept stays other than 0."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            found = values.astype(np.float16)
        # The least number of the type in place of 0, or the weight would count as pruned.
        tiny = np.where(values < 0, -1, 1) * np.finfo(np.float16).smallest_subnormal
        found = np.where(found == 0, tiny.astype(np.float16), found)
        if not np.isfinite(found).all():
            raise UserError(f"{name} has weights beyond float16's range; choose bfloat16")
        return found
    # The upper half of a float32, rounded to nearest, ties to even; kept as integers, for NumPy has
    # no such type.
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if not np.isfinite(_widened(upper, dtype)).all():
        raise UserError(f"{name} has weights that are not finite")
    return np.where(upper & 0x7FFF == 0, upper | 1, upper).astype(np.uint16)


def _widened(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float16":
        return values.astype(np.float32)
    return (values.astype(np.uint32) << 16).view(np.float32)
