"""Inputs to measure a model with: random, but of the kind it was made for."""

from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import flatbuffer

# Where the file does not show how many words it knows, ids this small are safe for any vocabulary.
_FALLBACK_VOCABULARY = 2


def make_inputs(model: schema.ModelT, *, seed: int = 0) -> list[np.ndarray]:
    """Makes one full-length example: no padding, as padding costs a fixed-length file the same.

    Integer inputs are told apart by name: a mask is all ones, type ids are zeros then ones (two
    sentences), all others are token ids drawn from the whole vocabulary, so that embedding rows
    come from all over memory as they do for real text. Float inputs are standard normal, quantized
    ones cover their type's range.

    Args:
        model: what `flatbuffer.read_model` gave.
        seed: the same seed and shapes give the same inputs.

    Returns:
        One array per input of the model, in the model's order. Sizes left open are taken as 1.
    """
    graph = model.subgraphs[0]
    generator = np.random.default_rng(seed)
    return [_example(model, graph, int(index), generator) for index in graph.inputs]


def _example(
    model: schema.ModelT, graph: schema.SubGraphT, index: int, generator: np.random.Generator
) -> np.ndarray:
    tensor = graph.tensors[index]
    name = flatbuffer.text(tensor.name).lower()
    shape, dtype = flatbuffer.shape_of(tensor), flatbuffer.dtype_name(tensor)
    if dtype.startswith("float"):
        return generator.standard_normal(shape).astype(dtype)
    if dtype == "bool" or "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name or "segment" in name:
        types = np.zeros(shape, dtype)
        types[..., shape[-1] // 2 :] = 1
        return types
    if dtype in ("int8", "uint8", "int16"):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return generator.integers(0, vocabulary_size(model, index), shape, dtype)


def vocabulary_size(model: schema.ModelT, input_index: int) -> int:
    """Rows of the smallest table that is looked up with an input's numbers.

    Follows the input through operators that keep numbers as they are until a GATHER or
    EMBEDDING_LOOKUP; an id at or above the result makes the runtime fail.
    """
    graph = model.subgraphs[0]
    same = {input_index}
    rows = []
    for operator in graph.operators or []:  # in an order in which inputs come before their use
        name = flatbuffer.op_name(model.operatorCodes[operator.opcodeIndex])
        inputs = [] if operator.inputs is None else list(operator.inputs)
        if name in ("CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE") and inputs[0] in same:
            same.update(int(i) for i in operator.outputs)
        rows += [flatbuffer.shape_of(graph.tensors[t])[0] for t in _tables(name, inputs, same)]
    return min(rows, default=_FALLBACK_VOCABULARY)


def _tables(name: str, inputs: list[int], same: set[int]) -> Iterator[int]:
    """Tables that an operator looks up with one of the tensors in `same`."""
    if name == "GATHER" and inputs[1] in same:
        yield inputs[0]
    elif name == "EMBEDDING_LOOKUP" and inputs[0] in same:
        yield inputs[1]
