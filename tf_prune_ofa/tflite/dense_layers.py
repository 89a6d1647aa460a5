"""Which FULLY_CONNECTED of a .tflite file is which Dense layer of the Keras model.

The converter renames, merges and rescales: the identity layers that carry input ranges vanish, and
a constant factor behind a Dense (the 1/sqrt(D) on the query) moves into its kernel. So layers are
recognised by their weights, once, right after conversion; the answer is written into the file
(tensor names and one metadata entry), and every later pass works on the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.graph import Graph

METADATA_NAME = "tf_prune_ofa.dense_layers"
KERNEL_SUFFIX = "/kernel"
# Some rows of a kernel, where a layer is computed in groups, are named "<layer>/kernel/rows_<n>".
ROWS_PREFIX = "/rows_"
# A factor that the converter multiplied into a kernel rounds each product once: half a unit in the
# last place of float32, 2**-24 relative. Four times that allows for the factor's own rounding.
FACTOR_TOLERANCE = 2.0**-22


@dataclass(frozen=True)
class KerasDense:
    """A Dense layer of the Keras model.

    `kernel` is float32 [in, out]; `input_name` is the layer in front of it; `is_linear` says that
    it has no activation of its own.
    """

    kernel: np.ndarray
    input_name: str
    is_linear: bool


@dataclass(frozen=True)
class DenseLayer:
    """What the file says of one Dense layer.

    `name` and `input_name` are Keras layer names: the Dense and the layer in front of it.
    `factor` is the constant that the converter multiplied into kernel and bias: the file's output
    is `factor` times the Keras layer's. `is_linear` is false if the Keras layer has an activation
    of its own, whose output another operator computes.
    """

    name: str
    input_name: str
    factor: float
    is_linear: bool


def stamp(graph: Graph, layers: Mapping[str, KerasDense]) -> None:
    """Name every Dense layer's kernel and bias in the file after its Keras layer.

    Kernels become `<layer>/kernel` and biases `<layer>/bias`, and the metadata entry that
    `read_stamps` reads is added.

    Args:
        graph: a freshly converted float32 file, changed in place.
        layers: the Keras model's Dense layers by name.

    Raises:
        UserError: a Dense layer has no FULLY_CONNECTED with its weights.
    """
    stamps: dict[str, DenseLayer] = {}
    for operator in graph.operators:
        if not has_constant_kernel(graph, operator):
            continue
        kernel = graph.constant(operator.inputs[1]).T
        found = _recognise(kernel, graph.name(operator.inputs[1]), layers, taken=stamps)
        if found is None:
            continue
        name, factor = found
        layer = layers[name]
        stamps[name] = DenseLayer(name, layer.input_name, factor, layer.is_linear)
        # Equal constants share one tensor (zero biases do); each layer needs one of its own name.
        operator.inputs[1] = graph.alias(operator.inputs[1], name + KERNEL_SUFFIX)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            operator.inputs[2] = graph.alias(operator.inputs[2], f"{name}/bias")
    missing = sorted(set(layers) - set(stamps))
    if missing:
        raise UserError(
            f"{len(missing)} Dense layers have no FULLY_CONNECTED with their weights in the "
            f"converted file: {', '.join(missing)}. Build the model with plain Dense layers that "
            "all lead to an output."
        )
    content = [asdict(entry) for entry in stamps.values()]
    graph.set_metadata(METADATA_NAME, json.dumps(content).encode())


def read_stamps(graph: Graph) -> dict[str, DenseLayer]:
    """Return what `stamp` wrote, by layer name.

    Raises:
        UserError: the file has no such entry: it was not written by this package.
    """
    content = graph.metadata(METADATA_NAME)
    if content is None:
        raise UserError(
            "this .tflite file does not say which layer is which. Give a file that the export "
            "stage wrote (variant float32)."
        )
    return {entry["name"]: DenseLayer(**entry) for entry in json.loads(content)}


def has_constant_kernel(graph: Graph, operator: Any) -> bool:
    """Return whether an operator is a FULLY_CONNECTED whose weights are in the file."""
    is_layer = graph.op_name(operator) == "FULLY_CONNECTED"
    return is_layer and graph.is_constant(operator.inputs[1])


def layer_of(graph: Graph, operator: Any, stamps: Mapping[str, DenseLayer]) -> DenseLayer | None:
    """Return the Dense layer that an operator computes; None if it does not compute one.

    A FULLY_CONNECTED may be none: the tied decoder of masked language modelling.
    """
    if not has_constant_kernel(graph, operator):
        return None
    name = graph.name(operator.inputs[1]).removesuffix(KERNEL_SUFFIX)
    return stamps.get(name)


def layer_of_kernel(tensor_name: str) -> str | None:
    """Return the layer whose kernel, or some of its rows, a constant is, by the constant's name.

    >>> layer_of_kernel("pooler/kernel"), layer_of_kernel("pooler/kernel/rows_64")
    ('pooler', 'pooler')
    >>> layer_of_kernel("pooler/kernel/rows_64/bias") is None
    True
    """
    whole, _, first_row = tensor_name.partition(KERNEL_SUFFIX + ROWS_PREFIX)
    if first_row:
        return whole if first_row.isdecimal() else None
    is_kernel = tensor_name.endswith(KERNEL_SUFFIX)
    return tensor_name.removesuffix(KERNEL_SUFFIX) if is_kernel else None


def _recognise(
    kernel: np.ndarray, tensor_name: str, layers: Mapping[str, KerasDense], taken: Mapping[str, Any]
) -> tuple[str, float] | None:
    """Return the layer whose kernel this is, and the factor that was multiplied into it."""
    candidates = []
    for name, layer in layers.items():
        if name not in taken:
            factor = _factor(kernel, layer.kernel)
            if factor is not None:
                candidates.append((name, factor))
    if len(candidates) > 1:
        # Equal kernels, e.g. all zero: only the tensor's name, which holds the scope, tells them
        # apart. The longest name wins, so that "pooler" does not take "pooler/extra".
        in_scope = [c for c in candidates if f"/{c[0]}/" in f"/{tensor_name}/"]
        return max(in_scope or candidates, key=lambda candidate: len(candidate[0]))
    return candidates[0] if candidates else None


def _factor(kernel: np.ndarray, reference: np.ndarray) -> float | None:
    """Return f with kernel = f * reference; None if there is no such f > 0."""
    if kernel.shape != reference.shape:
        return None
    if np.array_equal(kernel, reference):
        return 1.0
    largest = np.unravel_index(np.argmax(np.abs(reference)), reference.shape)
    if reference[largest] == 0 or kernel[largest] / reference[largest] <= 0:
        return None
    factor = float(kernel[largest]) / float(reference[largest])
    error = np.abs(kernel - factor * reference.astype(np.float64))
    if np.any(error > FACTOR_TOLERANCE * np.abs(kernel)):
        return None
    return factor
