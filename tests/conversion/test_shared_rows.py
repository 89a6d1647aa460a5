"""Fewer rows than words: which rows are shared, and what a file computes with them."""

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.conversion import embeddings, shared_rows
from tf_prune_ofa.tflite.graph import Graph, schema

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(60, 8)).astype(np.float32)
NOTHING = np.zeros(0, np.int64)
OWN = np.sort(RNG.choice(60, 20, replace=False))


def lookup_file(table=TABLE):
    file = tflite_files.FileBuilder()
    ids = file.tensor("ids", [1, 3], np.int32)
    words = file.tensor(embeddings.WORDS, table.shape, np.float32, data=table)
    rows = file.tensor("rows", [1, 3, table.shape[1]], np.float32)
    file.operator("GATHER", [words, ids], [rows], options=schema.GatherOptionsT())
    return file.finish([ids], [rows])


def test_each_other_word_has_the_nearest_row():
    shared = shared_rows.nearest(TABLE, OWN, NOTHING)
    assert shared.own.tolist() == OWN.tolist()
    for word, row in enumerate(shared.row_of):
        distances = np.linalg.norm(TABLE[OWN] - TABLE[word], axis=1)
        assert row == np.argmin(distances)
        assert word not in OWN or OWN[row] == word


def test_words_of_equal_rows_keep_their_own():
    table = np.zeros((5, 2), np.float32)
    shared = shared_rows.nearest(table, np.array([1, 3]), NOTHING)
    assert shared.row_of.tolist() == [0, 0, 0, 1, 0]


def test_no_word_has_the_row_of_a_special_token():
    table = TABLE.copy()
    table[OWN[0]] = 0  # nearer to most than any word
    near = shared_rows.nearest(table, OWN, NOTHING)
    assert np.count_nonzero(near.row_of == 0) > 10
    apart = shared_rows.nearest(table, OWN, OWN[:1])
    assert np.flatnonzero(apart.row_of == 0).tolist() == [OWN[0]]


@pytest.mark.parametrize("words", ["int8", "int4"])
def test_a_file_computes_with_the_shared_rows(run_bytes, words):
    shared = shared_rows.nearest(TABLE, OWN, NOTHING)
    graph = Graph(shared_rows.share(lookup_file(), shared))
    embeddings.to_int8(graph, words)
    content = graph.to_bytes()
    same = Graph(lookup_file(TABLE[OWN][shared.row_of]))
    embeddings.to_int8(same, words)
    for ids in (np.array([0, 31, 59]), np.array([7, 7, 12])):
        found = run_bytes(content, ids=ids)["rows"]
        np.testing.assert_array_equal(found, run_bytes(same.to_bytes(), ids=ids)["rows"])
    graph = Graph(content)
    stored = {
        graph.name(tensor): (graph.dtype(tensor), graph.stored_bytes(tensor))
        for tensor in range(len(graph.tensors))
        if graph.is_constant(tensor)
    }
    assert stored[shared_rows.ROWS] == (np.int16, 2 * len(TABLE))
    assert stored[embeddings.WORDS] == (np.int8, len(OWN) * (8 if words == "int8" else 4))


def test_more_rows_than_16_bits_can_count(run_bytes):
    table = RNG.normal(size=(2**15 + 3, 2)).astype(np.float32)
    every = np.arange(1, len(table))
    shared = shared_rows.SharedRows(every, np.maximum(np.arange(len(table)) - 1, 0))
    content = shared_rows.share(lookup_file(table), shared)
    found = run_bytes(content, ids=np.array([0, 1, 2**15 + 2]))["rows"]
    np.testing.assert_array_equal(found[0], table[[1, 1, 2**15 + 2]])
