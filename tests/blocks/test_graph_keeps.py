"""What a pass has no business with stays in the file, or is refused by name."""

import io
import zipfile

import mutants
import numpy as np
import pytest
import tflite_files
from block_files import DEAR, FREE, Net

from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer, packed_files
from tf_prune_ofa.tflite.graph import Graph, schema
from tf_prune_ofa.tflite.graph_bytes import buffer

TEXTS = {"vocab.txt": b"[PAD]\n[UNK]\n", "labels.txt": b"no\nyes\n"}


def layer_file():
    net = Net([1, 5, 16])
    return net.file(net.layer(0, net.blocks(16, 16, (4, 4), np.eye(4, dtype=bool))))


@pytest.fixture
def file():
    """A file as others make them: described, with files behind it and bytes that nobody names."""
    graph = Graph(layer_file())
    graph.set_metadata("TFLITE_METADATA", b"what a task library reads")
    graph.set_metadata("min_runtime_version", b"1.14.0")
    graph.packed = packed_files.NONE.with_files(TEXTS)
    graph.model.description = b"made elsewhere"
    graph.model.buffers.append(buffer(np.frombuffer(b"for a library of ours", np.uint8)))
    graph._spare_buffers = {len(graph.model.buffers) - 1}
    graph.model.signatureDefs = [schema.SignatureDefT()]
    graph.model.signatureDefs[0].signatureKey = "run"
    (x,), (y,) = graph.ports()
    graph.model.signatureDefs[0].inputs = [mutants.entry("words", int(x))]
    graph.model.signatureDefs[0].outputs = [mutants.entry("answer", int(y))]
    return graph.to_bytes()


@pytest.mark.parametrize("costs", [FREE, DEAR])
@pytest.mark.parametrize("compact", [False, True])
def test_the_pass_keeps_everything(file, costs, compact):
    after, _ = block_sparse(file, Block(4, 4), costs, compact=compact)
    graph = Graph(after)
    assert packed_files.associated_files(after) == {k: v.decode() for k, v in TEXTS.items()}
    assert graph.metadata("TFLITE_METADATA") == b"what a task library reads"
    assert graph.metadata("min_runtime_version") == b"1.14.0"
    assert graph.model.description == b"made elsewhere"
    stored = [flatbuffer.numbers(one.data).tobytes() for one in graph.model.buffers]
    assert stored.count(b"for a library of ours") == 1
    (signature,) = graph.signatures()
    assert signature.signatureKey == b"run"
    assert [list(names) for names in graph.signature()] == [["words"], ["answer"]]


def test_how_files_are_packed_is_kept():
    stream = io.BytesIO(layer_file())
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"by hand"
        entry = zipfile.ZipInfo("notes/a.txt", (2024, 5, 6, 7, 8, 10))
        archive.writestr(entry, b"a" * 1000, zipfile.ZIP_DEFLATED)
        archive.writestr("b.bin", bytes(range(256)))
    after, _ = block_sparse(stream.getvalue(), Block(4, 4), FREE)
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.comment == b"by hand" and archive.testzip() is None
        first, second = archive.infolist()
        assert (first.filename, first.date_time[:3]) == ("notes/a.txt", (2024, 5, 6))
        assert (first.compress_type, second.compress_type) == (8, 0)
        assert archive.read("b.bin") == bytes(range(256))


@pytest.mark.parametrize("is_packed", [False, True])
def test_bytes_that_belong_to_nothing_are_refused(is_packed):
    content = layer_file()
    block_sparse(content + bytes(64), Block(4, 4), FREE)  # padding may go
    content += b"a signature of another tool"
    if is_packed:
        content = packed_files.NONE.with_files(TEXTS).behind(content)
    with pytest.raises(UserError, match="27 bytes from position .* belong neither"):
        block_sparse(content, Block(4, 4), FREE)


def test_a_name_at_the_very_end_is_part_of_the_model():
    # The first thing that is written lies last: here the name of a custom operator.
    model = schema.ModelT.InitFromPackedBuf(layer_file(), 0)
    code = schema.OperatorCodeT()
    code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, b"an operator of ours"
    model.operatorCodes.insert(0, code)
    for operator in model.subgraphs[0].operators:
        operator.opcodeIndex += 1
    content = mutants.written(model)
    block_sparse(content, Block(4, 4), FREE)
    # The zero behind the name, and what follows.
    with pytest.raises(UserError, match="9 bytes from position"):
        block_sparse(content + b"and more", Block(4, 4), FREE)


def test_options_that_the_format_does_not_know_are_refused():
    graph = Graph(layer_file())
    graph.operators[0].builtinOptionsType = 250
    graph.operators[0].builtinOptions = None
    with pytest.raises(UserError, match="options of kind 250"):
        Graph(graph.to_bytes())


def packed(*contents, claimed=None):
    """A model with files behind it, the first of which says that it has another size."""
    stream = io.BytesIO(layer_file())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.txt", content)
        if claimed is not None:
            archive.infolist()[0].file_size = claimed
    return stream.getvalue()


def test_an_archive_that_unpacks_to_gigabytes_is_refused():
    with pytest.raises(UserError, match="unpacks to 1 files of 3,221,225,472 bytes"):
        Graph(packed(b"0" * 1000, claimed=3 * 2**30))
    assert packed_files.names(packed(b"0" * 1000, claimed=3 * 2**30)) == ("0.txt",)


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda f: f.replace(b"0.txt", b"1.txt"), "two files of one name"),
        (lambda f: f[:-40] + bytes(10) + f[-30:], "cannot be read"),
        (lambda f: f.replace(b"PK\x03\x04", b"PK\x00\x00"), "cannot be read"),
    ],
)
def test_a_damaged_archive_is_one_clear_error(damage, says):
    with pytest.raises(UserError, match=says):
        block_sparse(damage(packed(b"first", b"second")), Block(4, 4), FREE)


def test_all_signatures_are_rewritten(tmp_path):
    before = mutants.two_subgraphs()
    after, choices = block_sparse(before, Block(4, 4), FREE)
    assert [choice.block for choice in choices] == [Block(4, 4)] * 2
    from ai_edge_litert.interpreter import Interpreter

    x = np.random.default_rng(0).integers(-128, 128, 16 * 5, np.int8)
    for key, rows in (("run_0", 4), ("run_1", 5)):
        values = x[: 16 * rows].reshape(1, rows, 16)
        found = [
            Interpreter(model_content=content).get_signature_runner(key)(x=values)["y"]
            for content in (before, after)
        ]
        np.testing.assert_array_equal(*found)
    for index in range(2):
        graph = Graph(after, index)
        assert "CONV_2D" in {graph.op_name(operator) for operator in graph.operators}


def test_operators_of_others_stay_as_they_are():
    """A custom operator, one without a result, and one that leaves an output out."""
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 16], np.float32)
    y, state = file.tensor("y", [1, 16], np.float32), file.tensor("state", [1], np.int32)
    file.operator("CUSTOM", [x, -1], [y, -1])
    file.model.operatorCodes[-1].customCode = b"theirs"
    file.graph.operators[-1].customOptions = np.frombuffer(b"options", np.uint8)
    file.operator("ASSIGN_VARIABLE", [state, y], [])
    before = file.finish([x, state], [y])
    after, choices = block_sparse(before)
    assert choices == []
    graph = Graph(after)
    assert [graph.op_name(op) for op in graph.operators] == ["CUSTOM:theirs", "ASSIGN_VARIABLE"]
    assert graph.operators[0].customOptions.tobytes() == b"options"
    assert [len(op.outputs) for op in graph.operators] == [2, 0]


def test_open_shapes_are_one_error_with_a_remedy():
    file = tflite_files.FileBuilder()
    x, y = file.tensor("x", [1, 4], np.float32), file.tensor("y", [1, 4], np.float32)
    file.graph.tensors[0].shapeSignature = np.int32([-1, 4])
    file.operator("RELU", [x], [y])
    with pytest.raises(
        UserError, match=r"input x has the open shape \[-1, 4\].*TensorSpec"
    ) as error:
        block_sparse(file.finish([x], [y]))
    assert "\n" not in str(error.value)
