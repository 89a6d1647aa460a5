import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.conversion import embeddings, integers
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.graph import Graph, schema

# Rows of very different sizes: with one scale for the table, the first two would be 0.
TABLE = np.array([[0.01, -0.02], [0, 0], [100, 50], [-3, 1]], np.float32)
POSITIONS = np.array([[[0.5, 0.25], [4, -8], [0.001, 0]]], np.float32)  # [1, S, H]


def lookup_file():
    """ids [1, 3] -> rows of TABLE + POSITIONS."""
    file = tflite_files.FileBuilder()
    ids = file.tensor("ids", [1, 3], np.int32)
    table = file.tensor("embeddings/word/embeddings", TABLE.shape, np.float32, data=TABLE)
    position = file.tensor(
        "embeddings/position/embeddings", POSITIONS.shape, np.float32, data=POSITIONS
    )
    rows = file.tensor("rows", [1, 3, 2], np.float32)
    total = file.tensor("sum", [1, 3, 2], np.float32)
    file.operator("GATHER", [table, ids], [rows], options=schema.GatherOptionsT())
    file.operator("ADD", [rows, position], [total], options=schema.AddOptionsT())
    return file.finish([ids], [total])


def quantized():
    graph = Graph(lookup_file())
    embeddings.to_int8(graph)
    return graph.to_bytes()


def rounded(rows):
    scales = np.abs(rows).max(axis=-1, keepdims=True) / np.float32(127)
    return np.rint(rows / np.where(scales > 0, scales, 1)) * scales


def test_rows_are_rounded_by_their_own_scale(run_bytes):
    ids = np.array([2, 0, 3])
    found = run_bytes(quantized(), ids=ids)["sum"]
    expected = rounded(TABLE)[ids] + rounded(POSITIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # At most half a step of the word's row, 100 / 127, and of the position's, 0.5 / 127; and so on.
    limits = 0.5 / 127 * np.array([[[100.5], [8.02], [3.001]]])
    assert np.all(np.abs(found - (TABLE[ids] + POSITIONS)) < limits * 1.0001)


def test_a_row_of_zeros_stays_zero(run_bytes):
    found = run_bytes(quantized(), ids=np.array([1, 1, 1]))["sum"]
    np.testing.assert_allclose(found, rounded(POSITIONS), rtol=1e-6)


def test_tables_are_stored_as_bytes():
    graph = Graph(quantized())
    constants = {graph.name(t): t for t in range(len(graph.tensors)) if graph.is_constant(t)}
    for name, value in (("word", TABLE), ("position", POSITIONS)):
        table = constants[f"embeddings/{name}/embeddings"]
        assert graph.dtype(table) == np.int8
        assert graph.stored_bytes(table) == value.size
        assert graph.constant(constants[f"embeddings/{name}/embeddings/scales"]).shape == (
            *value.shape[:-1],
            1,
        )


def test_other_gathers_are_left_alone():
    content = tflite_files.classifier()  # its table is not named as one
    graph = Graph(content)
    embeddings.to_int8(graph)
    assert graph.to_bytes() == Graph(content).to_bytes()


def test_all_tables_of_a_model(dense_file):
    graph = Graph(dense_file)
    tables = [
        tensor
        for tensor in range(len(graph.tensors))
        if graph.name(tensor).endswith("/embeddings") and graph.is_constant(tensor)
    ]
    assert len(tables) == 3
    assert all(graph.dtype(table) == np.int8 for table in tables)


def int4(rows):
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    scales = (largest * np.float32(0.8 / 7)).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(rows / scales), -7, 7) * scales


def test_words_in_int4_are_exact(run_bytes):
    graph = Graph(lookup_file())
    embeddings.to_int8(graph, "int4")
    content = graph.to_bytes()
    table = next(
        t for t in range(len(graph.tensors)) if graph.name(t) == embeddings.WORDS
        and graph.dtype(t) == np.int8 and graph.is_constant(t)
    )  # fmt: skip
    assert graph.stored_bytes(table) == TABLE.size / 2
    for ids in ([2, 0, 3], [1, 1, 1]):
        found = run_bytes(content, ids=np.array(ids))["sum"]
        expected = int4(TABLE)[ids] + rounded(POSITIONS)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_every_pair_of_int4_numbers_can_share_a_byte():
    steps = np.array([[a, b] for a in range(-7, 8) for b in range(-7, 8)], np.int8)
    packed = integers.pack_int4(steps).astype(np.float32)[:, 0] / 16
    upper = np.floor(packed)
    assert np.array_equal(upper, steps[:, 0]) and np.array_equal(
        (packed - upper) * 16 - 8, steps[:, 1]
    )


def test_int4_rows_need_an_even_number_of_columns():
    file = tflite_files.FileBuilder()
    ids = file.tensor("ids", [1], np.int32)
    table = file.tensor(embeddings.WORDS, [2, 3], np.float32, data=np.ones([2, 3]))
    rows = file.tensor("rows", [1, 3], np.float32)
    file.operator("GATHER", [table, ids], [rows], options=schema.GatherOptionsT())
    graph = Graph(file.finish([ids], [rows]))
    with pytest.raises(UserError, match="words of 3 columns cannot be INT4"):
        embeddings.to_int8(graph, "int4")
