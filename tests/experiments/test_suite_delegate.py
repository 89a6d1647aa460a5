"""Rows of a benchmark suite that run with the sparse delegate."""

import pytest

from tf_prune_ofa.blocks.live import Block, live_blocks
from tf_prune_ofa.conversion import int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments import suite as bench_suite
from tf_prune_ofa.experiments.suite_delegate import make_rows
from tf_prune_ofa.experiments.suite_files import make_files
from tf_prune_ofa.runtime import delegate

TINY = bench_suite.Suite("bert", 64, 1, 2, 8, vocab_size=30)
PATTERNS = {"unstructured": (0.8, 0.9), "1x4": (0.75,)}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Making files needs no working library, only one that is there."""
    path = tmp_path / "library.so"
    path.touch()
    monkeypatch.setattr(delegate, "LIBRARY", path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    make_files(TINY, folder, blocks=[], sparsities=[])
    return folder


def test_rows(library, folder):
    rows = make_rows(folder, patterns=PATTERNS)
    assert [row.label for row in rows] == [
        "dense_int8, delegate",
        "dynamic_int8, delegate",
        "dense_int8 unstructured 80%, delegate",
        "dense_int8 unstructured 90%, delegate",
        "dynamic_int8 unstructured 90%, delegate",
        "dense_int8 1x4 75%, delegate",
        "dynamic_int8 1x4 90%, delegate",
    ]
    assert all(row.row.options == {"delegate": str(library)} for row in rows)
    layers = int8.int8_layers(rows[5].path.read_bytes())
    kernels = {name: layer.kernel for name, layer in layers.items() if name.startswith("encoder_")}
    assert kernels
    for kernel in kernels.values():
        assert live_blocks(kernel, Block(1, 4)).mean() == 0.25


def test_files_are_made_once(library, folder):
    make_rows(folder, patterns=PATTERNS)
    asked = []
    rows = make_rows(folder, patterns=PATTERNS, on_file=asked.append)
    assert not asked
    rows[2].path.unlink()
    make_rows(folder, patterns=PATTERNS, on_file=asked.append)
    assert asked == ["dense_int8 unstructured 80%"]
    make_rows(folder, patterns=PATTERNS, seed=1, on_file=asked.append)
    assert len(asked) == 1 + 5


def test_without_the_library_there_are_none(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(delegate, "LIBRARY", tmp_path / "none.so")
    with pytest.raises(UserError, match="delegate is absent"):
        make_rows(folder)
