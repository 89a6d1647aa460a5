"""Divide the inputs of dense layers by outlier scales, and multiply their kernels by them.

What the layers compute stays the same, bit for bit, as the scales are powers of two. But INT8 has
one step for a whole input, and a few outlying channels set it: behind BERT's LayerNorms and GELUs
they are up to twenty times larger than the rest. SmoothQuant (Xiao et al. 2023) moves that into the
weights, which have a step for each output channel, and the division into the LayerNorm in front. In
BERT that one also feeds the residual sum, so a MUL in front of the layer divides here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tf_prune_ofa.tflite import dense_layers
from tf_prune_ofa.tflite.dense_layers import DenseLayer
from tf_prune_ofa.tflite.graph import Graph, schema


def divide_inputs(
    graph: Graph, layers: Mapping[str, DenseLayer], scales: Mapping[str, np.ndarray]
) -> None:
    """Divide inputs and multiply kernels, in place.

    Args:
        graph: of a float file.
        layers: those that are meant, by name.
        scales: divisors [channels], powers of two, by the name of the layer in front.
    """
    operators, divided = [], {}
    for operator in graph.operators:
        layer = dense_layers.layer_of(graph, operator, layers)
        found = None if layer is None else scales.get(layer.input_name)
        if layer is not None and found is not None:
            source, kernel = (int(tensor) for tensor in operator.inputs[:2])
            divisors = found.astype(np.float32)
            if source not in divided:
                name = f"{layer.input_name}/outlier_scales"
                shares = graph.add_constant(name, 1 / divisors)
                divided[source] = graph.add_tensor(
                    f"{graph.name(source)}/divided", graph.shape(source), np.float32
                )
                multiply = schema.MulOptionsT()
                operators.append(
                    graph.new_operator("MUL", [source, shares], [divided[source]], multiply)
                )
            operator.inputs[0] = divided[source]
            operator.inputs[1] = graph.add_constant(
                graph.name(kernel), graph.constant(kernel) * divisors
            )
        operators.append(operator)
    graph.set_operators(operators)
