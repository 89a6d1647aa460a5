"""INT8 `.tflite` files with blocks of zeros, made without TensorFlow."""

import numpy as np
import tflite_files
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.tflite.graph import Graph, quantization

# What pays is a matter of the machine, so every test says what its machine costs. One where copies
# and operators are for nothing: blocks pay on the smallest files, too.
FREE = CostTable(1e-9, 1.0, 1e-9, 1e-9, 1e-9)
# One where a copy or another operator costs more than all products together: they never do.
DEAR = CostTable(operator_us=1e3, product_ns=1e-3, result_ns=1e-3, copy_ns=1e3, transpose_ns=1e3)
# One that is like a server: blocks pay in large layers.
SERVER = CostTable(0.15, 0.0019, 0.073, 0.03, 0.056)


class Net:
    """Adds operators one after another to a file with the INT8 input `x`."""

    def __init__(self, shape, *, seed=0, scale=0.05, zero_point=3):
        file = tflite_files.FileBuilder()
        file.tensor("x", shape, np.int8, scales=[scale], zero_points=[zero_point])
        self.graph = Graph(file.finish([0], [0]))
        self.graph.set_operators([])
        self.rng = np.random.default_rng(seed)

    def file(self, *outputs):
        self.graph.subgraph.outputs = np.int32(outputs)
        return self.graph.to_bytes()

    def layer(
        self,
        source,
        kernel,
        *,
        bias=True,
        per_channel=True,
        activation=schema.ActivationFunctionType.NONE,
        keep_dims=True,
        zero_point=None,
    ):
        """A FULLY_CONNECTED whose results fill the INT8 range without many at its ends."""
        outputs, inputs = kernel.shape
        name = f"layer_{len(self.graph.operators)}"
        scales = self.rng.uniform(0.5e-3, 2e-3, outputs if per_channel else 1).astype(np.float32)
        source_scale = self.graph.tensors[source].quantization.scale[0]
        # Live weights and inputs are uniform over INT8, so their deviation is 74 steps.
        live = max(np.count_nonzero(kernel) / outputs, 1)
        result_scale = float(source_scale * 1e-3 * 74 * 74 * live**0.5 / 50)
        if zero_point is None:
            zero_point = int(self.rng.choice([0, self.rng.integers(-20, 20)]))
        shape = [*self.graph.shape(source)[:-1], outputs]
        if not keep_dims:
            shape = [int(np.prod(shape[:-1])), outputs]
        result = self.graph.add_tensor(
            f"{name}/result", shape, np.int8, quantization(result_scale, zero_point)
        )
        read = [source, self.graph.add_constant(f"{name}/kernel", kernel, quantization(scales))]
        if bias:
            values = self.rng.integers(-3000, 3000, outputs, np.int32)
            bias_scales = quantization(source_scale * scales)
            read.append(self.graph.add_constant(f"{name}/bias", values, bias_scales))
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = keep_dims
        options.fusedActivationFunction = activation
        return self._add("FULLY_CONNECTED", read, result, options, 5 if bias else 6)

    def blocks(self, outputs, inputs, block, live):
        """A kernel; `live` is a share of the blocks, or which of them, bool."""
        grid = (outputs // block[0], inputs // block[1])
        mask = self.rng.random(grid) < live if np.isscalar(live) else np.asarray(live)
        kernel = self.rng.integers(-127, 128, [outputs, inputs], np.int8)
        return (kernel * np.kron(mask, np.ones(block))).astype(np.int8)

    def gelu(self, source):
        """DEQUANTIZE, GELU, QUANTIZE."""
        floats = self.dequantize(source)
        result = self.graph.add_tensor("gelu", self.graph.shape(source), np.float32)
        self._add("GELU", [floats], result, schema.GeluOptionsT())
        return self.quantize(result, 0.03, -120)

    def add(self, first, second):
        """The sum of two INT8 tensors, in float."""
        return self.add_floats(self.dequantize(first), self.dequantize(second))

    def add_floats(self, first, second):
        result = self.graph.add_tensor("sum", self.graph.shape(first), np.float32)
        return self._add("ADD", [first, second], result, schema.AddOptionsT())

    def heads(self, source, size):
        """[1, T, heads * size] as float [1, heads, T, size], as attention reads it."""
        tokens, channels = self.graph.shape(source)[-2:]
        apart = self.reshape(self.dequantize(source), [1, tokens, channels // size, size])
        return self._heads_first(apart)

    def product(self, first, second, *, transposed=False):
        """Products of float heads: [1, heads, T, n] by [1, heads, n, m], or by [1, heads, m, n]."""
        shape = self.graph.shape(first)
        shape[-1] = self.graph.shape(second)[-2 if transposed else -1]
        result = self.graph.add_tensor(f"product_{len(self.graph.operators)}", shape, np.float32)
        options = schema.BatchMatMulOptionsT()
        options.adjY = transposed
        return self._add("BATCH_MATMUL", [first, second], result, options)

    def attention(self, query, key, value, size):
        """What attention makes of INT8 [1, T, heads * size] three times, without its softmax."""
        heads = [self.heads(tensor, size) for tensor in (query, key, value)]
        scores = self.product(*heads[:2], transposed=True)
        return self.quantize(self.rows(self.product(scores, heads[2])))

    def int8_attention(self, query, key, value, size):
        """The same with INT8 products; key and value have zero point 0."""
        apart = []
        for tensor in (query, key, value):
            tokens, channels = self.graph.shape(tensor)[-2:]
            apart.append(self.reshape(tensor, [1, tokens, channels // size, size]))
        query, key = (self._heads_first(tensor) for tensor in apart[:2])
        scores = self.dequantize(self._int8_product(query, key))
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        shape = self.graph.shape(scores)
        result = self.graph.add_tensor(f"softmax_{scores}", shape, np.float32)
        probabilities = self.quantize(
            self._add("SOFTMAX", [scores], result, options), 1 / 255, -128
        )
        value = self._transpose(apart[2], [0, 2, 3, 1])
        return self.rows(self._int8_product(probabilities, value))

    def _int8_product(self, first, second):
        shape = [*self.graph.shape(first)[:-1], self.graph.shape(second)[-2]]
        name = f"product_{len(self.graph.operators)}"
        result = self.graph.add_tensor(name, shape, np.int8, quantization(0.3, -4))
        options = schema.BatchMatMulOptionsT()
        options.adjY = True
        return self._add("BATCH_MATMUL", [first, second], result, options, 2)

    def rows(self, heads):
        """[1, heads, T, size] as [1, T, heads * size]."""
        apart = self._heads_first(heads)
        _, tokens, count, size = self.graph.shape(apart)
        return self.reshape(apart, [1, tokens, count * size])

    def quantize(self, source, scale=0.05, zero_point=-3):
        parameters = quantization(scale, zero_point)
        name = f"int8_{len(self.graph.operators)}"
        result = self.graph.add_tensor(name, self.graph.shape(source), np.int8, parameters)
        return self._add("QUANTIZE", [source], result)

    def dequantize(self, source):
        name = f"float_{len(self.graph.operators)}"
        result = self.graph.add_tensor(name, self.graph.shape(source), np.float32)
        return self._add("DEQUANTIZE", [source], result, version=2)

    def reshape(self, source, shape):
        parameters = self.graph.tensors[source].quantization
        name = f"reshape_{len(self.graph.operators)}"
        result = self.graph.add_tensor(name, shape, self.graph.dtype(source), parameters)
        target = self.graph.add_constant(f"{name}/shape", np.int32(shape))
        options = schema.ReshapeOptionsT()
        options.newShape = np.int32(shape)
        return self._add("RESHAPE", [source, target], result, options)

    def _heads_first(self, source):
        return self._transpose(source, [0, 2, 1, 3])

    def _transpose(self, source, axes):
        before = self.graph.shape(source)
        parameters = self.graph.tensors[source].quantization
        name = f"transpose_{len(self.graph.operators)}"
        shape = [before[axis] for axis in axes]
        result = self.graph.add_tensor(name, shape, self.graph.dtype(source), parameters)
        order = self.graph.add_constant(f"{name}/order", np.int32(axes))
        return self._add("TRANSPOSE", [source, order], result, schema.TransposeOptionsT(), 2)

    def _add(self, name, read, result, options=None, version=1):
        operator = self.graph.new_operator(name, read, [result], options, version)
        self.graph.set_operators([*self.graph.operators, operator])
        return result


def names(file):
    """How often each operator is in a file."""
    graph = Graph(file)
    found = [graph.op_name(operator) for operator in graph.operators]
    return {name: found.count(name) for name in sorted(set(found))}


def encoder_layer(net, hidden=32, heads=2, neurons=64, block=(8, 8), live=0.3):
    """Attention without softmax, and a feed-forward block with a sum behind it: one file."""

    def layer(source, outputs, **arguments):
        inputs = net.graph.shape(source)[-1]
        return net.layer(source, net.blocks(outputs, inputs, block, live), **arguments)

    projections = [layer(0, hidden, zero_point=zero) for zero in (4, -5, 6)]
    attention = layer(net.attention(*projections, hidden // heads), hidden)
    neurons = net.gelu(layer(attention, neurons))
    return net.file(net.add(attention, layer(neurons, hidden)))
