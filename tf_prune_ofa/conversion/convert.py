"""Convert a Keras model to a float32 .tflite file of builtin operators with fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tf_prune_ofa.conversion import layer_norm
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.tflite import dense_layers, guard
from tf_prune_ofa.tflite.dense_layers import KerasDense
from tf_prune_ofa.tflite.graph import Graph

# The order in which runtimes that go by position (MediaPipe's fallback, C programs) expect them.
INPUT_ORDER = ("input_word_ids", "input_mask", "input_type_ids")
EMBEDDINGS_SUFFIX = "/embeddings"


def to_float32(model: keras.Model) -> bytes:
    """Convert a model to a float32 .tflite file.

    The file has builtin operators only and no dynamic tensors; LayerNorms are in the form that
    `layer_norm` explains. Tensors of inputs and outputs are
    named as in the Keras model; kernels, biases and embedding tables `<layer>/kernel`, `/bias` and
    `/embeddings`.

    Args:
        model: functional model of plain float32 layers, inputs int32 with fixed shapes [1, S].

    Raises:
        UserError: an input has an open shape, weights are not float32, or an operator has no
            builtin form (the message lists operators and layers).
    """
    _check_model(model)
    graph = Graph(_convert(model))
    _name_inputs_and_outputs(graph)
    dense_layers.stamp(graph, keras_dense_layers(model))
    _name_embeddings(graph, model)
    content = layer_norm.centre_first(graph.to_bytes())
    guard.check(content)
    return content


def keras_dense_layers(model: keras.Model) -> dict[str, KerasDense]:
    """Return the Dense layers of a functional model by name."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            before = layer.input._keras_history.layer
            found[layer.name] = KerasDense(
                kernel=layer.kernel.numpy(),
                input_name=before.name,
                is_linear=layer.activation is keras.activations.linear,
            )
    return found


def _check_model(model: keras.Model) -> None:
    for name, tensor in _named_inputs(model).items():
        if None in tensor.shape.as_list():
            raise UserError(
                f"input {name} has the open shape {tensor.shape.as_list()}; a file has one fixed "
                "shape. Build the model with batch_size=1 and a sequence_length."
            )
    wrong = [w.name for w in model.weights if w.dtype.is_floating and w.dtype != tf.float32]
    if wrong:
        raise UserError(
            f"{len(wrong)} weights are not float32, first {wrong[0]}. Build the model without "
            "mixed precision and copy the weights into it."
        )


def _named_inputs(model: keras.Model) -> dict[str, tf.Tensor]:
    return {tensor._keras_history.layer.name: tensor for tensor in model.inputs}


def _convert(model: keras.Model) -> bytes:
    # A function with named arguments and a dict of results keeps both kinds of names; the
    # converter's own Keras road names outputs after layers.
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in _named_inputs(model).items()
    }
    function = tf.function(lambda **inputs: model(inputs, training=False))
    concrete = function.get_concrete_function(**signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        return converter.convert()
    except Exception as error:
        problems = _unsupported(error, [layer.name for layer in model.layers])
        if not problems:
            raise
        raise UserError(
            "these operators have no builtin TFLite form:\n  "
            + "\n  ".join(problems)
            + "\nReplace them in the model: Flex operators need a runtime that phones do not have."
        ) from error


def _unsupported(error: Exception, layer_names: list[str]) -> list[str]:
    """Return `operator in layer` for each operator that the converter gave up on."""
    problems: dict[str, None] = {}
    # Each entry is a protocol buffer of the converter's metrics; absent on other exceptions.
    for entry in getattr(error, "errors", []):
        scopes = [call.name.split("@")[0] for call in entry.location.call if call.name]
        within = [name for name in layer_names if any(f"/{name}/" in f"/{s}/" for s in scopes)]
        layer = max(within, key=len) if within else "an unknown layer"
        if entry.operator.name:
            problems[f"{entry.operator.name.removeprefix('tf.')} in {layer}"] = None
    return list(problems)


def _name_inputs_and_outputs(graph: Graph) -> None:
    inputs, outputs = graph.signature()
    for name, tensor in [*inputs.items(), *outputs.items()]:
        graph.tensors[tensor].name = name
    known = [inputs[name] for name in INPUT_ORDER if name in inputs]
    others = [tensor for name, tensor in inputs.items() if name not in INPUT_ORDER]
    graph.subgraph.inputs = np.asarray(known + others, np.int32)


def _name_embeddings(graph: Graph, model: keras.Model) -> None:
    tables = {
        layer.name: layer.embeddings.numpy()
        for layer in model.layers
        if isinstance(getattr(layer, "embeddings", None), tf.Variable)
    }
    for operator in graph.operators:
        if graph.op_name(operator) not in ("GATHER", "ADD"):
            continue
        for slot, tensor in enumerate(operator.inputs):
            if graph.is_constant(tensor) and graph.dtype(tensor) == np.float32:
                name = _table_name(graph.constant(tensor), graph.name(tensor), tables)
                if name is not None:
                    operator.inputs[slot] = graph.alias(tensor, name + EMBEDDINGS_SUFFIX)


def _table_name(
    value: np.ndarray, tensor_name: str, tables: Mapping[str, np.ndarray]
) -> str | None:
    """Return the layer whose table, or whose first rows, a constant is."""
    if value.ndim < 2:
        return None
    rows = value.reshape(-1, value.shape[-1])
    matching = [
        name
        for name, table in tables.items()
        if rows.shape[1] == table.shape[1] and np.array_equal(rows, table[: len(rows)])
    ]
    if len(matching) > 1:
        matching = [name for name in matching if f"/{name}/" in f"/{tensor_name}/"]
    return matching[0] if matching else None
