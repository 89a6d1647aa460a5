"""Refuse files that a pass over their operators would not understand, before it starts.

`tflite.flatbuffer` has checked that every offset and index of the file points at something. Here
it is about meaning: whether each operator has what its kind needs, and shapes agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer
from tf_prune_ofa.tflite.graph import Graph, schema

# Smallest and largest number of inputs of operators that the pass looks into, their options, and
# whether these must be there.
_OPTIONS = {
    "FULLY_CONNECTED": (2, 3, schema.FullyConnectedOptionsT, True),
    "RESHAPE": (1, 2, schema.ReshapeOptionsT, False),
    "TRANSPOSE": (2, 2, schema.TransposeOptionsT, False),
    "DEQUANTIZE": (1, 1, None, False),
    "QUANTIZE": (1, 1, None, False),
}


def check_foreign(file: bytes, graphs: Sequence[Graph]) -> None:
    """Refuse a file that a pass could not rewrite without loss, or not understand.

    Args:
        file: the bytes.
        graphs: its subgraphs.

    Raises:
        UserError: bytes that belong to nothing, open shapes, or parts that are not understood.
    """
    flatbuffer.require_nothing_unknown(file, graphs[0].model, graphs[0].packed.start)
    for graph in graphs:
        for tensor in graph.ports()[0]:
            if tensor >= 0 and flatbuffer.is_dynamic(graph.tensors[tensor]):
                shape = np.asarray(graph.tensors[tensor].shapeSignature).tolist()
                raise UserError(
                    f"input {graph.name(tensor)} has the open shape {shape}: how many tokens a "
                    "layer computes is known only when the file runs, and XNNPACK leaves such "
                    "operators to slower kernels. Convert the model with a fixed shape for every "
                    "input, such as tf.TensorSpec([1, 128], tf.int32), and give that file."
                )
        check_sound(graph)


def check_sound(graph: Graph) -> None:
    """Refuse a graph that contradicts itself, or has parts that are not understood.

    Raises:
        UserError: says what the first such thing is.
    """
    problem = next(_problems(graph), None)
    if problem is not None:
        raise UserError(
            f"this .tflite file is not understood: {problem}. If a runtime runs it, please report "
            "it; otherwise export it again."
        )


def _problems(graph: Graph) -> Iterator[str]:
    yield from _port_problems(graph)
    for tensor, entry in enumerate(graph.tensors):
        yield from _tensor_problems(graph, tensor, entry)
    known = {-1, *(int(t) for t in graph.ports()[0] if t >= 0)}
    known |= {t for t in range(len(graph.tensors)) if graph.is_constant(t)}
    known |= {t for t, entry in enumerate(graph.tensors) if entry.isVariable}
    for position, operator in enumerate(graph.operators):
        what = f"operator {position}, {graph.op_name(operator)},"
        yield from _operator_problems(graph, operator, what)
        missing = [int(t) for t in operator.inputs if int(t) not in known]
        if missing:
            yield f"{what} reads tensor {missing[0]}, which nothing has computed by then"
        for tensor in (int(t) for t in operator.outputs if t >= 0):
            if tensor in known:
                yield f"{what} writes tensor {tensor}, which has a value already"
            known.add(tensor)
    missing = [int(t) for t in graph.ports()[1] if int(t) not in known - {-1}]
    if missing:
        yield f"nothing computes its output {missing[0]}"


def _port_problems(graph: Graph) -> Iterator[str]:
    inputs, outputs = graph.ports()
    ports = {*map(int, inputs), *map(int, outputs)}
    if any(tensor < 0 for tensor in ports):
        yield "an input or output is no tensor"
    for definition in graph.signatures():
        for entry in [*(definition.inputs or []), *(definition.outputs or [])]:
            if entry.tensorIndex not in ports:
                yield f"its signature names tensor {entry.tensorIndex}, no input and no output"


def _tensor_problems(graph: Graph, tensor: int, entry: Any) -> Iterator[str]:
    shape = graph.shape(tensor)
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=object)) >= 2**40:
        yield f"tensor {tensor} has the shape {shape}"
    parameters = entry.quantization
    scales = None if parameters is None else parameters.scale
    if scales is None or not np.size(scales):
        return
    if not np.all(np.isfinite(scales)):
        yield f"tensor {tensor} has a scale that is not a number"
    if any(scale <= 0 for scale in scales):
        yield f"tensor {tensor} has a scale that is not above 0"
    if parameters.zeroPoint is None or np.size(parameters.zeroPoint) not in (1, np.size(scales)):
        yield f"tensor {tensor} has {np.size(scales)} scales and not as many zero points"
    axis = parameters.quantizedDimension
    if np.size(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == np.size(scales)):
        yield f"tensor {tensor} of shape {shape} has {np.size(scales)} scales along axis {axis}"


def _operator_problems(graph: Graph, operator: Any, what: str) -> Iterator[str]:
    name = graph.op_name(operator)
    if name.startswith("UNKNOWN"):
        yield f"{what} is no operator of the format"
    if name not in _OPTIONS:
        return  # what is not looked into stays as it is
    if not len(operator.outputs) or any(int(tensor) < 0 for tensor in operator.outputs):
        yield f"{what} has no output"
        return
    least, most, options, is_needed = _OPTIONS[name]
    if len(operator.inputs) < least or any(int(t) < 0 for t in operator.inputs[:least]):
        yield f"{what} has too few inputs"
        return
    if len(operator.inputs) > most or len(operator.outputs) > 1:
        yield f"{what} has more inputs or outputs than its kind"
        return
    found = operator.builtinOptions
    is_right = found is None or options is None or isinstance(found, options)
    if not is_right or (is_needed and found is None):
        yield f"{what} has the options of another kind"
        return
    if name == "FULLY_CONNECTED":
        yield from _layer_problems(graph, operator, what)
    elif name == "RESHAPE":
        yield from _same_count(graph, operator, what)
    elif name == "TRANSPOSE":
        yield from _transpose_problems(graph, operator, what)
    elif graph.shape(int(operator.inputs[0])) != graph.shape(int(operator.outputs[0])):
        yield f"{what} changes the shape"


def _layer_problems(graph: Graph, operator: Any, what: str) -> Iterator[str]:
    source, weights = (int(tensor) for tensor in operator.inputs[:2])
    kernel, read = graph.shape(weights), graph.shape(source)
    written = graph.shape(int(operator.outputs[0]))
    if len(kernel) != 2 or 0 in kernel or not read or not written:
        yield f"{what} has weights of shape {kernel} and an input of shape {read}"
        return
    outputs, inputs = kernel
    rows = int(np.prod(read)) // inputs
    if (
        rows * inputs != np.prod(read)
        or written[-1] != outputs
        or np.prod(written) != rows * outputs
    ):
        yield f"{what} makes {written} of {read} with weights of shape {kernel}"
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = graph.shape(int(operator.inputs[2]))
        if np.prod(bias) != outputs:
            yield f"{what} has {outputs} outputs and a bias of shape {bias}"


def _same_count(graph: Graph, operator: Any, what: str) -> Iterator[str]:
    read, written = (graph.shape(int(t)) for t in (operator.inputs[0], operator.outputs[0]))
    if np.prod(read) != np.prod(written):
        yield f"{what} makes {written} of {read}"


def _transpose_problems(graph: Graph, operator: Any, what: str) -> Iterator[str]:
    read, written = (graph.shape(int(t)) for t in (operator.inputs[0], operator.outputs[0]))
    order = int(operator.inputs[1])
    if not graph.is_constant(order):
        return
    if graph.dtype(order) != np.int32 or graph.tensors[order].sparsity is not None:
        yield f"{what} has an order that is not INT32"
        return
    axes = graph.constant(order).ravel().tolist()
    if sorted(axes) != list(range(len(read))) or [read[axis] for axis in axes] != written:
        yield f"{what} makes {written} of {read} in the order {axes}"
