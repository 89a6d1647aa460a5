import numpy as np
from block_files import DEAR, FREE, Net, names
from test_block_sparse import assert_equal

from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.neurons import arrange, find_neurons
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.tflite.graph import Graph


def grid(pattern, block):
    return np.kron(np.asarray(pattern), np.ones(block, np.int8)).astype(np.int8)


def test_neurons_that_nothing_reads_are_dropped_in_sixteens():
    second = np.ones([4, 64], np.int8)
    second[:, 5:50] = 0  # 19 are read: 13 spare ones fill up to 32
    kept = arrange(np.ones([64, 8], np.int8), second, None)
    np.testing.assert_array_equal(kept, [*range(18), *range(50, 64)])


def test_whole_blocks_are_dropped():
    first = grid([[1, 0], [1, 0], [0, 1], [0, 1]], (4, 4))
    second = grid([[1, 0, 1, 0], [1, 0, 0, 0]], (4, 4))
    kept = arrange(first, second, Block(4, 4))
    np.testing.assert_array_equal(kept, [*range(4), *range(8, 12)])


def test_halves_of_blocks_with_the_same_inputs_are_paired():
    # Blocks of 8 neurons, read in halves. The first half of each is read: of four blocks, those
    # that need inputs 0 and 2 and those that need inputs 1 and 3 belong together.
    first = grid([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]], (8, 4))
    second = grid([[1, 0, 1, 0, 1, 0, 1, 0]], (8, 4))
    kept = arrange(first, second, Block(8, 4))
    np.testing.assert_array_equal(kept, [*range(4), *range(16, 20), *range(8, 12), *range(24, 28)])


def test_neurons_that_are_read_together_come_side_by_side():
    first = grid(np.ones([4, 1]), (4, 4))
    second = grid([[1, 0, 1, 0], [0, 1, 0, 1]], (4, 4))
    kept = arrange(first, second, Block(4, 4))
    np.testing.assert_array_equal(kept, [*range(4), *range(8, 12), *range(4, 8), *range(12, 16)])


def feed_forward(live, *, neurons=64):
    net = Net([1, 6, 16], seed=3)
    first = net.layer(0, net.blocks(neurons, 16, (8, 4), live))
    second = net.layer(net.gelu(first), net.blocks(16, neurons, (8, 4), live))
    return net, first, second


def test_results_stay_equal(tmp_path):
    for live in (0.05, 0.2, 0.5):
        net, _, second = feed_forward(live)
        before = net.file(second)
        for block in (Block(8, 4), Block(4, 4), Block(8, 8), None):
            after, _ = block_sparse(before, block, FREE)
            assert_equal(tmp_path, before, after)


def test_a_dense_layer_loses_neurons_too(tmp_path):
    net = Net([1, 6, 16])
    first = net.layer(0, net.blocks(96, 16, (1, 1), 1.0))
    kernel = net.blocks(16, 96, (1, 1), 1.0)
    kernel[:, 3::2] = 0  # 49 are read; they fill 64
    before = net.file(net.layer(net.gelu(first), kernel))
    after, _ = block_sparse(before, table=DEAR)
    graph = Graph(after)
    kernels = [graph.shape(int(op.inputs[1])) for op in graph.operators if len(op.inputs) == 3]
    assert kernels == [[64, 16], [16, 64]]
    assert names(after) == names(before)
    assert_equal(tmp_path, before, after)


def test_neurons_that_are_needed_elsewhere_stay():
    net, first, second = feed_forward(0.2)
    assert len(find_neurons(Graph(net.file(second)))) == 1
    assert not find_neurons(Graph(net.file(second, first)))
    net.add(first, first)
    net, first, second = feed_forward(0.2, neurons=16)
    total = net.add(0, first)  # a sum with the layer's input: its order counts
    assert not find_neurons(Graph(net.file(second, total)))
