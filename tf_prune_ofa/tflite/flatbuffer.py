"""Read a `.tflite` file as data, without running it.

The Python classes of the TFLite schema trust every offset they read. `read_model` checks what they
do not: the file's identifier, that all parts lie inside the file, and what `file_checks` lists.
"""

import os
import struct
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import file_checks

# What tensors hold is asked for here, too.
from tf_prune_ofa.tflite.file_values import (  # noqa: F401
    constant_bytes,
    dtype_name,
    is_dynamic,
    numbers,
    shape_of,
    stored_bytes,
    stored_values,
    tensor_values,
    text,
)

IDENTIFIER = b"TFL3"

_OP_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()
}


def read_model(path: str | os.PathLike[str]) -> schema.ModelT:
    """Reads and checks a `.tflite` file.

    Args:
        path: the file.

    Returns:
        The model as the schema's own objects. The data of its buffers are views of one read-only
        copy of the file (also for buffers that files above 2 GB keep behind the flatbuffer).

    Raises:
        UserError: no such file, not a TFLite file, or a damaged or cut one.
    """
    return parse_model(read_bytes(path), name=os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file; raises UserError if there is none at `path`."""
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}. Give the path of a .tflite file.")
    return path.read_bytes()


def parse_model(data: bytes, *, name: str = "the model") -> schema.ModelT:
    """As `read_model`, from bytes; `name` is what error messages call them."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        start = data[:8].hex(" ") or "nothing, it is empty"
        raise UserError(
            f"{name} is not a TFLite file: bytes 5 to 8 should read TFL3, the file starts with "
            f"{start} ({len(data)} bytes in all). Export it again or fetch it again."
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        _attach_far_buffers(model, data)
        file_checks.check(model)
    # What the generated classes raise when an offset or a length leads out of the file.
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{name} is a damaged TFLite file or only a part of one ({len(data)} bytes; {error}). "
            "Export it again or fetch it again."
        ) from error
    return model


def op_name(code: schema.OperatorCodeT) -> str:
    """Name of an operator, such as `FULLY_CONNECTED`, or `CUSTOM:name` of a custom one."""
    # Files made before 2020 keep the number in a field of 8 bits only.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _OP_NAMES.get(number, f"UNKNOWN_{number}")
    return f"CUSTOM:{text(code.customCode)}" if name == "CUSTOM" else name


def _attach_far_buffers(model: schema.ModelT, data: bytes) -> None:
    # Files above 2 GB keep buffers behind the flatbuffer; 0 and 1 mean that a buffer is inside it.
    for buffer in model.buffers or []:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, count=buffer.size, offset=buffer.offset)


def require_nothing_unknown(data: bytes, model: schema.ModelT, archive: int | None) -> None:
    """Refuse a file with bytes behind the model that belong to nothing known.

    Whoever writes the file anew would lose them.

    Args:
        data: the whole file.
        model: what `parse_model` gave.
        archive: where an archive of packed files begins, if there is one.

    Raises:
        UserError: says where they are.
    """
    end = len(data) if archive is None else archive
    known = _end_of_vectors(data, model)
    if known < end and not _is_whole(data[:known], model):
        # The last table or text of the model lies behind its last vector. The shortest part of the
        # file that reads the same is the model.
        least, most = known, end
        while least < most:
            middle = (least + most) // 2
            least, most = (least, middle) if _is_whole(data[:middle], model) else (middle + 1, most)
        known = least
    if any(data[known:end]):
        raise UserError(
            f"the file has {end - known:,} bytes from position {known:,} on that belong neither to "
            "the model nor to files packed behind it, and they would be lost. Cut them off, or "
            "export the file again."
        )


def _end_of_vectors(data: bytes, model: schema.ModelT) -> int:
    """Where the last vector of numbers ends."""
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    end, waiting = 0, [model]
    while waiting:
        for value in vars(waiting.pop()).values():
            if isinstance(value, np.ndarray):
                # A missing type of options is no place in the file.
                place = value.__array_interface__["data"][0] - start
                end = max(end, place + value.nbytes if 0 <= place <= len(data) else 0)
            elif isinstance(value, list):
                waiting += [one for one in value if hasattr(one, "__dict__")]
            elif hasattr(value, "__dict__"):
                waiting.append(value)
    return end


def _is_whole(data: bytes, model: schema.ModelT) -> bool:
    """Whether a part of a file is the same model."""
    try:
        part = schema.ModelT.InitFromPackedBuf(data, 0)
        return _texts(part) == _texts(model)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError):
        return False


def _texts(model: schema.ModelT) -> list[bytes | None]:
    """All texts of a file: the one kind of content that is cut without an error."""
    found = [model.description, *(code.customCode for code in model.operatorCodes or [])]
    found += [entry.name for entry in model.metadata or []]
    for graph in model.subgraphs:
        found += [graph.name, *(tensor.name for tensor in graph.tensors or [])]
    for definition in model.signatureDefs or []:
        entries = [*(definition.inputs or []), *(definition.outputs or [])]
        found += [definition.signatureKey, *(entry.name for entry in entries)]
    return found
