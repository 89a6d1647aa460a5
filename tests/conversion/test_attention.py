import numpy as np
import pytest
from exported_models import CONFIG, make_examples

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.conversion import attention, calibrate, int8, integers
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import dense_layers, sparse
from tf_prune_ofa.tflite.graph import Graph

TINY = 1e-6
# Of a machine where only products cost anything: blocks pay even in a model this small.
PRODUCTS = CostTable(operator_us=TINY, result_ns=TINY, copy_ns=TINY, transpose_ns=TINY)


@pytest.fixture(scope="module")
def with_scores(float32_file):
    return calibrate.measure_ranges(float32_file, make_examples(16), scores=True)


@pytest.fixture(scope="module")
def int8_file(float32_file, with_scores):
    return int8.dense_int8(float32_file, with_scores)


def products(file):
    graph = Graph(file)
    return graph, [op for op in graph.operators if graph.op_name(op) == "BATCH_MATMUL"]


def test_attentions_of_a_float_file(float32_file):
    graph = Graph(float32_file)
    found = attention.find(graph, dense_layers.read_stamps(graph))
    assert [(a.query, a.key, a.value, a.scores_name) for a in found] == [
        tuple(f"encoder_0{index}/attention/{name}" for name in ("query", "key", "value", "scores"))
        for index in range(CONFIG.num_layers)
    ]


def test_products_are_int8_and_their_second_operand_is_symmetric(int8_file):
    graph, found = products(int8_file)
    assert len(found) == 2 * CONFIG.num_layers
    for operator in found:
        tensors = [int(t) for t in (*operator.inputs, *operator.outputs)]
        assert all(graph.dtype(tensor) == np.int8 for tensor in tensors)
        assert graph.tensors[tensors[1]].quantization.zeroPoint[0] == 0


def test_nothing_but_the_softmax_is_float_inside(int8_file, dense_file):
    before, after = Graph(dense_file), Graph(int8_file)
    count = {
        name: [sum(g.op_name(op) == name for op in g.operators) for g in (before, after)]
        for name in ("DEQUANTIZE", "QUANTIZE", "TRANSPOSE", "RESHAPE")
    }
    # Of each layer: three become one (scores); one (context) becomes another (probabilities).
    assert count["DEQUANTIZE"][0] - count["DEQUANTIZE"][1] == 2 * CONFIG.num_layers
    for name in ("QUANTIZE", "TRANSPOSE", "RESHAPE"):
        assert count[name][0] == count[name][1]


def test_it_computes_what_float_attention_does(int8_file, dense_file, tmp_path):
    logits = []
    for index, content in enumerate((dense_file, int8_file)):
        path = tmp_path / f"{index}.tflite"
        path.write_bytes(content)
        file = Interpreter(path)
        assert file.partition_count == 1
        logits.append([file.run(*example.values())["logits"] for example in make_examples(8)])
    # Logits are near 1, their step is 0.02.
    np.testing.assert_allclose(*logits, atol=0.2)
    assert not np.array_equal(*logits)


def test_without_ranges_it_stays_float(float32_file, with_scores):
    one = {k: v for k, v in with_scores.items() if k != "encoder_01/attention/scores"}
    graph, found = products(int8.dense_int8(float32_file, one))
    kinds = [graph.dtype(int(operator.outputs[0])) for operator in found]
    assert kinds == [np.int8, np.int8, np.float32, np.float32]
    no_key = {k: v for k, v in with_scores.items() if k != "encoder_00/attention/key"}
    graph, found = products(int8.dense_int8(float32_file, no_key))
    kinds = [graph.dtype(int(operator.outputs[0])) for operator in found]
    assert kinds == [np.float32, np.float32, np.int8, np.int8]


def test_passes_behind_it_change_no_bit(int8_file, run_bytes):
    graph = Graph(int8_file)
    for operator in graph.operators:
        if graph.op_name(operator) != "FULLY_CONNECTED":
            continue
        kernel = graph.constant(operator.inputs[1]).copy()
        name = graph.name(operator.inputs[1])
        if name == "encoder_00/attention/output/kernel":
            kernel[:, 16:] = 0  # the second of two heads
        elif name.startswith("encoder_01/attention"):
            kernel[:16, 16:] = kernel[16:, :16] = 0
        parameters = graph.tensors[int(operator.inputs[1])].quantization
        operator.inputs[1] = graph.add_constant(name, kernel, parameters)
    before = graph.to_bytes()
    blocks, choices = block_sparse(before, Block(16, 16), PRODUCTS)
    assert sum(choice.block is not None for choice in choices) >= 4
    heads = [graph.shape(int(op.outputs[0]))[1] for graph, ops in [products(blocks)] for op in ops]
    assert heads == [1, 1, 2, 2]
    for example in make_examples(4):
        expected = run_bytes(before, **example)["logits"]
        for content in (blocks, sparse.sparse_int8(before)):
            np.testing.assert_array_equal(run_bytes(content, **example)["logits"], expected)


@pytest.mark.parametrize("bounds", [(-3.0, 1.0), (0.0, 2.5), (-0.1, 0.7)])
def test_symmetric_ranges(bounds):
    low, high = attention.symmetric(bounds)
    scale, zero_point = integers.activation_params(low, high)
    assert zero_point == 0
    assert 127 * scale == pytest.approx(max(-bounds[0], bounds[1]))
    assert attention.symmetric((low, high)) == (low, high)
