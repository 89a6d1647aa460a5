"""Small `.tflite` files made without TensorFlow: an embedding lookup and fully-connected layers."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}

# 4 x 4 with two blocks of 1 x 2; written out so that a reader can check counts by hand.
KERNEL = np.array([[0, 0, 1, 2], [0, 0, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0]], np.float32)


class FileBuilder:
    """Collects tensors and operators of one graph, and writes them as a file."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"made for a test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.model.subgraphs = [graph]
        self.graph = graph

    def tensor(
        self, name, shape, dtype, *, data=None, scales=None, zero_points=None, axis=0, sparsity=None
    ):
        """Adds a tensor (a constant if `data` is given) and gives its index."""
        tensor = schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = _TYPES[np.dtype(dtype)]
        tensor.sparsity = sparsity
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scales, np.float32)
            tensor.quantization.zeroPoint = np.array(zero_points, np.int64)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name, inputs, outputs, *, version=1, options=None):
        """Adds an operator."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def finish(self, inputs, outputs) -> bytes:
        """The file's bytes."""
        self.graph.inputs = np.array(inputs, np.int32)
        self.graph.outputs = np.array(outputs, np.int32)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def classifier(*, vocabulary: int = 10, length: int = 4, layers: int = 1) -> bytes:
    """ids [1, length] (and an unused mask) -> embedding [vocabulary, 4] -> `layers` x KERNEL."""
    file = FileBuilder()
    ids = file.tensor("input_word_ids", [1, length], np.int32)
    mask = file.tensor("input_mask", [1, length], np.int32)
    rows = np.arange(vocabulary * 4).reshape(vocabulary, 4) / 10
    table = file.tensor("embeddings/word", rows.shape, np.float32, data=rows)
    hidden = file.tensor("hidden_0", [1, length, 4], np.float32)
    file.operator("GATHER", [table, ids], [hidden], options=schema.GatherOptionsT())
    for layer in range(layers):
        kernel = file.tensor(f"encoder_{layer:02d}/ffn/output", [4, 4], np.float32, data=KERNEL)
        output = file.tensor(f"hidden_{layer + 1}", [1, length, 4], np.float32)
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        file.operator("FULLY_CONNECTED", [hidden, kernel, -1], [output], version=5, options=options)
        hidden = output
    return file.finish([ids, mask], [hidden])


def block_sparsity() -> schema.SparsityParametersT:
    """How `KERNEL` is described in blocks of 1 x 2; its stored values are 1, 2, 3, 4."""
    rows, columns, inside = (schema.DimensionMetadataT() for _ in range(3))
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 4
    columns.format = schema.DimensionType.SPARSE_CSR
    columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
    columns.arraySegments, columns.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
    # Row 0 has one block, row 1 none, row 2 one, row 3 none; they are the second and the first.
    columns.arraySegments.values = np.array([0, 1, 1, 2, 2], np.uint8)
    columns.arrayIndices.values = np.array([1, 0], np.uint8)
    inside.format, inside.denseSize = schema.DimensionType.DENSE, 2
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.array([0, 1, 2], np.int32)
    sparsity.blockMap = np.array([1], np.int32)
    sparsity.dimMetadata = [rows, columns, inside]
    return sparsity
