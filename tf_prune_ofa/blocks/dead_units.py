"""Leave dead heads and neurons out of a float file: what nothing reads is not computed.

The passes are those of block_sparse_int8. Here sums are of floats, or of integers in steps that the
runtime chooses from a row that is now shorter, so results may differ in their last places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_prune_ofa.blocks.heads import drop_dead_heads
from tf_prune_ofa.blocks.layout import remove_unused
from tf_prune_ofa.blocks.neurons import arrange, find_neurons, rearrange
from tf_prune_ofa.tflite.dense_layers import has_constant_kernel
from tf_prune_ofa.tflite.graph import Graph


def drop_dead_units(float32_file: bytes) -> bytes:
    """Return the file without heads and neurons whose weights in the layer behind are all 0."""
    graph = Graph(float32_file)
    drop_dead_heads(graph, why_not_float)
    for neurons in find_neurons(graph, why_not_float):
        order = arrange(*neurons.kernels(graph), None)
        if len(order) < len(neurons.kernels(graph)[0]):
            rearrange(graph, neurons, order)
    remove_unused(graph)
    return graph.to_bytes()


def why_not_float(graph: Graph, operator: Any) -> str | None:
    """Return why rows of a FULLY_CONNECTED cannot be left out; None if they can."""
    if not has_constant_kernel(graph, operator):
        return "its weights are computed"
    weights, source = int(operator.inputs[1]), int(operator.inputs[0])
    if graph.dtype(weights) != np.float32 or graph.tensors[weights].sparsity is not None:
        return "its weights are not float, or stored sparsely"
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    if graph.is_constant(source) or (has_bias and not graph.is_constant(int(operator.inputs[2]))):
        return "its input is a constant, or its bias computed"
    return None
