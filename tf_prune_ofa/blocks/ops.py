"""Write INT8 operators that move and compute blocks, in the forms that XNNPACK takes over.

What was measured to decide on the forms is in docs/experiments/block_sparse.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.cost import MAX_JOINED
from tf_prune_ofa.blocks.layers import LayerNumbers
from tf_prune_ofa.tflite.dense_layers import ROWS_PREFIX
from tf_prune_ofa.tflite.graph import Graph, quantization, schema

# Versions of the operators' definitions that know INT8.
_CONCATENATION_VERSION = 2
_CONVOLUTION_VERSION = 3
_SLICE_VERSION = 2
_TRANSPOSE_VERSION = 2


class Writer:
    """Appends operators to `operators`; every function returns the tensor it computes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operators: list[Any] = []
        self._shapes: dict[tuple[int, ...], int] = {}
        self._count = 0

    def keep(self, operator: Any) -> None:
        """Append an operator as it is."""
        self.operators.append(operator)

    def reshape(self, source: int, shape: Sequence[int], result: int | None = None) -> int:
        """Return `source` in another shape; `source` itself if it has that shape already."""
        if result is None and self.graph.shape(source) == list(shape):
            return source
        result = self._like(source, shape) if result is None else result
        options = schema.ReshapeOptionsT()
        options.newShape = np.asarray(shape, np.int32)
        self._add("RESHAPE", [source, self._integers(shape)], result, options)
        return result

    def transpose(self, source: int, order: Sequence[int]) -> int:
        """Return `source` with its axes in another order."""
        shape = self.graph.shape(source)
        result = self._like(source, [shape[axis] for axis in order])
        inputs = [source, self._integers(order)]
        self._add("TRANSPOSE", inputs, result, schema.TransposeOptionsT(), _TRANSPOSE_VERSION)
        return result

    def part(self, source: int, axis: int, start: int, size: int) -> int:
        """Return `size` entries of `source` along one axis."""
        # Not SPLIT: beyond four results XNNPACK leaves it to the runtime's own kernel.
        shape = self.graph.shape(source)
        begin = [start if position == axis else 0 for position in range(len(shape))]
        shape[axis] = size
        result = self._like(source, shape)
        inputs = [source, self._integers(begin), self._integers(shape)]
        self._add("SLICE", inputs, result, schema.SliceOptionsT(), _SLICE_VERSION)
        return result

    def join(self, sources: Sequence[int], axis: int) -> int:
        """Return tensors of one scale side by side along an axis."""
        sources = list(sources)
        while len(sources) > 1:
            # As even as possible: a lone last piece would be copied for nothing.
            count = -(-len(sources) // MAX_JOINED)
            parts = np.array_split(np.asarray(sources), count)
            sources = [self._join_few([int(s) for s in part], axis) for part in parts]
        return sources[0]

    def convolution(self, source: int, kernel: np.ndarray, layer: LayerNumbers, rows: slice) -> int:
        """Return some rows of a layer as a convolution over a tall and narrow window.

        A convolution whose window is `places` high reads one row of every place for each token:
        together the columns that a group of outputs needs. Places need not lie beside each other in
        memory, which saves copying them together token by token.

        Args:
            source: INT8 [1, places, tokens, width].
            kernel: INT8 [rows, places * width].
            layer: scales, bias and result of the whole layer.
            rows: which of its rows these are.

        Returns:
            INT8 [1, 1, tokens, rows].
        """
        _, places, tokens, width = self.graph.shape(source)
        name = f"{layer.name}{ROWS_PREFIX}{rows.start}"
        scales = layer.weight_scales[rows]
        weights = self.graph.add_constant(
            name, kernel.reshape(len(kernel), places, 1, width), quantization(scales)
        )
        bias = self.graph.add_constant(
            f"{name}/bias", layer.bias[rows], quantization(layer.bias_scales[rows])
        )
        result = self.graph.add_tensor(
            self._name(layer.name), [1, 1, tokens, len(kernel)], np.int8, layer.result_quantization
        )
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideW = options.strideH = 1
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = layer.activation
        self._add("CONV_2D", [source, weights, bias], result, options, _CONVOLUTION_VERSION)
        return result

    def _join_few(self, sources: list[int], axis: int) -> int:
        if len(sources) == 1:
            return sources[0]
        shape = self.graph.shape(sources[0])
        shape[axis] = sum(self.graph.shape(source)[axis] for source in sources)
        result = self._like(sources[0], shape)
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        self._add("CONCATENATION", sources, result, options, _CONCATENATION_VERSION)
        return result

    def _add(
        self, name: str, inputs: Sequence[int], result: int, options: Any, version: int = 1
    ) -> None:
        self.keep(self.graph.new_operator(name, inputs, [result], options, version))

    def _like(self, tensor: int, shape: Sequence[int]) -> int:
        name = self._name(self.graph.name(tensor).partition("/blocks_")[0])
        return self.graph.add_like(tensor, name, shape)

    def _name(self, base: str) -> str:
        self._count += 1
        return f"{base}/blocks_{self._count}"

    def _integers(self, values: Sequence[int]) -> int:
        key = tuple(int(value) for value in values)
        if key not in self._shapes:
            name = "blocks/" + "_".join(map(str, key))
            self._shapes[key] = self.graph.add_constant(name, np.asarray(key, np.int32))
        return self._shapes[key]
