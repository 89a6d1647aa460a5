"""Make tensors inside a file its outputs, to see what a layer computes."""

from __future__ import annotations

import numpy as np

from tf_prune_ofa.conversion import attention
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import dense_layers
from tf_prune_ofa.tflite.graph import Graph


def watch_dense_layers(
    float32_file: bytes, *, scores: bool = False
) -> tuple[bytes, dict[str, tuple[str, float]]]:
    """Make inputs and outputs of Dense layers the outputs of a float32 file.

    Args:
        float32_file: from `convert.to_float32`.
        scores: watch those of attention, too.

    Returns:
        The file, and by Keras layer name (of the layer in front of a Dense: its input; of the
        Dense: its output) the name of the file's output and the factor by which that is larger than
        in Keras.
    """
    graph = Graph(float32_file)
    layers = dense_layers.read_stamps(graph)
    watched: dict[str, tuple[int, float]] = {}
    for operator in graph.operators:
        layer = dense_layers.layer_of(graph, operator, layers)
        if layer is not None:
            watched[layer.input_name] = (int(operator.inputs[0]), 1.0)
            watched[layer.name] = (int(operator.outputs[0]), layer.factor)
    for found in attention.find(graph, layers) if scores else ():
        watched[found.scores_name] = (int(found.scores.outputs[0]), 1.0)
    names = _set_outputs(graph, [tensor for tensor, _ in watched.values()])
    outputs = {layer: (names[tensor], factor) for layer, (tensor, factor) in watched.items()}
    return graph.to_bytes(), outputs


def watch_int8_layers(file: bytes) -> bytes:
    """Make the results of static INT8 layers and products that become float the outputs of a file.

    The outputs of a dense_int8 file and of the sparse_int8 file made from it have the same names.

    Raises:
        UserError: the file has no static INT8 layers.
    """
    graph = Graph(file)
    gathered = {int(op.outputs[0]) for op in graph.operators if graph.op_name(op) == "GATHER"}
    results = [
        int(operator.inputs[0])
        for operator in graph.operators
        if graph.op_name(operator) == "DEQUANTIZE"
    ]
    # What is left when embedding rows are taken out are the results of layers, in order.
    results = [t for t in results if t not in gathered and not graph.is_constant(t)]
    if not results:
        raise UserError(
            "this file has no static INT8 layers. Give a dense_int8 or sparse_int8 file."
        )
    _set_outputs(graph, results)
    return graph.to_bytes()


def _set_outputs(graph: Graph, tensors: list[int]) -> dict[int, str]:
    """Make tensors the outputs; return their new names, which are numbered: old ones may clash."""
    names = {tensor: f"watched_{index:03d}" for index, tensor in enumerate(dict.fromkeys(tensors))}
    # An input of the file can be a layer's input too; it is still set by its own name.
    names |= {int(t): graph.name(int(t)) for t in graph.subgraph.inputs if int(t) in names}
    for tensor, name in names.items():
        graph.tensors[tensor].name = name
    graph.subgraph.outputs = np.asarray(list(names), np.int32)
    graph.model.signatureDefs = None
    return names
