import importlib
import random

import numpy as np
import pytest
import tflite_files
from old_runtime import needs_tflite_runtime

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.installed import find_runtime
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.places import find_places

# ids [1, 4] -> table of 10 rows (0.1 * (4 * id + column)) -> KERNEL: outputs are
# [row[2] + 2 * row[3], 0, 3 * row[0] + 4 * row[1], 0].
IDS, MASK = np.array([0, 1, 2, 9]), np.ones(4, np.int32)
EXPECTED = np.array(
    [[i + 2 + 2 * (i + 3), 0, 3 * i + 4 * (i + 1), 0] for i in (0, 4, 8, 36)], np.float32
) * np.float32(0.1)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.classifier())
    return path


@pytest.mark.parametrize("xnnpack", [True, False])
def test_run(path, xnnpack):
    file = Interpreter(path, xnnpack=xnnpack)
    outputs = file.run(IDS, MASK)
    assert list(outputs) == ["hidden_1"]
    np.testing.assert_allclose(outputs["hidden_1"], EXPECTED[None], rtol=1e-5)


def test_facts(path):
    file = Interpreter(path)
    assert file.runtime_name == "litert"
    assert file.runtime_version == importlib.metadata.version("ai-edge-litert")
    assert file.input_names == ["input_word_ids", "input_mask"]
    assert file.output_names == ["hidden_1"]
    assert file.sequence_length == 4
    # XNNPACK takes the fully-connected layer, never a GATHER.
    assert (file.node_count, file.delegated_count, file.partition_count) == (2, 1, 1)
    assert file.delegated_share == 0.5


def test_without_xnnpack_nothing_is_delegated(path):
    file = Interpreter(path, xnnpack=False)
    assert (file.node_count, file.delegated_count, file.delegated_share) == (2, 0, 0)


def test_outputs_are_copies(path):
    file = Interpreter(path)
    first = file.run(IDS, MASK)["hidden_1"]
    file.run(np.full(4, 3), MASK)
    np.testing.assert_allclose(first, EXPECTED[None], rtol=1e-5)


def test_all_tensors_can_be_kept(path):
    file = Interpreter(path, xnnpack=False, keep_tensors=True)
    file.run(IDS, MASK)
    np.testing.assert_allclose(file.tensor(3)[0, 1], [0.4, 0.5, 0.6, 0.7], rtol=1e-6)


def test_delegated_operators_are_those_between_a_delegates_borders():
    def node(index, name, inputs, outputs):
        return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}

    # 0 -> A -> 1 -> B -> 2 -> C -> 3 -> D -> 4 -> E -> 5, and F beside B and C; a border at D.
    operators = [
        node(0, "A", [0], [1]),
        node(1, "B", [1], [2]),
        node(2, "F", [1], [6]),
        node(3, "C", [2, 6], [3]),
        node(4, "D", [3], [4]),
        node(5, "E", [4, 7], [5]),
    ]
    delegates = [node(6, "DELEGATE", [1, 9], [3]), node(7, "DELEGATE", [4, 7], [5])]
    find = find_places
    assert find(operators, 6) == (dict.fromkeys(range(6), "runtime"), [])
    places, pieces = find(operators + delegates, 7)
    assert pieces == ["sparse delegate", "XNNPACK"]
    assert list(places.values()) == [
        "runtime",
        *["sparse delegate"] * 3,
        "runtime",
        "XNNPACK",
    ]


def test_names_straight_from_the_converter(tmp_path):
    file = tflite_files.FileBuilder()
    ids = file.tensor("serving_default_input_word_ids:0", [1, 4], np.int32)
    total = file.tensor("StatefulPartitionedCall:0", [1, 4], np.int32)
    file.operator("ADD", [ids, ids], [total], options=tflite_files.schema.AddOptionsT())
    (tmp_path / "file").write_bytes(file.finish([ids], [total]))
    assert Interpreter(tmp_path / "file").input_names == ["input_word_ids"]


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        Interpreter(tmp_path / "missing.tflite")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "file").write_text("Not a model, but long enough to be one.")
    with pytest.raises(UserError, match="not a TFLite file"):
        Interpreter(tmp_path / "file")


def test_a_file_that_was_cut_off_anywhere(path, tmp_path):
    content = path.read_bytes()
    cut = tmp_path / "cut.tflite"
    for length in [0, 3, 8, *random.Random(0).sample(range(9, len(content)), 40)]:
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.tflite"):
            Interpreter(cut)


def test_another_sequence_length(path):
    with pytest.raises(UserError, match=r"input_word_ids of shape \[1, 4\], given was \[5\]"):
        Interpreter(path).run(np.zeros(5, int), np.ones(5, int))


def test_other_inputs(path):
    with pytest.raises(UserError, match="has the inputs input_word_ids, input_mask; given were x"):
        Interpreter(path).set_inputs({"x": IDS})


def test_an_id_outside_the_vocabulary(path):
    with pytest.raises(UserError, match="fails to run .*vocabulary"):
        Interpreter(path).run(np.array([0, 1, 2, 10]), MASK)


def test_no_threads(path):
    with pytest.raises(UserError, match="0 threads"):
        Interpreter(path, threads=0)


def test_an_unknown_runtime(path):
    with pytest.raises(UserError, match="no runtime 'onnx'; choose auto, litert"):
        Interpreter(path, runtime="onnx")


def test_an_operator_that_the_runtime_does_not_know(tmp_path):
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 4], np.float32)
    file.operator("ADD", [x, x], [x], version=99)
    (tmp_path / "new.tflite").write_bytes(file.finish([x], [x]))
    with pytest.raises(UserError, match=r"litert .* cannot load .*new\.tflite"):
        Interpreter(tmp_path / "new.tflite")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that only some runtimes are installed."""

    def only(*modules):
        def import_module(name):
            if name not in modules:
                raise ModuleNotFoundError(name)
            return importlib

        monkeypatch.setattr(importlib, "import_module", import_module)

    return only


@needs_tflite_runtime
def test_the_next_runtime_is_taken_where_the_first_is_missing(installed):
    installed("tflite_runtime.interpreter")
    assert find_runtime()[1:] == ("tflite_runtime", "2.14.0")


def test_no_runtime_at_all(installed):
    installed()
    with pytest.raises(UserError, match="ai-edge-litert or tflite-runtime or tensorflow"):
        find_runtime()
    with pytest.raises(UserError, match="tflite-runtime is not installed"):
        find_runtime("tflite_runtime")


@pytest.mark.parametrize(
    ("version", "is_known"),
    [("1.0.1", False), ("1.3.0", False), ("1.4.0", True), ("2.3.0", True), ("10.0", True)],
)
def test_a_runtime_of_other_results_is_refused(path, monkeypatch, version, is_known):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    if is_known:
        assert Interpreter(path, runtime="litert").runtime_version == version
        return
    with pytest.raises(
        UserError, match=rf"ai-edge-litert {version} is older than 1\.4.*pip install"
    ):
        Interpreter(path, runtime="litert")


def open_file(path, shape=(1, 1), signature=(-1, -1)):
    """x + x, whose shape is left open."""
    file = tflite_files.FileBuilder()
    x, y = (file.tensor(name, shape, np.float32) for name in "xy")
    for tensor in file.graph.tensors:
        tensor.shapeSignature = np.int32(signature)
    file.operator("ADD", [x, x], [y], options=tflite_files.schema.AddOptionsT())
    path.write_bytes(file.finish([x], [y]))
    return path


def test_open_shapes_are_filled_in(tmp_path):
    file = Interpreter(open_file(tmp_path / "open"), sequence_length=7)
    assert file.sequence_length == 7
    file.set_inputs({"x": np.arange(7)})
    file.invoke()
    np.testing.assert_array_equal(file.outputs()["y"], [2 * np.arange(7)])


def test_a_file_without_a_sequence(tmp_path):
    file = tflite_files.FileBuilder()
    x, y = (file.tensor(name, [], np.float32) for name in "xy")
    file.operator("ADD", [x, x], [y], options=tflite_files.schema.AddOptionsT())
    (tmp_path / "file").write_bytes(file.finish([x], [y]))
    assert Interpreter(tmp_path / "file").sequence_length is None


def test_two_inputs_of_one_plain_name_keep_their_full_ones(tmp_path):
    file = tflite_files.FileBuilder()
    first = file.tensor("serving_default_x:0", [1, 4], np.float32)
    second, y = file.tensor("x", [1, 4], np.float32), file.tensor("y", [1, 4], np.float32)
    file.operator("ADD", [first, second], [y], options=tflite_files.schema.AddOptionsT())
    (tmp_path / "file").write_bytes(file.finish([first, second], [y]))
    assert Interpreter(tmp_path / "file").input_names == ["serving_default_x:0", "x"]
    file.graph.tensors[first].name = b"x"
    (tmp_path / "file").write_bytes(file.finish([first, second], [y]))
    with pytest.raises(UserError, match="two inputs or outputs of one name: x, x"):
        Interpreter(tmp_path / "file")


def test_a_name_that_is_no_text_is_a_user_error(tmp_path):
    file = tflite_files.FileBuilder()
    x, y = (file.tensor(name, [1], np.float32) for name in "xy")
    file.graph.tensors[x].name = b"caf\xe9"
    file.operator("ADD", [x, x], [y], options=tflite_files.schema.AddOptionsT())
    (tmp_path / "file").write_bytes(file.finish([x], [y]))
    with pytest.raises(UserError, match="cannot load .*codec can't decode"):
        Interpreter(tmp_path / "file")
