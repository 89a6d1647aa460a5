"""The variant dense_int4: what it stores and computes, and that the checker finds other numbers."""

import numpy as np
import pytest
from exported_models import CONFIG, LENGTH, make_examples, make_model

from tf_prune_ofa.conversion import variants
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import flatbuffer, guard
from tf_prune_ofa.tflite.graph import Graph
from tf_prune_ofa.verification import files
from tf_prune_ofa.verification.expected import expect

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"w{i}" for i in range(CONFIG.vocab_size - 4)]
DEAD_NEURONS = 480  # of 512
GONE = slice(16, 32)  # the second of two heads


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model on the INT4 grid, with dead units in layer 0, and its files."""
    model = make_model()
    for name, kernel in dense_kernels(model).items():
        value = kernel.numpy()
        if name == "encoder_00/ffn/output":
            value[:DEAD_NEURONS] = 0
        if name == "encoder_00/attention/output":
            value[GONE] = 0
        if name.startswith("encoder"):
            scales = np.maximum(np.abs(value).max(axis=0), 1e-9) / 7
            value = np.rint(value / scales) * scales
        kernel.assign(value)
    folder = tmp_path_factory.mktemp("int4")
    manifest = variants.write_variants(
        model, None, folder, ["float32", "dynamic_int8", "dense_int4"], vocab=VOCAB
    )
    expected = expect(model, None, None, sequence_length=LENGTH, vocabulary=VOCAB, labels=None)
    return folder, manifest, expected


def content_of(folder, variant="dense_int4"):
    return (folder / f"{variant}_s{LENGTH}.tflite").read_bytes()


def kernels_of(content):
    graph = Graph(content)
    found = {}
    for operator in graph.operators:
        if graph.op_name(operator) == "FULLY_CONNECTED":
            tensor = int(operator.inputs[1])
            found[graph.name(tensor).removesuffix("/kernel")] = graph.tensors[tensor]
    return found


def test_the_encoder_is_int4_and_the_head_int8(exported):
    folder, manifest, expected = exported
    content = content_of(folder)
    guard.check(content)
    types = {name: flatbuffer.dtype_name(one) for name, one in kernels_of(content).items()}
    assert set(types.values()) == {"int4", "int8"}
    assert all((kind == "int4") == name.startswith("encoder_") for name, kind in types.items())
    assert files.find_problems(content, "dense_int4", expected) == []
    sizes = {entry["variant"]: entry["layers"] for entry in manifest["files"]}
    whole = "encoder_01/ffn/output"
    assert sizes["dense_int4"][whole] * 2 == sizes["dynamic_int8"][whole]


def test_dead_units_are_left_out(exported):
    shapes = {name: list(one.shape) for name, one in kernels_of(content_of(exported[0])).items()}
    left = CONFIG.intermediate_size - DEAD_NEURONS
    assert shapes["encoder_00/ffn/intermediate"] == [left, 32]
    assert shapes["encoder_00/ffn/output"] == [32, left]
    assert shapes["encoder_00/attention/value"] == [16, 32]
    assert shapes["encoder_00/attention/output"] == [32, 16]
    assert shapes["encoder_01/ffn/output"] == [32, 512]


def test_a_model_on_the_grid_loses_only_what_its_inputs_lose(exported):
    folder, results = exported[0], {}
    for variant in ("float32", "dynamic_int8", "dense_int4"):
        interpreter = Interpreter(folder / f"{variant}_s{LENGTH}.tflite")
        rows = []
        for example in make_examples(20):
            interpreter.set_inputs(example)
            interpreter.invoke()
            rows.append(interpreter.outputs()["logits"].ravel())
        results[variant] = np.array(rows)
    spread = results["float32"].std()
    far = {name: np.abs(value - results["float32"]).max() for name, value in results.items()}
    assert 0 < far["dense_int4"] < 0.3 * spread
    assert far["dense_int4"] < 3 * far["dynamic_int8"] + 1e-6


def changed(content, change):
    """The file with another stored kernel of a layer, of which row or column 5 is changed."""
    graph = Graph(content)
    for operator in graph.operators:
        if graph.op_name(operator) != "FULLY_CONNECTED":
            continue
        tensor = int(operator.inputs[1])
        entry = graph.tensors[tensor]
        if flatbuffer.text(entry.name) == f"{change[0]}/kernel":
            values = flatbuffer.tensor_values(graph.model, entry).copy()
            change[1](values)
            name = flatbuffer.text(entry.name)
            operator.inputs[1] = graph.add_int4(name, values, entry.quantization)
    return graph.to_bytes()


def swap_rows(values):
    values[[4, 5]] = values[[5, 4]]


def swap_columns(values):
    values[:, [4, 5]] = values[:, [5, 4]]


def one_step(values):
    place = np.unravel_index(np.argmax(np.abs(values)), values.shape)
    values[place] -= np.sign(values[place])


def fill_zeros(values):
    values[values == 0] = 1


@pytest.mark.parametrize("change", [swap_rows, swap_columns, one_step, fill_zeros])
@pytest.mark.parametrize("end", ["ffn/intermediate", "ffn/output", "attention/value"])
@pytest.mark.parametrize("layer", ["encoder_00", "encoder_01"])
def test_other_numbers_are_refused(exported, change, end, layer):
    folder, _, expected = exported
    content = changed(content_of(folder), (f"{layer}/{end}", change))
    assert content != content_of(folder)
    assert files.find_problems(content, "dense_int4", expected)


def test_a_file_of_int8_weights_is_none(exported):
    folder, _, expected = exported
    assert files.find_problems(content_of(folder, "dynamic_int8"), "dense_int4", expected)
    assert files.find_problems(content_of(folder), "dynamic_int8", expected)
