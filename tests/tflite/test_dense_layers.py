import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import dense_layers
from tf_prune_ofa.tflite.dense_layers import DenseLayer, KerasDense
from tf_prune_ofa.tflite.graph import Graph, schema

KERNEL = np.array([[1, 2], [3, 4], [5, 6]], np.float32)  # [in, out]


def one_layer(kernel, tensor_name="model/some/MatMul"):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, kernel.shape[0]], np.float32)
    weights = file.tensor(tensor_name, kernel.T.shape, np.float32, data=kernel.T)
    bias = file.tensor("bias", [kernel.shape[1]], np.float32, data=np.ones(kernel.shape[1]))
    y = file.tensor("y", [1, kernel.shape[1]], np.float32)
    options = schema.FullyConnectedOptionsT()
    file.operator("FULLY_CONNECTED", [x, weights, bias], [y], options=options)
    return Graph(file.finish([x], [y]))


def dense(kernel, input_name="before"):
    return KerasDense(kernel, input_name, is_linear=True)


def stamps_after_writing(graph, layers):
    dense_layers.stamp(graph, layers)
    return dense_layers.read_stamps(Graph(graph.to_bytes()))


def test_a_layer_is_known_by_its_weights_not_by_its_name():
    layers = {"other": dense(KERNEL + 1), "encoder_00/ffn/output": dense(KERNEL)}
    graph = one_layer(KERNEL)
    with pytest.raises(UserError, match="other"):  # it has no operator
        dense_layers.stamp(graph, layers)
    del layers["other"]
    stamps = stamps_after_writing(one_layer(KERNEL), layers)
    assert stamps == {
        "encoder_00/ffn/output": DenseLayer("encoder_00/ffn/output", "before", 1.0, True)
    }


def test_kernel_and_bias_are_named_after_the_layer():
    graph = one_layer(KERNEL)
    dense_layers.stamp(graph, {"pooler": dense(KERNEL)})
    graph = Graph(graph.to_bytes())
    _, kernel, bias = graph.operators[0].inputs
    assert (graph.name(kernel), graph.name(bias)) == ("pooler/kernel", "pooler/bias")


@pytest.mark.parametrize("head_size", [16, 32, 64])
def test_a_factor_that_was_multiplied_in_is_found(head_size):
    factor = np.float32(head_size**-0.5)
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, [64, 64]).astype(np.float32)
    kernel[rng.random(kernel.shape) < 0.9] = 0
    layers = {"query": dense(kernel)}
    stamps = stamps_after_writing(one_layer(kernel * factor), layers)
    assert stamps["query"].factor == pytest.approx(factor, rel=1e-6)


def test_another_pattern_of_zeros_is_another_layer():
    kernel = KERNEL.copy()
    kernel[0, 0] = 0
    with pytest.raises(UserError, match="no FULLY_CONNECTED"):
        dense_layers.stamp(one_layer(kernel), {"pooler": dense(KERNEL)})


def test_equal_kernels_are_told_apart_by_the_scope():
    zeros = np.zeros_like(KERNEL)
    layers = {"encoder_00/key": dense(zeros, "a"), "encoder_01/key": dense(zeros, "b")}
    graph = one_layer(zeros, "model/encoder_01/key/MatMul")
    with pytest.raises(UserError, match="encoder_00/key") as raised:
        dense_layers.stamp(graph, layers)
    assert "encoder_01/key" not in str(raised.value)


def test_a_file_of_someone_else_has_no_stamps():
    with pytest.raises(UserError, match="which layer is which"):
        dense_layers.read_stamps(Graph(tflite_files.classifier()))


def test_an_operator_that_is_no_dense_layer():
    graph = Graph(tflite_files.classifier())
    found = [dense_layers.layer_of(graph, op, {}) for op in graph.operators]
    assert found == [None, None]
