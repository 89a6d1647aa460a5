import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.graph import Graph, quantization, schema
from tf_prune_ofa.tflite.graph_bytes import BUFFER_ALIGNMENT


def two_constants(first, second):
    """x + first + second."""
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 4], np.float32)
    for index, value in enumerate((first, second)):
        constant = file.tensor(f"constant_{index}", [4], np.float32, data=value)
        total = file.tensor(f"sum_{index}", [1, 4], np.float32)
        file.operator("ADD", [x, constant], [total], options=schema.AddOptionsT())
        x = total
    return file.finish([0], [x])


def test_writing_back_changes_nothing(run_bytes):
    before = two_constants([1, 2, 3, 4], [10, 20, 30, 40])
    after = Graph(before).to_bytes()
    x = np.zeros([1, 4], np.float32)
    np.testing.assert_array_equal(run_bytes(before, x=x)["sum_1"], [[11, 22, 33, 44]])
    np.testing.assert_array_equal(run_bytes(after, x=x)["sum_1"], [[11, 22, 33, 44]])
    assert Graph(after).to_bytes() == after


def test_equal_constants_are_stored_once():
    graph = Graph(Graph(two_constants([1, 2, 3, 4], [1, 2, 3, 4])).to_bytes())
    constants = [i for i in range(len(graph.tensors)) if graph.is_constant(i)]
    assert [graph.name(i) for i in constants] == ["constant_0", "constant_1"]
    assert len({graph.tensors[i].buffer for i in constants}) == 1


def test_constants_are_aligned_for_vector_loads():
    # Two constants of odd sizes, so that neither is aligned by luck.
    values = [np.full(size, fill, np.int8) for size, fill in ((7, 77), (21, 99))]
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1], np.float32)
    for value in values:
        file.operator("ADD", [x, file.tensor("c", value.shape, np.int8, data=value)], [x])
    content = Graph(file.finish([x], [x])).to_bytes()
    for value in values:
        assert content.index(value.tobytes()) % BUFFER_ALIGNMENT == 0


def test_what_nothing_uses_is_dropped():
    graph = Graph(two_constants([1, 2, 3, 4], [5, 6, 7, 8]))
    graph.add_constant("unused", np.arange(1000, dtype=np.int32))
    graph.set_operators(graph.operators[:1])
    graph.subgraph.outputs = graph.operators[0].outputs
    after = Graph(graph.to_bytes())
    assert [after.name(i) for i in range(len(after.tensors))] == ["x", "constant_0", "sum_0"]
    assert len(after.model.buffers) == 2  # the empty one, and one constant


def test_a_new_operator_and_its_tensors(run_bytes):
    graph = Graph(two_constants([1, 2, 3, 4], [5, 6, 7, 8]))
    result = int(graph.subgraph.outputs[0])
    doubled = graph.add_tensor("doubled", [1, 4], np.float32)
    two = graph.add_constant("two", np.float32([2]))
    multiply = graph.new_operator("MUL", [result, two], [doubled], schema.MulOptionsT())
    graph.set_operators([*graph.operators, multiply])
    graph.subgraph.outputs = np.int32([doubled])
    outputs = run_bytes(graph.to_bytes(), x=np.zeros([1, 4], np.float32))
    np.testing.assert_array_equal(outputs["doubled"], [[12, 16, 20, 24]])


def test_equal_channel_parameters_are_written_once():
    def size(same):
        graph = Graph(two_constants([1, 2, 3, 4], [5, 6, 7, 8]))
        for index in range(2):
            scales = np.arange(1, 1001) * (1.0 if same else index + 1.0)
            constant = graph.add_constant(
                f"kernel_{index}", np.full([1000, 1], index, np.int8), quantization(scales)
            )
            graph.operators[index].inputs[1] = constant
        return len(graph.to_bytes())

    # 1000 scales of four bytes; the zero points are equal in both cases.
    assert size(same=False) - size(same=True) == pytest.approx(4000, abs=16)


def test_metadata_is_replaced():
    graph = Graph(two_constants([1, 2, 3, 4], [5, 6, 7, 8]))
    graph.set_metadata("note", b"first")
    graph.set_metadata("note", b"second")
    after = Graph(graph.to_bytes())
    assert after.metadata("note") == b"second"
    assert after.metadata("other") is None
    assert len(after.model.metadata) == 1


def test_a_computed_tensor_has_no_constant():
    graph = Graph(two_constants([1, 2, 3, 4], [5, 6, 7, 8]))
    with pytest.raises(ValueError, match="sum_1"):
        graph.constant(int(graph.subgraph.outputs[0]))


def test_bytes_that_are_no_tflite_file():
    with pytest.raises(UserError, match="TFLite"):
        Graph(b"something else entirely")
