"""The tensors of a Hugging Face folder, by the names in its files.

One file or several with an index, as safetensors or as PyTorch's own; under the plain names,
whatever training wrapped the model in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.models.hf_config import read_class
from tf_prune_ofa.models.torch_file import read_torch_file

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TORCH_WEIGHTS, TORCH_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_FLOATS = ("float16", "bfloat16", "float32", "float64")
# What DataParallel, torch.compile, Lightning and sentence-transformers put in front of every name.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod|_fsdp_wrapped_module|model|auto_model|0)\.)+")


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a folder's weights, and their index if there is one.

    Raises:
        UserError: there are none.
    """
    for whole, index in ((WEIGHTS, WEIGHTS_INDEX), (TORCH_WEIGHTS, TORCH_INDEX)):
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / index).is_file():
            return [folder / index, *(folder / name for name in _shards(folder / index))]
    raise UserError(_no_weights_message(folder))


def read_tensors(
    folder: Path, is_buffer: Callable[[str], bool] = lambda name: False
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all tensors of a folder with their names, as float32.

    Args:
        folder: of a model.
        is_buffer: whether a tensor of this name is no weight, and is left out.

    Raises:
        UserError: the weights are missing, cut short, not of a float type, or not finite.
    """
    files = [path for path in weight_files(folder) if path.suffix != ".json"]
    for name, tensor in _without_wrappers(_of_files(folder, files)):
        if is_buffer(name):
            continue
        if tensor.dtype.name not in _FLOATS:
            raise UserError(
                f"{folder}: tensor {name} is {tensor.dtype.name}, not a float; "
                "give the model before its quantization"
            )
        with np.errstate(over="ignore"):
            value = tensor.astype(np.float32)
        require_finite(folder, name, value)
        yield name, value


def digest_of(weights: Mapping[str, np.ndarray]) -> str:
    """Return a SHA-256 of names and float32 values, whatever files they came from."""
    found = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], np.float32)
        found.update(f"{name} {value.shape}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def require_finite(source: str | Path, name: str, value: np.ndarray) -> None:
    """Raise a `UserError` with tensor and place if a weight is NaN or infinite."""
    # The sum is finite if all numbers are, and needs no array of its own; huge ones may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(value, dtype=np.float64)):
            return
    wrong = np.argwhere(~np.isfinite(value))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise UserError(
            f"{source}: {name} is {value[place]} at {list(place)}; {len(wrong)} of its "
            f"{value.size} numbers are not finite. The file is damaged, or its training diverged: "
            "get it again, or train anew with a lower learning rate"
        )


def _of_files(folder: Path, paths: Iterable[Path]) -> Iterator[tuple[str, np.ndarray]]:
    for path in paths:
        if not path.is_file():
            raise UserError(f"{folder} has no {path.name}, which its index lists; get that file")
        if path.suffix == ".safetensors":
            yield from _of_safetensors(path)
        else:
            yield from read_torch_file(path, _conversion(folder))


def _of_safetensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with safe_open(path, framework="np") as tensors:
            for name in tensors.keys():
                yield name, tensors.get_tensor(name)
    except SafetensorError as error:
        raise UserError(
            f"{path} is {_kind_of(path)} ({error}; it has {path.stat().st_size} bytes); get the "
            "file again"
        ) from error


def _kind_of(path: Path) -> str:
    with path.open("rb") as file:
        is_pointer = file.read(16) == b"version https://"
    if is_pointer:
        return "a pointer of Git LFS instead of the file itself: run git lfs pull"
    return "cut short, damaged or no safetensors file"


def _without_wrappers(
    tensors: Iterable[tuple[str, np.ndarray]],
) -> Iterator[tuple[str, np.ndarray]]:
    """Take off what stands in front of every name; what only some have is part of their name."""
    found = list(tensors)
    prefixes = [match[0] if (match := _WRAPPERS.match(name)) else "" for name, _ in found]
    shared = min(prefixes, key=len, default="")
    while shared and not all(prefix.startswith(shared) for prefix in prefixes):
        shared = shared[:-1].rpartition(".")[0]
        shared += "." if shared else ""
    for name, tensor in found:
        yield name.removeprefix(shared), tensor


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists."""
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index} lists no files; get it again")
    names = sorted(set(map(str, weight_map.values())))
    outside = [name for name in names if Path(name).name != name or name in ("", ".", "..")]
    if outside:
        raise UserError(
            f"{index} lists {outside[0]!r}, which is no file of its folder; get it again"
        )
    return names


def _no_weights_message(folder: Path) -> str:
    others = [name for name in ("tf_model.h5", "flax_model.msgpack") if (folder / name).is_file()]
    others += sorted(path.name for path in folder.glob("*.ckpt*"))[:2]
    there = f" It has {', '.join(others)}, which is not read here." if others else ""
    return f"{folder} has no {WEIGHTS} and no {TORCH_WEIGHTS}.{there} {_conversion(folder)}"


def _conversion(folder: Path) -> str:
    known = read_class(folder) or "AutoModel"
    return (
        "To convert a model, do this where transformers and torch are installed, with its folder "
        "or its name on the Hub in place of MODEL, and copy its vocab.txt into NEW_FOLDER:\n"
        f"  python -c \"from transformers import {known} as M; M.from_pretrained('MODEL')"
        ".save_pretrained('NEW_FOLDER', safe_serialization=True)\""
    )
