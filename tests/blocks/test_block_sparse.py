"""The pass on small files, run by the real interpreter."""

import block_files
import numpy as np
import pytest
from block_files import DEAR, FREE, Net, names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import guard, sparse
from tf_prune_ofa.tflite.graph import Graph, schema


def run(folder, content, seed=0):
    path = folder / f"{len(list(folder.iterdir()))}.tflite"
    path.write_bytes(content)
    interpreter = Interpreter(path)
    shape = Graph(content).shape(0)
    x = np.random.default_rng(seed).integers(-128, 128, shape, np.int8)
    interpreter.set_inputs({"x": x})
    interpreter.invoke()
    return interpreter, interpreter.outputs()


def assert_equal(folder, before, after):
    """Bit for bit, and XNNPACK leaves no more operators to the runtime than before."""
    first, expected = run(folder, before)
    second, found = run(folder, after)
    for (name, value), other in zip(expected.items(), found.values(), strict=True):
        assert value.tobytes() == other.tobytes(), name
        assert value.shape == other.shape
    left = [r.node_count - r.delegated_count for r in (first, second)]
    assert left[1] <= left[0]


def test_four_by_four_blocks_by_hand(tmp_path):
    net = Net([1, 5, 16])
    pattern = [[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    kernel = net.blocks(16, 16, (4, 4), pattern)
    before = net.file(net.layer(0, kernel))
    after, (choice,) = block_sparse(before, Block(4, 4), FREE)
    assert (choice.block, choice.live) == (Block(4, 4), 5 / 16)
    graph = Graph(after)
    convolutions = [op for op in graph.operators if graph.op_name(op) == "CONV_2D"]
    kernels = [graph.constant(int(op.inputs[1])) for op in convolutions]
    # Rows 0 to 3 read places 0, 2 and 3; rows 4 to 7 have no live block and read one of zeros.
    assert [k.shape for k in kernels] == [(4, 3, 1, 4), (4, 1, 1, 4), (4, 1, 1, 4), (4, 1, 1, 4)]
    np.testing.assert_array_equal(
        kernels[0].reshape(4, 12), kernel[:4, [0, 1, 2, 3, *range(8, 16)]]
    )
    assert not kernels[1].any()
    np.testing.assert_array_equal(kernels[2].reshape(4, 4), kernel[8:12, 4:8])
    # Slices: place 0, the run of 2 and 3, place 1. Joins: of two runs, and of the four results.
    assert names(after) == {
        "CONCATENATION": 2,
        "CONV_2D": 4,
        "RESHAPE": 3,
        "SLICE": 3,
        "TRANSPOSE": 2,
    }
    assert_equal(tmp_path, before, after)


def test_a_layer_that_would_not_be_faster_stays(tmp_path):
    net = Net([1, 5, 16])
    before = net.file(net.layer(0, net.blocks(16, 16, (4, 4), 0.1)))
    after, (choice,) = block_sparse(before, table=DEAR)
    assert choice.block is None and "divide" in choice.reason
    after, (choice,) = block_sparse(before, Block(4, 4), DEAR)
    assert choice.block is None and "not be faster" in choice.reason
    assert names(after) == {"FULLY_CONNECTED": 1}
    assert_equal(tmp_path, before, after)


def test_layers_of_one_input_share_its_pieces(tmp_path):
    net = Net([1, 5, 16])
    pattern = np.eye(4, dtype=bool)
    results = [net.layer(0, net.blocks(16, 16, (4, 4), pattern)) for _ in range(3)]
    before = net.file(*results)
    after, _ = block_sparse(before, Block(4, 4), FREE)
    assert names(after)["SLICE"] == 4
    assert_equal(tmp_path, before, after)


def test_neighbours_with_the_same_live_blocks_are_one_layer(tmp_path):
    net = Net([1, 5, 16])
    pattern = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], bool)
    before = net.file(net.layer(0, net.blocks(16, 16, (4, 8), pattern)))
    dear_operators = CostTable(1e-3, 1.0, 1e-9, 1e-9, 1e-9)
    after, _ = block_sparse(before, Block(4, 8), dear_operators)
    assert names(after)["CONV_2D"] == 1
    assert_equal(tmp_path, before, after)


@pytest.mark.parametrize(
    "width, transpositions",
    [
        (4, 3),  # the input's; the context's heads of 8 into blocks of 4; the result's
        (8, 2),  # here a head is a block of the context as it is
    ],
)
def test_heads_need_no_transposition_of_their_own(tmp_path, width, transpositions):
    net = Net([1, 6, 16])
    half = np.tile(np.eye(2, dtype=bool), 8 // width)  # of the columns; every head is read
    projections = [
        net.layer(0, net.blocks(16, 16, (8, width), half), zero_point=zero) for zero in (5, -6, 7)
    ]
    context = net.attention(*projections, 8)
    before = net.file(net.layer(context, net.blocks(16, 16, (8, width), half)))
    assert names(before)["TRANSPOSE"] == 4
    after, _ = block_sparse(before, Block(8, width), FREE)
    assert names(after)["TRANSPOSE"] == transpositions
    assert_equal(tmp_path, before, after)


def test_element_wise_operators_work_on_blocks(tmp_path):
    net = Net([1, 6, 16])
    first = net.layer(0, net.blocks(32, 16, (4, 4), 0.4))
    before = net.file(net.layer(net.gelu(first), net.blocks(16, 32, (4, 4), 0.4)))
    after, _ = block_sparse(before, Block(4, 4), FREE)
    assert names(after)["TRANSPOSE"] == 2  # of the input and of the result, none between
    assert names(after)["GELU"] == 1
    assert_equal(tmp_path, before, after)


def test_a_result_that_is_needed_both_ways(tmp_path):
    net = Net([1, 6, 16])
    first = net.layer(0, net.blocks(32, 16, (4, 4), 0.4))
    second = net.layer(first, net.blocks(32, 32, (4, 4), 0.4))
    before = net.file(net.add(first, second), first)
    after, _ = block_sparse(before, Block(4, 4), FREE)
    assert_equal(tmp_path, before, after)


def test_conversions_move_behind_what_moves_data(tmp_path):
    net = Net([1, 6, 16])
    kernel = net.blocks(16, 16, (4, 4), 1)
    projections = [net.layer(0, kernel, zero_point=zero) for zero in (5, -6, 7)]
    before = net.file(net.attention(*projections, 8))
    after, _ = block_sparse(before, table=DEAR)
    graph = Graph(after)
    moved = [op for op in graph.operators if graph.op_name(op) == "TRANSPOSE"]
    assert [graph.dtype(int(op.outputs[0])) for op in moved] == [np.int8] * 4
    assert_equal(tmp_path, before, after)


@pytest.mark.parametrize("zero_point", [0, 5])
def test_products_of_float_numbers_stay_what_they_were(tmp_path, zero_point):
    # With zero point 0 XNNPACK multiplies by the integers if it sees the DEQUANTIZE in front.
    net = Net([1, 64, 32], seed=1)
    query, key = (
        net.heads(net.layer(0, net.blocks(32, 32, (8, 8), 0.4), zero_point=zero_point), 8)
        for _ in range(2)
    )
    before = net.file(net.product(query, key, transposed=True))
    for block in (Block(8, 8), Block(16, 8), Block(4, 4)):
        assert_equal(tmp_path, before, block_sparse(before, block, FREE)[0])
    dense, _ = block_sparse(before, table=DEAR)
    assert_equal(tmp_path, before, dense)


def test_float_numbers_that_were_computed_are_not_looked_up(tmp_path):
    # XNNPACK looks results up where DEQUANTIZE, GELU and QUANTIZE follow each other directly.
    net = Net([1, 64, 32], seed=1)
    result = net.layer(0, net.blocks(256, 32, (8, 8), 0.4))
    floats = net.reshape(net.dequantize(result), [1, 64 * 8, 32])
    gelu = net.graph.add_tensor("gelu", [1, 64 * 8, 32], np.float32)
    net._add("GELU", [floats], gelu, schema.GeluOptionsT())
    before = net.file(net.quantize(gelu, 0.03, -120))
    after, _ = block_sparse(before, Block(8, 8), FREE)
    operators = [Graph(after).op_name(op) for op in Graph(after).operators]
    assert operators.index("DEQUANTIZE") < operators.index("GELU") - 1
    assert_equal(tmp_path, before, after)


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6"])
@pytest.mark.parametrize("keep_dims", [True, False])
@pytest.mark.parametrize("per_channel, bias", [(True, True), (False, True), (True, False)])
def test_forms_of_layers(tmp_path, activation, keep_dims, per_channel, bias):
    net = Net([1, 5, 16])
    result = net.layer(
        0,
        net.blocks(16, 16, (4, 4), 0.4),
        bias=bias,
        per_channel=per_channel,
        keep_dims=keep_dims,
        activation=getattr(schema.ActivationFunctionType, activation),
    )
    before = net.file(result)
    after, (choice,) = block_sparse(before, Block(4, 4), FREE)
    assert choice.block is not None
    assert_equal(tmp_path, before, after)


def test_layers_with_a_float_input_stay(tmp_path):
    net = Net([1, 5, 16])
    x = net.dequantize(0)
    kernel = net.graph.add_constant("kernel", net.blocks(16, 16, (4, 4), 0.2), None)
    net.graph.tensors[kernel].quantization = net.graph.tensors[0].quantization
    net.graph.tensors[kernel].quantization.zeroPoint = np.int64([0])
    result = net.graph.add_tensor("y", [1, 5, 16], np.float32)
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    net._add("FULLY_CONNECTED", [x, kernel], result, options, 5)
    after, (choice,) = block_sparse(net.file(result), Block(4, 4), FREE)
    assert choice.block is None and "range" in choice.reason
    assert names(after)["FULLY_CONNECTED"] == 1


def test_layers_that_stay_dense_can_be_stored_compactly(tmp_path):
    net = Net([1, 4, 64])
    kernel = net.blocks(256, 64, (1, 1), 0.1)
    before = net.file(net.layer(0, kernel))
    after, (choice,) = block_sparse(before, Block(64, 32), DEAR, compact=True)
    assert choice.block is None
    assert after == sparse.sparse_int8(before)
    assert_equal(tmp_path, before, after)


def test_a_second_pass_changes_nothing(tmp_path):
    before = block_files.encoder_layer(Net([1, 6, 32]))
    once, _ = block_sparse(before, Block(8, 8), FREE)
    twice, choices = block_sparse(once, Block(8, 8), FREE)
    assert twice == once
    assert not choices


def random_file(draw):
    """A graph of a few layers, and the size of its blocks."""
    block = Block(draw(st.sampled_from([4, 8, 16])), draw(st.sampled_from([4, 8, 16])))
    size = block.outputs * block.inputs // np.gcd(block.outputs, block.inputs)
    net = Net(
        [draw(st.integers(1, 2)), draw(st.integers(1, 7)), size * draw(st.integers(1, 3))],
        seed=draw(st.integers(0, 2**32 - 1)),
        zero_point=draw(st.integers(-128, 127)),
    )
    live = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
    tensors, outputs = [0], []
    for _ in range(draw(st.integers(1, 5))):
        source = draw(st.sampled_from(tensors))
        shape = net.graph.shape(source)
        kinds = ["layer", "layer", "layer", "gelu", "heads", "scores", "attention", "add"]
        kind = draw(st.sampled_from(kinds))
        if kind == "layer":
            kernel = net.blocks(
                size * draw(st.integers(1, 4)), shape[-1], (block.outputs, block.inputs), live
            )
            tensors.append(
                net.layer(
                    source,
                    kernel,
                    bias=draw(st.booleans()),
                    per_channel=draw(st.booleans()),
                    keep_dims=draw(st.booleans()) if len(shape) == 3 else False,
                    activation=draw(st.sampled_from([0, 0, 1, 3])),
                )
            )
        elif kind == "gelu":
            tensors.append(net.gelu(source))
        elif kind == "heads" and len(shape) == 3 and shape[0] == 1:
            heads = net.heads(source, size // draw(st.sampled_from([1, 2])))
            tensors.append(net.quantize(net.rows(heads)))
        elif kind == "scores" and len(shape) == 3 and shape[0] == 1:
            key = net.heads(
                draw(st.sampled_from([t for t in tensors if net.graph.shape(t) == shape])), size
            )
            outputs.append(net.product(net.heads(source, size), key, transposed=True))
        elif kind == "attention" and len(shape) == 3 and shape[0] == 1:
            heads = draw(st.integers(1, 3))
            sizes = (size * heads, shape[-1], (block.outputs, block.inputs), live)
            layers = [net.layer(source, net.blocks(*sizes), zero_point=zero) for zero in (3, 0, 0)]
            tensors.append(net.int8_attention(*layers, size))
        elif kind == "add":
            other = draw(st.sampled_from([t for t in tensors if net.graph.shape(t) == shape]))
            tensors.append(net.quantize(net.add(source, other)))
        if draw(st.integers(0, 3)) == 0:
            outputs.append(tensors[-1])
    outputs = list(dict.fromkeys(t for t in [*outputs, tensors[-1]] if t != 0))
    return net.file(
        *(outputs or [net.layer(0, net.blocks(size, net.graph.shape(0)[-1], (1, 1), 1))])
    ), block


def check_random_file(folder, data):
    before, block = random_file(data.draw)
    if data.draw(st.booleans()):
        block = None
    after, _ = block_sparse(before, block, FREE, compact=data.draw(st.booleans()))
    assert not guard.find_problems(after)
    assert_equal(folder, before, after)


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bit_of_a_random_file_changes(tmp_path, data):
    check_random_file(tmp_path, data)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bit_of_300_random_files_changes(tmp_path, data):
    check_random_file(tmp_path, data)
