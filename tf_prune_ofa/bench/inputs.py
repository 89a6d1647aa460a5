"""Inputs to measure a model with: random, but of the kind it was made for."""

from collections.abc import Iterator
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.ports import open_shape
from tf_prune_ofa.tflite import flatbuffer

# Where the file does not show how many words it knows, ids this small are safe for any vocabulary.
_FALLBACK_VOCABULARY = 2
# Numbers in one input; no text has as many tokens.
_MOST = 2**27
# NumPy's types that the format has.
_TYPES = (
    *("float64", "float32", "float16"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
)


def make_inputs(
    model: schema.ModelT,
    graph: schema.SubGraphT | None = None,
    *,
    seed: int = 0,
    sequence_length: int | None = None,
) -> list[np.ndarray]:
    """Makes one full-length example: no padding, as padding costs a fixed-length file the same.

    Integer inputs are told apart by name: a mask is all ones, type ids are zeros then ones (two
    sentences), all others are token ids drawn from the whole vocabulary, so that embedding rows
    come from all over memory as they do for real text. Float inputs are standard normal, quantized
    ones cover their type's range, texts are short.

    Args:
        model: what `flatbuffer.read_model` gave.
        graph: the subgraph whose inputs these are; None for the first.
        seed: the same seed and shapes give the same inputs.
        sequence_length: for sizes that the file leaves open; None takes what is written beside
            them, which is 1 as a rule.

    Returns:
        One array per input of the graph, in its order.

    Raises:
        UserError: an input is of a type that cannot be made up.
    """
    graph = graph or model.subgraphs[0]
    generator = np.random.default_rng(seed)
    return [
        _example(model, graph, int(index), generator, sequence_length) for index in graph.inputs
    ]


def open_inputs(model: schema.ModelT) -> dict[str, list[int]]:
    """The inputs whose length is left open, more than the number of examples: shapes by name."""
    graph = model.subgraphs[0]
    shapes = {}
    for index in graph.inputs:
        tensor = graph.tensors[int(index)]
        signature = flatbuffer.numbers(tensor.shapeSignature).tolist()
        if any(size < 0 for size in signature[1:]) or signature == [-1]:
            shapes[flatbuffer.text(tensor.name)] = signature
    return shapes


def _example(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    index: int,
    generator: np.random.Generator,
    sequence_length: int | None,
) -> np.ndarray:
    tensor = graph.tensors[index]
    name = flatbuffer.text(tensor.name).lower()
    shape, dtype = flatbuffer.shape_of(tensor), flatbuffer.dtype_name(tensor)
    if sequence_length is not None and flatbuffer.is_dynamic(tensor):
        shape = open_shape(flatbuffer.numbers(tensor.shapeSignature).tolist(), sequence_length)
    if any(size < 0 for size in shape) or prod(shape) > _MOST:
        raise UserError(
            f"input {flatbuffer.text(tensor.name)} has the shape {list(shape)}, for which no "
            f"values can be made up: at most {_MOST:,} numbers."
        )
    if dtype == "string":
        return np.full(shape, "text")
    if dtype not in _TYPES:
        raise UserError(
            f"input {flatbuffer.text(tensor.name)} is of type {dtype}, for which no values can be "
            f"made up; known are {', '.join(_TYPES)} and string."
        )
    if dtype.startswith("float"):
        return generator.standard_normal(shape).astype(dtype)
    if dtype == "bool" or "mask" in name:
        return np.ones(shape, dtype)
    if ("type" in name or "segment" in name) and shape:
        types = np.zeros(shape, dtype)
        types[..., shape[-1] // 2 :] = 1
        return types
    if dtype in ("int8", "uint8", "int16"):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, np.dtype(dtype), endpoint=True)
    return generator.integers(0, vocabulary_size(model, index, graph), shape, np.dtype(dtype))


def vocabulary_size(
    model: schema.ModelT, input_index: int, graph: schema.SubGraphT | None = None
) -> int:
    """Rows of the smallest table that is looked up with an input's numbers.

    Follows the input through operators that keep numbers as they are until a GATHER or
    EMBEDDING_LOOKUP; an id at or above the result makes the runtime fail.
    """
    graph = graph or model.subgraphs[0]
    same = {input_index}
    rows = []
    for operator in graph.operators or []:  # in an order in which inputs come before their use
        name = flatbuffer.op_name(model.operatorCodes[operator.opcodeIndex])
        inputs = flatbuffer.numbers(operator.inputs).tolist()
        if name in ("CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE") and same & {*inputs[:1]}:
            same.update(flatbuffer.numbers(operator.outputs).tolist())
        shapes = [
            flatbuffer.shape_of(graph.tensors[table]) for table in _tables(name, inputs, same)
        ]
        rows += [shape[0] for shape in shapes if shape and shape[0] > 0]
    return min(rows, default=_FALLBACK_VOCABULARY)


def _tables(name: str, inputs: list[int], same: set[int]) -> Iterator[int]:
    """Tables that an operator looks up with one of the tensors in `same`."""
    if len(inputs) < 2:
        return
    if name == "GATHER" and inputs[1] in same:
        yield inputs[0]
    elif name == "EMBEDDING_LOOKUP" and inputs[0] in same:
        yield inputs[1]
