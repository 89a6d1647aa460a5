"""Refuse .tflite files of forms that some runtime cannot load, or worse, computes wrongly.

What each rule is based on was run on ai-edge-litert 1.4 to 2.3 and tflite-runtime 2.14 (see the
runtime matrix in the documentation). Several of the forms are what the converter's own sparsity
option writes. Every writer of this package calls `check` on the bytes before they reach a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer
from tf_prune_ofa.tflite.graph import Graph, schema

# A flatbuffer's offsets are 32 bits wide and signed in places.
MAX_BYTES = 2**31 - 1

# The only block of the builtin sparse kernel: 1 output x 16 inputs.
_SPARSE_BLOCK = [16]
# FULLY_CONNECTED versions that say "sparse weights" and "a scale for each channel, float input".
_SPARSE_VERSION, _PER_CHANNEL_HYBRID_VERSION = 8, 12

# Inputs that decide the shape of an output: if one is computed at run time, so is the shape.
_SHAPE_INPUTS = {
    "RESHAPE": (1,),
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
}
# How many inputs the operators that are looked into cannot do without.
_NEEDED_INPUTS = {"FULLY_CONNECTED": 2, "CONV_2D": 2, "DENSIFY": 1}
# Problems of one reason that are shown in full.
_SHOWN = 3
# Operators whose output shape depends on the data itself.
_DATA_SHAPED = ("UNIQUE", "WHERE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")


def check(content: bytes, before: bytes | None = None) -> None:
    """Refuse a file that is not known to load and compute correctly everywhere.

    Args:
        content: the bytes of a .tflite file.
        before: somebody else's file that it was made from. What that file has already is its
            owner's choice and not refused; None: every form is refused.

    Raises:
        UserError: lists what is refused, with the reasons.
    """
    known = set() if before is None else set(find_problems(before))
    problems = [problem for problem in find_problems(content) if problem not in known]
    if problems:
        raise UserError(
            "refusing to write a .tflite file with forms that runtimes cannot load or compute "
            "wrongly:\n  " + "\n  ".join(_shortened(problems))
        )


def _shortened(problems: list[str]) -> list[str]:
    """Return the first few problems of each reason (what follows the colon), and a count."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        groups.setdefault(problem.rpartition(": ")[2], []).append(problem)
    lines = []
    for alike in groups.values():
        lines += alike[:_SHOWN]
        if len(alike) > _SHOWN:
            lines.append(f"... and {len(alike) - _SHOWN} more for the last reason.")
    return lines


def find_problems(content: bytes) -> list[str]:
    """Return one sentence for each form in a file that `check` refuses.

    Raises:
        UserError: the bytes are not a whole .tflite file.
    """
    first = Graph(content)
    problems = []
    if len(content) > MAX_BYTES:
        problems.append(f"{len(content):,} bytes: files of 2 GiB and more do not load.")
    count = len(first.model.subgraphs)
    if count > 1:
        problems.append(
            f"{count} subgraphs (control flow, or several signatures): task libraries know files "
            "of one."
        )
    for graph in (first, *(Graph(content, index) for index in range(1, count))):
        problems += _subgraph_problems(graph)
    return list(dict.fromkeys(problems))


def _subgraph_problems(graph: Graph) -> Iterator[str]:
    yield from _interface_problems(graph)
    yield from _shape_problems(graph)
    sound = []
    for operator in graph.operators:
        needed = _NEEDED_INPUTS.get(graph.op_name(operator), 0)
        if len(operator.inputs) < needed or any(t < 0 for t in operator.inputs[:needed]):
            yield f"{graph.op_name(operator)} {_output(graph, operator)} has too few inputs."
        else:
            sound.append(operator)
    yield from _weight_problems(graph, sound)
    for operator in sound:
        yield from _operator_problems(graph, operator)
    yield from _sparsity_problems(graph, sound)


def _interface_problems(graph: Graph) -> Iterator[str]:
    inputs, outputs = graph.signature()
    for kind, names, allowed in (
        ("input", inputs, (np.int32, np.float32, np.int8)),
        ("output", outputs, (np.float32, np.int8, np.int32)),
    ):
        for name, tensor in names.items():
            if graph.dtype(tensor) not in [np.dtype(dtype) for dtype in allowed]:
                found = flatbuffer.dtype_name(graph.tensors[tensor])
                expected = ", ".join(np.dtype(dtype).name for dtype in allowed)
                yield f"{kind} {name} is {found}; MediaPipe and phone code pass {expected} only."


def _shape_problems(graph: Graph) -> Iterator[str]:
    for tensor, entry in enumerate(graph.tensors):
        if flatbuffer.is_dynamic(entry):
            yield (
                f"tensor {graph.name(tensor)} has the open shape "
                f"{np.asarray(entry.shapeSignature).tolist()}: XNNPACK leaves out operators with "
                "dynamic tensors."
            )
    for operator in graph.operators:
        name = graph.op_name(operator)
        computed = [
            slot
            for slot in _SHAPE_INPUTS.get(name, ())
            if slot < len(operator.inputs)
            and operator.inputs[slot] >= 0
            and not graph.is_constant(operator.inputs[slot])
        ]
        if computed or name in _DATA_SHAPED:
            yield (
                f"{name} computes the shape of {_output(graph, operator)} at run time: XNNPACK "
                "leaves out operators with dynamic tensors."
            )


def _weight_problems(graph: Graph, operators: list[Any]) -> Iterator[str]:
    """Weights are symmetric: a pruned weight is the integer 0 and means 0."""
    for operator in operators:
        if graph.op_name(operator) not in ("FULLY_CONNECTED", "CONV_2D"):
            continue
        weights = int(operator.inputs[1])
        parameters = graph.tensors[weights].quantization
        if not _is_integer(graph, weights) or parameters is None or parameters.scale is None:
            continue
        if parameters.zeroPoint is not None and np.any(np.asarray(parameters.zeroPoint) != 0):
            yield f"weights {graph.name(weights)} have a zero point: kernels take it for 0."
        scales = np.asarray(parameters.scale)
        if not (np.all(np.isfinite(scales)) and np.all(scales > 0)):
            yield f"weights {graph.name(weights)} have a scale that is not a positive number."


def _operator_problems(graph: Graph, operator: Any) -> Iterator[str]:
    name, version = graph.op_name(operator), graph.op_version(operator)
    output = _output(graph, operator)
    if name.startswith(("CUSTOM", "UNKNOWN")):
        code = name.removeprefix("CUSTOM:")
        kind = "Flex" if code.startswith("Flex") else "custom"
        yield f"{kind} operator {code} computes {output}: stock runtimes do not have it."
    if name == "FULLY_CONNECTED":
        weights = int(operator.inputs[1])
        if graph.tensors[weights].sparsity is not None:
            yield from _sparse_layer_problems(graph, operator)
        elif _is_hybrid(graph, operator) and _is_per_channel(graph, weights):
            if version < _PER_CHANNEL_HYBRID_VERSION:
                yield (
                    f"FULLY_CONNECTED {output} has a float input and a scale for each channel, but "
                    f"version {version} (needs {_PER_CHANNEL_HYBRID_VERSION}): tflite-runtime 2.14 "
                    "would use the first scale for all channels."
                )


def _sparse_layer_problems(graph: Graph, operator: Any) -> Iterator[str]:
    """Sparse weights straight into FULLY_CONNECTED."""
    weights, version = int(operator.inputs[1]), graph.op_version(operator)
    what = f"sparse FULLY_CONNECTED {_output(graph, operator)}"
    if version != _SPARSE_VERSION:
        yield (
            f"{what} has version {version}, not {_SPARSE_VERSION}: XNNPACK takes the compressed "
            "weights for dense ones and computes garbage."
        )
    if _is_hybrid(graph, operator):
        yield (
            f"{what} has a float input and INT8 weights: several runtimes compute garbage, all of "
            "them if weights are stored singly."
        )
    elif _is_per_channel(graph, weights):
        yield f"{what} has a scale for each channel: tflite-runtime 2.14 computes garbage."
    if _blocks(graph, weights) != _SPARSE_BLOCK:
        yield f"{what} is not stored in blocks of 1x16: every runtime refuses it when it runs."


def _sparsity_problems(graph: Graph, operators: list[Any]) -> Iterator[str]:
    """Sparse constants anywhere else, and what DENSIFY feeds."""
    for operator in operators:
        name = graph.op_name(operator)
        output = _output(graph, operator)
        for tensor in operator.inputs:
            if tensor >= 0 and graph.tensors[tensor].sparsity is not None:
                if name not in ("DENSIFY", "FULLY_CONNECTED"):
                    yield f"{name} {output} reads sparse weights: it takes them for dense ones."
        if name != "DENSIFY":
            continue
        source = int(operator.inputs[0])
        if graph.tensors[source].sparsity is None or not graph.is_constant(source):
            yield f"DENSIFY {output} has no sparse constant to unpack."
        if graph.dtype(source) != np.int8:
            found = flatbuffer.dtype_name(graph.tensors[source])
            yield f"DENSIFY {output} unpacks {found}; only int8 is known to work."
        for unpacked in operator.outputs[:1]:
            for consumer in graph.consumers(int(unpacked)):
                yield from _unpacked_problems(graph, consumer, int(unpacked))


def _unpacked_problems(graph: Graph, consumer: Any, unpacked: int) -> Iterator[str]:
    name = graph.op_name(consumer)
    output = _output(graph, consumer)
    if name == "FULLY_CONNECTED":
        yield f"DENSIFY feeds FULLY_CONNECTED {output}: ai-edge-litert 2.1.5 and newer fail."
    elif name != "CONV_2D" or list(consumer.inputs).index(unpacked) != 1:
        yield f"DENSIFY feeds {name} {output}: only the filter of CONV_2D is known to work."
    elif graph.dtype(consumer.inputs[0]) != np.int8:
        yield f"DENSIFY feeds CONV_2D {output} with a float input: only INT8 is known to work."


def _output(graph: Graph, operator: Any) -> str:
    """Return the name of what an operator writes first."""
    has_one = len(operator.outputs) and operator.outputs[0] >= 0
    return graph.name(operator.outputs[0]) if has_one else "without a result"


def _is_hybrid(graph: Graph, operator: Any) -> bool:
    source, weights = operator.inputs[0], operator.inputs[1]
    return graph.dtype(source) == np.float32 and _is_integer(graph, weights)


def _is_integer(graph: Graph, tensor: int) -> bool:
    """Return whether a tensor is INT8 or INT4, which NumPy has no type for."""
    return flatbuffer.dtype_name(graph.tensors[tensor]) in ("int8", "int4")


def _is_per_channel(graph: Graph, weights: int) -> bool:
    parameters = graph.tensors[weights].quantization
    return parameters is not None and parameters.scale is not None and len(parameters.scale) > 1


def _blocks(graph: Graph, tensor: int) -> list[int]:
    """Return the sizes of a sparse tensor's blocks; empty where weights are stored singly."""
    sparsity = graph.tensors[tensor].sparsity
    block_map = sparsity.blockMap
    count = 0 if block_map is None or isinstance(block_map, int) else len(block_map)
    dimensions = sparsity.dimMetadata[len(sparsity.dimMetadata) - count :]
    return [
        int(dimension.denseSize)
        for dimension in dimensions
        if dimension.format == schema.DimensionType.DENSE
    ]
