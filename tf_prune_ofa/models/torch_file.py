"""Tensors of a pytorch_model.bin, read without running anything that is in it.

Such a file is a zip archive: a pickle that describes the tensors, and their numbers as plain bytes
beside it. A pickle can call any function of Python; this reader has but the few that a file of
tensors needs, all of them its own, and refuses a file that asks for another.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError

_BFLOAT16 = "BFloat16Storage"
_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": np.uint16,  # the upper half of a float32
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Names and shapes of the tensors of the largest model take a few hundred kilobytes.
_MAX_PICKLE = 64 * 2**20
# Beside the tensors, training may have left these; what is meant is inside.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle describes it: its numbers are in the archive's entry `key`."""

    key: str
    storage: str
    count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path, remedy: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a file with their names.

    Args:
        path: a file that `torch.save` wrote, version 1.6 or later.
        remedy: what to do with a file that cannot be read here, for messages.

    Raises:
        UserError: the file is damaged or of an older form, holds something else than tensors, or
            would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            described, root = _describe(archive)
            for name, tensor in described.items():
                yield name, _numbers(archive, root, name, tensor)
    except _Refused as error:
        raise UserError(f"{path}: {error}\n{remedy}") from None
    except (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, OSError) as error:
        raise UserError(
            f"{path} is cut short, damaged, or older than PyTorch 1.6 ({error}). Get the file "
            f"again.\n{remedy}"
        ) from None


class _Refused(Exception):
    """What is wrong with a file, in words."""


def _describe(archive: zipfile.ZipFile) -> tuple[dict[str, _Tensor], str]:
    """Return the tensors by name, and the folder inside the archive."""
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise zipfile.BadZipFile("no data.pkl in it")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist():
        order = archive.read(f"{root}byteorder")
        if order != b"little":
            raise _Refused(f"its numbers are in {order!r} byte order, only little is read")
    if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE:
        raise _Refused("its description of the tensors is too large to be one")
    try:
        content = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()
    except _Refused:
        raise
    # A damaged pickle can end in an exception of almost any type.
    except Exception as error:
        raise zipfile.BadZipFile(f"{type(error).__name__}: {error}") from None
    if isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        content = inner[0] if inner else content
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise _Refused(f"it holds a {type(content).__name__}, not tensors by name")
    tensors = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
    others = [name for name in content if name not in tensors]
    if others or not tensors:
        raise _Refused(f"it holds more than tensors: {', '.join(others[:3]) or 'nothing'}")
    return tensors, root


def _numbers(archive: zipfile.ZipFile, root: str, name: str, tensor: _Tensor) -> np.ndarray:
    """Return a tensor's numbers; its description is not trusted."""
    entry = archive.getinfo(f"{root}data/{tensor.key}")
    dtype = np.dtype(_DTYPES[tensor.storage])
    # torch never compresses; whoever does may unpack a few bytes to gigabytes.
    if entry.compress_type != zipfile.ZIP_STORED:
        raise _Refused(f"the numbers of {name} are compressed, which no version of torch does")
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    is_empty = 0 in tensor.shape
    if entry.file_size != tensor.count * dtype.itemsize or (last >= tensor.count and not is_empty):
        raise _Refused(
            f"{name} {list(tensor.shape)} does not fit the numbers that are there for it"
        )
    size = int(np.prod(tensor.shape, dtype=object))
    if size > tensor.count:
        raise _Refused(f"{name} {list(tensor.shape)} repeats numbers")
    storage = np.frombuffer(archive.read(entry), dtype)
    if tensor.storage == _BFLOAT16:
        storage = (storage.astype(np.uint32) << 16).view(np.float32)
    view = np.lib.stride_tricks.as_strided(
        storage[tensor.offset :],
        tensor.shape,
        [stride * storage.itemsize for stride in tensor.strides],
    )
    return np.ascontiguousarray(view).reshape(tensor.shape)


class _Unpickler(pickle.Unpickler):
    """Builds descriptions of tensors; finds no function of Python."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module == "torch" and name in _DTYPES:
            return name
        raise _Refused(
            f"it asks for {module}.{name}, which no file of tensors needs; nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        kind, storage, key, _, count = pid
        if kind != "storage" or storage not in _DTYPES or type(count) is not int:
            raise _Refused("it refers to something else than numbers")
        return str(key), storage, count


def _rebuild_tensor(
    numbers: tuple[str, str, int], offset: int, shape: Any, strides: Any, *_: Any
) -> _Tensor:
    key, storage, count = numbers
    shape, strides = tuple(shape), tuple(strides)
    sizes = (offset, *shape, *strides)
    if not all(type(n) is int and n >= 0 for n in sizes) or len(shape) != len(strides):
        raise _Refused(f"it describes a tensor of the shape {shape}")
    return _Tensor(key, storage, count, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
