"""Whether a file computes with its numbers what the model does: operators, their order and ranges.

Which layers feed which is compared with the Keras model; what no structure shows, such as queries
and keys exchanged, shows in the results.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tf_prune_ofa.verification import shared_rows
from tf_prune_ofa.verification.arithmetic import Grid
from tf_prune_ofa.verification.dense import grid_of, layer_of
from tf_prune_ofa.verification.expected import WORDS, Expected
from tf_prune_ofa.verification.reading import MOVERS, Operator, TfliteFile

_FLOAT = (
    "ADD", "BATCH_MATMUL", "CAST", "CONCATENATION", "DIV", "FULLY_CONNECTED", "GATHER", "GELU",
    "L2_NORMALIZATION", "MEAN", "MUL", "POW", "RELU", "RESHAPE", "RSQRT", "SLICE", "SOFTMAX",
    "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE",
)  # fmt: skip
# What each form may have besides.
_MORE = {
    "float": (),
    "dynamic": ("DEQUANTIZE",),
    "dynamic_int4": ("DEQUANTIZE",),
    "static": ("DEQUANTIZE", "QUANTIZE", "CONV_2D", "DENSIFY"),
}
_WORD_TABLE = f"{WORDS}/embeddings"
_RELU = 1  # the number of the fused activation
_PROBABILITIES = Grid.of_range(0.0, 1.0)


def find_problems(file: TfliteFile, form: str, expected: Expected) -> list[str]:
    """Return what is wrong with the operators of a file.

    Args:
        file: the file.
        form: "float", "dynamic", "dynamic_int4" or "static".
        expected: what it must compute.
    """
    problems = [
        f"{operator.name} (operator {operator.index}) {text}"
        for operator in file.operators
        for text in _operator_problems(file, operator, form, expected)
    ]
    problems += _order_problems(file)
    if expected.int4_words and form != "float":
        problems += _parting_problems(file)
    problems += shared_rows.file_problems(file, None if form == "float" else expected.shared)
    if not problems:
        problems += _feed_problems(file, expected)
    return problems + list(_signature_problems(file, expected))


def _operator_problems(
    file: TfliteFile, operator: Operator, form: str, expected: Expected
) -> Iterator[str]:
    more = ("FLOOR",) if expected.int4_words and form != "float" else ()
    if operator.name not in (*_FLOAT, *_MORE[form], *more):
        yield f"is none that a {form} file of this model has"
        return
    options = operator.options
    fused = options.get("fusedActivationFunction", 0)
    if fused and not (fused == _RELU and _is_rectified(file, operator, expected)):
        yield "has a fused activation that the model does not have"
    if options.get("beta", 1.0) != 1.0:
        yield f"has beta {options['beta']:g} instead of 1"
    if operator.name == "GELU" and bool(options.get("approximate")) != expected.tanh_gelu:
        yield "is of the other form of GELU"
    if options.get("weightsFormat", 0):
        yield "has weights in a shuffled order"
    if operator.name == "FULLY_CONNECTED" and form in ("dynamic", "dynamic_int4"):
        if not options.get("asymmetricQuantizeInputs"):
            yield "does not quantize its input asymmetrically"
    for tensor in operator.outputs:
        if file.tensors[tensor].dtype == "int8":
            yield from _int8_problems(file, operator, tensor, expected)


def _int8_problems(
    file: TfliteFile, operator: Operator, tensor: int, expected: Expected
) -> Iterator[str]:
    found = grid_of(file, tensor)
    if operator.name in MOVERS:
        sources = operator.inputs if operator.name == "CONCATENATION" else operator.inputs[:1]
        if found is None or any(grid_of(file, source) != found for source in sources):
            yield "changes the scale of what it moves"
    elif operator.name == "BATCH_MATMUL":
        wanted = _product_grid(file, operator, expected)
        if wanted is None or found != wanted:
            yield f"writes {_text(found)} instead of {_text(wanted)}"
    elif operator.name == "QUANTIZE":
        made_by = file.producers.get(_origin(file, operator.inputs[0]))
        if made_by is not None and made_by.name == "SOFTMAX" and found != _PROBABILITIES:
            yield f"writes probabilities as {_text(found)} instead of {_text(_PROBABILITIES)}"
    elif operator.name == "GATHER":
        is_packed = expected.int4_words and file.tensors[operator.inputs[0]].name == _WORD_TABLE
        wanted = Grid(np.float32(1 / 16 if is_packed else 1.0), 0)
        if found != wanted:
            yield f"looks rows up as {_text(found)} instead of {_text(wanted)}"
    elif operator.name not in ("FULLY_CONNECTED", "CONV_2D", "DENSIFY"):
        yield "computes in INT8, where the model is float"


def _product_grid(file: TfliteFile, operator: Operator, expected: Expected) -> Grid | None:
    """Return the grid of an attention's scores, or of what it gives to the layer behind it."""
    name = _layer_behind(file, operator.inputs[1])
    prefix, _, part = name.rpartition("/")
    if part == "key":
        return expected.scores.get(prefix)
    behind = expected.dense.get(f"{prefix}/output")
    return behind.source if part == "value" and behind and prefix in expected.scores else None


def _layer_behind(file: TfliteFile, tensor: int) -> str:
    made_by = file.producers.get(_origin(file, tensor))
    if made_by is None or made_by.name not in ("FULLY_CONNECTED", "CONV_2D"):
        return ""
    return layer_of(file.tensors[file.stored(made_by.inputs[1])].name)[0]


def _origin(file: TfliteFile, tensor: int) -> int:
    """Return the tensor whose numbers, moved or rounded, a tensor holds."""
    made_by = file.producers.get(tensor)
    while made_by is not None and made_by.name in (*MOVERS, "QUANTIZE", "DEQUANTIZE"):
        tensor = made_by.inputs[0]
        made_by = file.producers.get(tensor)
    return tensor


def _is_rectified(file: TfliteFile, operator: Operator, expected: Expected) -> bool:
    if operator.name not in ("FULLY_CONNECTED", "CONV_2D"):
        return False
    name, _ = layer_of(file.tensors[file.stored(operator.inputs[1])].name)
    return name in expected.dense and expected.dense[name].is_rectified


def _order_problems(file: TfliteFile) -> Iterator[str]:
    """Operators that read what was not yet computed, and tensors that two operators write."""
    known = set(file.inputs.values())
    for operator in file.operators:
        for tensor in operator.inputs:
            if tensor >= 0 and tensor not in known and not file.tensors[tensor].is_constant:
                yield f"{operator.name} (operator {operator.index}) reads what no one has written"
        if known & set(operator.outputs):
            yield f"{operator.name} (operator {operator.index}) writes what is already there"
        known |= set(operator.outputs)


def _parting_problems(file: TfliteFile) -> Iterator[str]:
    """Two INT4 words of a byte x / 16: FLOOR(x / 16), and 16 (x / 16 - FLOOR(x / 16)) - 8."""
    parted = [op for op in file.operators if op.name == "FLOOR"]
    joins = [op for op in file.operators if op.name == "CONCATENATION" and len(op.inputs) == 2]
    if len(parted) != 1:
        yield f"parts the words' bytes {len(parted)} times instead of once"
        return
    both, upper = parted[0].inputs[0], parted[0].outputs[0]
    joined = [op for op in joins if op.inputs[0] == upper]
    steps = [("SUB", f"{_WORD_TABLE}/eight"), ("MUL", f"{_WORD_TABLE}/sixteen")]
    lower = joined[0].inputs[1] if len(joined) == 1 else -1
    for name, constant in steps:
        made_by = file.producers.get(lower)
        if made_by is None or made_by.name != name:
            yield "does not part the words' bytes as they are packed"
            return
        lower, number = made_by.inputs
        if file.tensors[number].name != constant:
            yield f"parts the words' bytes by {file.tensors[number].name}"
    rest = file.producers.get(lower)
    if rest is None or rest.name != "SUB" or rest.inputs != (both, upper):
        yield "does not part the words' bytes as they are packed"
    last = len(file.tensors[upper].shape) - 1
    if joined[0].options.get("axis") not in (last, -1):
        yield f"joins the halves of words along the axis {joined[0].options.get('axis')}"


def _feed_problems(file: TfliteFile, expected: Expected) -> Iterator[str]:
    feeds: dict[int, frozenset[str]] = {
        tensor: frozenset([name]) for name, tensor in file.inputs.items()
    }
    nothing: frozenset[str] = frozenset()
    for operator in file.operators:
        sources = nothing
        for tensor in operator.inputs:
            sources |= feeds.get(tensor, nothing) | _table(file, tensor, expected)
        result = sources
        if operator.name in ("FULLY_CONNECTED", "CONV_2D"):
            name, _ = layer_of(file.tensors[file.stored(operator.inputs[1])].name)
            dense = expected.dense.get(name)
            if dense is not None:
                result = frozenset([name])
                yield from _compare(f"the input of {name}", sources, dense.feeds)
        for tensor in operator.outputs:
            feeds[tensor] = result
    for name, wanted in expected.outputs.items():
        if name in file.outputs:
            yield from _compare(name, feeds.get(file.outputs[name], nothing), wanted)


def _compare(what: str, found: frozenset[str], wanted: frozenset[str]) -> Iterator[str]:
    if found == wanted:
        return
    more, fewer = sorted(found - wanted), sorted(wanted - found)
    said = [f"from {', '.join(more)}"] if more else []
    said += [f"not from {', '.join(fewer)}"] if fewer else []
    yield f"{what} is computed {' and '.join(said)}, unlike the model's"


def _table(file: TfliteFile, tensor: int, expected: Expected) -> frozenset[str]:
    if tensor < 0 or not file.tensors[tensor].is_constant:
        return frozenset()
    name = file.tensors[tensor].name.removesuffix("/embeddings")
    return frozenset([name]) if name in expected.tables else frozenset()


def _signature_problems(file: TfliteFile, expected: Expected) -> Iterator[str]:
    # Files without token types have that input all the same, unused: MediaPipe asks for three.
    allowed = {*expected.inputs, "input_type_ids"}
    if not set(expected.inputs) <= set(file.inputs) <= allowed:
        yield f"its inputs are {', '.join(file.inputs)}"
    if set(file.outputs) != set(expected.outputs):
        yield f"its outputs are {', '.join(file.outputs)} instead of {', '.join(expected.outputs)}"
    for tensor in [*file.inputs.values()]:
        entry = file.tensors[tensor]
        if entry.shape != (1, expected.sequence_length) or entry.dtype != "int32":
            yield f"its input {entry.name} is {entry.dtype} of {list(entry.shape)}"
    if file.signatures != [(file.inputs, file.outputs)]:
        yield "its signature does not name its inputs and outputs as they are"


def _text(grid: Grid | None) -> str:
    return "float" if grid is None else f"scale {grid.scale:g} and zero point {grid.zero_point}"
