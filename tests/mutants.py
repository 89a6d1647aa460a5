"""Damaged `.tflite` files: structured damage, as a tool might do, and random bytes."""

import copy
import io
import zipfile

import block_files
import flatbuffers
import numpy as np
import tflite_files
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import flatbuffer, packed_files, sparse
from tf_prune_ofa.tflite.graph import Graph


def bases():
    """Whole files of several kinds."""
    net = block_files.Net([1, 8, 32])
    encoder = block_files.encoder_layer(net)
    net = block_files.Net([1, 8, 64], seed=1)
    zeros = net.file(net.layer(0, net.blocks(128, 64, (1, 1), 0.1)))
    packed = Graph(encoder)
    packed.packed = packed_files.NONE.with_files({"vocab.txt": b"[PAD]\n" * 50, "labels.txt": b"a"})
    packed.set_metadata("note", b"kept")
    return [
        encoder,
        tflite_files.classifier(layers=2),
        sparse.sparse_int8(zeros),
        packed.to_bytes(),
        two_subgraphs(),
    ]


def two_subgraphs():
    """Two layers in blocks, each in a subgraph with a signature of its own."""
    files = []
    for seed in range(2):
        net = block_files.Net([1, 4 + seed, 16], seed=seed)
        files.append(
            Graph(net.file(net.layer(0, net.blocks(16, 16, (4, 4), np.eye(4, dtype=bool)))))
        )
    first, second = (graph.model for graph in files)
    offset, codes = len(first.buffers), len(first.operatorCodes)
    for tensor in second.subgraphs[0].tensors:
        tensor.buffer += offset
    for operator in second.subgraphs[0].operators:
        operator.opcodeIndex += codes
    first.buffers += second.buffers
    first.operatorCodes += second.operatorCodes
    first.subgraphs += second.subgraphs
    first.signatureDefs = []
    for index, subgraph in enumerate(first.subgraphs):
        definition = schema.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = f"run_{index}", index
        definition.inputs = [entry("x", int(subgraph.inputs[0]))]
        definition.outputs = [entry("y", int(subgraph.outputs[0]))]
        first.signatureDefs.append(definition)
    return written(first)


def entry(name, tensor):
    """An input or output of a signature."""
    found = schema.TensorMapT()
    found.name, found.tensorIndex = name, tensor
    return found


def written(model):
    """A model's bytes, as the generated classes write them."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


def mutant(file, rng):
    """A damaged file and what was done to it; one or two kinds of damage."""
    if rng.random() < 0.3:
        kind = rng.choice([flip_bytes, cut, fill, move_bytes])
        return kind(bytearray(file), rng), kind.__name__
    archive = packed_files.read(file)
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    model = copy.deepcopy(model)
    done = []
    for _ in range(int(rng.integers(1, 3))):
        kind = STRUCTURED[rng.integers(len(STRUCTURED))]
        try:
            kind(model, rng)
            done.append(kind.__name__)
        except (IndexError, ValueError, TypeError, AttributeError):
            pass  # nothing of that kind is in this file any more
    try:
        content = written(model)
    except Exception:  # noqa: BLE001 (the damage cannot be written at all)
        return flip_bytes(bytearray(file), rng), flip_bytes.__name__
    content = archive.behind(content)
    if archive.files and rng.random() < 0.5:
        kind = rng.choice([cut_archive, bomb, flip_archive])
        return kind(content, rng), "+".join([*done, kind.__name__])
    return content, "+".join(done)


def any_of(rng, values):
    return values[int(rng.integers(len(values)))]


def graph_of(model, rng):
    return any_of(rng, model.subgraphs)


def operator_of(model, rng):
    return any_of(rng, graph_of(model, rng).operators)


def tensor_of(model, rng):
    return any_of(rng, graph_of(model, rng).tensors)


def cycle(model, rng):
    """Two RESHAPEs, a -> b and b -> a, both also written by what wrote them before."""
    graph = graph_of(model, rng)
    sizes = {}
    for index, tensor in enumerate(graph.tensors):
        sizes.setdefault(int(np.prod(tensor.shape)), []).append(index)
    pair = any_of(rng, [same for same in sizes.values() if len(same) > 1])
    a, b = (int(index) for index in rng.choice(pair, 2, replace=False))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    model.operatorCodes.append(code)
    for source, result in ((a, b), (b, a)):
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.int32([source]), np.int32([result])
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = schema.ReshapeOptionsT()
        operator.builtinOptions.newShape = np.int32(graph.tensors[result].shape)
        graph.operators.insert(int(rng.integers(len(graph.operators) + 1)), operator)


def duplicate_writer(model, rng):
    graph = graph_of(model, rng)
    any_of(rng, graph.operators).outputs = any_of(rng, graph.operators).outputs


def writes_its_input(model, rng):
    operator = operator_of(model, rng)
    operator.outputs = operator.inputs[:1]


def out_of_order(model, rng):
    operators = graph_of(model, rng).operators
    operators[:] = [operators[i] for i in rng.permutation(len(operators))]


def aliased_buffers(model, rng):
    tensor_of(model, rng).buffer = tensor_of(model, rng).buffer


def another_buffer(model, rng):
    tensor_of(model, rng).buffer = int(rng.integers(-1, len(model.buffers) + 2)) % 2**32


def wrong_count_of_scales(model, rng):
    tensor = any_of(rng, [t for t in tensors(model) if t.quantization is not None])
    tensor.quantization.scale = np.float32(rng.random(any_of(rng, [0, 1, 2, 3, 17])))


def wrong_count_of_zero_points(model, rng):
    tensor = any_of(rng, [t for t in tensors(model) if t.quantization is not None])
    tensor.quantization.zeroPoint = np.int64(rng.integers(-3, 3, any_of(rng, [0, 1, 2, 3, 17])))


def odd_scales(model, rng):
    tensor = any_of(rng, [t for t in tensors(model) if t.quantization is not None])
    odd = np.float32(any_of(rng, [0, -1, np.nan, np.inf, 1e-45, 3e38]))
    tensor.quantization.scale = np.full(len(tensor.quantization.scale), odd)


def wrong_axis(model, rng):
    tensor = any_of(rng, [t for t in tensors(model) if t.quantization is not None])
    tensor.quantization.quantizedDimension = int(rng.integers(-3, 9))


def wrong_shape(model, rng):
    tensor = tensor_of(model, rng)
    odd = [0, 1, 2, 3, 7, 2**16, 2**31 - 1, -1]
    tensor.shape = np.int32([any_of(rng, odd) for _ in range(int(rng.integers(0, 6)))])


def open_shape(model, rng):
    tensor = tensor_of(model, rng)
    tensor.shapeSignature = np.int32(
        np.where(rng.random(len(tensor.shape)) < 0.5, -1, tensor.shape)
    )


def wrong_type(model, rng):
    tensor_of(model, rng).type = int(rng.integers(0, 22))


def fewer_inputs(model, rng):
    operator = operator_of(model, rng)
    operator.inputs = operator.inputs[: int(rng.integers(len(operator.inputs)))]


def more_inputs(model, rng):
    operator = operator_of(model, rng)
    operator.inputs = np.int32([*operator.inputs, *operator.inputs, 0])


def left_out_input(model, rng):
    operator = operator_of(model, rng)
    operator.inputs = np.where(rng.random(len(operator.inputs)) < 0.5, -1, operator.inputs).astype(
        np.int32
    )


def no_outputs(model, rng):
    operator_of(model, rng).outputs = np.zeros(0, np.int32)


def wrong_index(model, rng):
    operator = operator_of(model, rng)
    name = any_of(rng, ["inputs", "outputs"])
    values = np.array(getattr(operator, name))
    values[int(rng.integers(len(values)))] = any_of(rng, [-2, -1, 0, 1, 5, 99, 2**31 - 1, -(2**31)])
    setattr(operator, name, values)


def wrong_port(model, rng):
    graph = graph_of(model, rng)
    ports = np.int32(rng.integers(-2, len(graph.tensors) + 2, int(rng.integers(0, 4))))
    setattr(graph, any_of(rng, ["inputs", "outputs"]), ports)


def another_operator(model, rng):
    code = any_of(rng, model.operatorCodes)
    code.builtinCode = int(rng.integers(0, 215))
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def wrong_version(model, rng):
    any_of(rng, model.operatorCodes).version = int(rng.integers(-1, 20))


def wrong_code(model, rng):
    operator_of(model, rng).opcodeIndex = int(rng.integers(0, 99))


def custom_operator(model, rng):
    code = any_of(rng, model.operatorCodes)
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = any_of(rng, [None, b"", b"\xff\xfe", b"FlexErf"])


def no_options(model, rng):
    operator = operator_of(model, rng)
    operator.builtinOptions = None
    if rng.random() < 0.5:
        operator.builtinOptionsType = 0


def others_options(model, rng):
    operator, other = operator_of(model, rng), operator_of(model, rng)
    operator.builtinOptions = other.builtinOptions
    operator.builtinOptionsType = other.builtinOptionsType


def wrong_options(model, rng):
    options = any_of(rng, [o.builtinOptions for o in operators(model) if o.builtinOptions])
    for name, value in vars(options).items():
        if isinstance(value, int) and not isinstance(value, bool):
            setattr(options, name, any_of(rng, [0, 1, 2, 3]))


def control_flow(model, rng):
    operator = operator_of(model, rng)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
    model.operatorCodes.append(code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    operator.builtinOptions = schema.WhileOptionsT()
    operator.builtinOptions.condSubgraphIndex = int(rng.integers(0, 4))
    operator.builtinOptions.bodySubgraphIndex = int(rng.integers(0, 4))


def odd_name(model, rng):
    tensor_of(model, rng).name = any_of(rng, [None, b"", b"\xff\xfe\x00", b"x" * 70000])


def same_names(model, rng):
    name = tensor_of(model, rng).name
    for tensor in graph_of(model, rng).tensors:
        tensor.name = name


def wrong_signature(model, rng):
    definition = any_of(rng, model.signatureDefs)
    definition.subgraphIndex = int(rng.integers(0, 4))
    definition.inputs[0].tensorIndex = int(rng.integers(0, 99))


def wrong_metadata(model, rng):
    any_of(rng, model.metadata).buffer = int(rng.integers(0, 99))


def wrong_sparse_index(model, rng):
    level = sparse_level(model, rng)
    array = any_of(rng, [level.arraySegments, level.arrayIndices])
    array.values = array.values.copy()
    array.values[int(rng.integers(len(array.values)))] = int(rng.integers(0, 256))


def sparse_counts(model, rng):
    level = sparse_level(model, rng)
    array = any_of(rng, [level.arraySegments, level.arrayIndices])
    array.values = array.values[: int(rng.integers(len(array.values)))]


def sparse_order(model, rng):
    one = any_of(rng, [t.sparsity for t in tensors(model) if t.sparsity is not None])
    one.traversalOrder = np.int32(rng.integers(0, 5, len(one.traversalOrder)))


def dropped_subgraph(model, rng):
    del model.subgraphs[int(rng.integers(len(model.subgraphs)))]


def tensors(model):
    return [tensor for graph in model.subgraphs for tensor in graph.tensors]


def operators(model):
    return [operator for graph in model.subgraphs for operator in graph.operators]


def sparse_level(model, rng):
    sparse_ones = [t.sparsity for t in tensors(model) if t.sparsity is not None]
    levels = [level for one in sparse_ones for level in one.dimMetadata]
    return any_of(rng, [level for level in levels if level.arraySegments is not None])


STRUCTURED = [
    *(cycle, cycle, duplicate_writer, writes_its_input, out_of_order, aliased_buffers),
    *(another_buffer, wrong_count_of_scales, wrong_count_of_zero_points, odd_scales, wrong_axis),
    *(wrong_shape, open_shape, wrong_type, fewer_inputs, more_inputs, left_out_input, no_outputs),
    *(wrong_index, wrong_port, another_operator, wrong_version, wrong_code, custom_operator),
    *(no_options, others_options, wrong_options, control_flow, odd_name, same_names),
    *(wrong_signature, wrong_metadata, wrong_sparse_index, sparse_counts, sparse_order),
    dropped_subgraph,
]


def flip_bytes(content, rng):
    for place in rng.integers(8, len(content), int(rng.integers(1, 9))):
        content[place] = int(rng.integers(256))
    return bytes(content)


def cut(content, rng):
    return bytes(content[: int(rng.integers(len(content)))])


def fill(content, rng):
    start, size = int(rng.integers(8, len(content))), int(rng.integers(1, 65))
    content[start : start + size] = bytes([any_of(rng, [0, 255, 127])]) * size
    return bytes(content)


def move_bytes(content, rng):
    start, other = (int(place) for place in rng.integers(8, len(content), 2))
    size = int(rng.integers(1, 33))
    content[start : start + size] = content[other : other + size]
    return bytes(content)


def cut_archive(content, rng):
    start = content.index(b"PK\x03\x04")
    return content[: int(rng.integers(start, len(content)))]


def flip_archive(content, rng):
    start, content = content.index(b"PK\x03\x04"), bytearray(content)
    for place in rng.integers(start, len(content), int(rng.integers(1, 6))):
        content[place] = int(rng.integers(256))
    return bytes(content)


def bomb(content, rng):
    """An archive of a few kilobytes that says it unpacks to gigabytes."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", b"0" * 1_000_000)
        archive.infolist()[-1].file_size = 3 * 2**30
    return stream.getvalue()
