import numpy as np
import pytest
from block_files import DEAR, FREE, Net
from exported_models import CONFIG, make_examples
from test_block_sparse import assert_equal

from tf_prune_ofa.blocks.heads import drop_dead_heads
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.tflite.graph import Graph

SIZE, HEADS = 8, 4


def attention(dead, *, watched=False, seed=0):
    """Two projections, summed head by head, and a layer that does not read the heads in `dead`."""
    net = Net([1, 6, 16], seed=seed)
    hidden = SIZE * HEADS
    results = [net.layer(0, net.blocks(hidden, 16, (1, 1), 1.0)) for _ in range(2)]
    total = net.add_floats(*(net.heads(result, SIZE) for result in results))
    kernel = net.blocks(16, hidden, (1, 1), 1.0)
    for head in dead:
        kernel[:, head * SIZE : (head + 1) * SIZE] = 0
    output = net.layer(net.quantize(net.rows(total)), kernel)
    return net.file(output, *([total] if watched else []))


def kernels(graph):
    layers = [op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED"]
    return [graph.shape(int(op.inputs[1])) for op in layers]


def dropped(file):
    graph = Graph(file)
    drop_dead_heads(graph)
    return graph


def test_a_dead_head_is_cut_out(tmp_path):
    before = attention(dead=[1, 2])
    graph = dropped(before)
    assert kernels(graph) == [[16, 16], [16, 16], [16, 16]]
    assert_equal(tmp_path, before, graph.to_bytes())
    # The rows of heads 0 and 3.
    first = Graph(before)
    kernel = first.constant(int(first.operators[0].inputs[1]))
    kept = graph.constant(int(graph.operators[0].inputs[1]))
    np.testing.assert_array_equal(kept, kernel[[*range(8), *range(24, 32)]])


@pytest.mark.parametrize("dead", [[], [0, 1, 2, 3]])
def test_all_or_none(dead):
    assert kernels(dropped(attention(dead))) == [[32, 16], [32, 16], [16, 32]]


def test_heads_that_are_needed_elsewhere_stay():
    assert kernels(dropped(attention([1], watched=True)))[0] == [32, 16]


def test_a_real_encoder_loses_heads(dense_file, run_bytes):
    graph = Graph(dense_file)
    size = CONFIG.hidden_size // CONFIG.num_heads
    for operator in graph.operators:
        if graph.op_name(operator) == "FULLY_CONNECTED":
            weights = int(operator.inputs[1])
            if graph.name(weights) == "encoder_00/attention/output/kernel":
                kernel = graph.constant(weights).copy()
                kernel[:, :size] = 0
                parameters = graph.tensors[weights].quantization
                operator.inputs[1] = graph.add_constant(graph.name(weights), kernel, parameters)
    before = graph.to_bytes()
    after, _ = block_sparse(before, Block(16, 16), DEAR)
    small = Graph(after)
    products = [op for op in small.operators if small.op_name(op) == "BATCH_MATMUL"]
    assert [small.shape(int(op.outputs[0]))[1] for op in products] == [1, 1, 2, 2]
    for example in make_examples(3):
        expected, found = run_bytes(before, **example), run_bytes(after, **example)
        assert expected["logits"].tobytes() == found["logits"].tobytes()


def test_blocks_and_heads_together(tmp_path):
    for seed in range(3):
        before = attention(dead=[3], seed=seed)
        for block in (Block(8, 8), Block(4, 4), None):
            assert_equal(tmp_path, before, block_sparse(before, block, FREE)[0])
