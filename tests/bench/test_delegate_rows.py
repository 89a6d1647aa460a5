"""Files measured without and with the sparse INT8 delegate."""

import pytest
import tflite_files

from tf_prune_ofa.bench.host import benchmark
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.bench.show import describe, file_rows
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate

QUICK = BenchSettings(runs=10, loads=1, warmup=1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_files.classifier())
    return path


@pytest.mark.skipif(
    not delegate.LIBRARY.is_file(), reason="the library is built where a C++ compiler is found"
)
def test_every_file_is_measured_both_ways_and_compared(file):
    result = benchmark([file], QUICK, reference=file, delegate=True)
    plain, sparse = result["files"]
    assert [plain["file"], sparse["file"]] == ["model.tflite", "model.tflite, delegate"]
    assert plain["delegation"] == {"operators": 2, "delegated": 1, "partitions": 1}
    # Nothing in it is INT8.
    assert sparse["delegation"] == plain["delegation"] | {"sparse": 0, "sparse_partitions": 0}
    assert plain["difference"] is None
    assert sparse["difference"] == {"to": "model.tflite", "max_abs": 0}
    assert file_rows(result)[1][-1] == "1/2 in 1 + 0 in 0 sparse"
    assert "model.tflite, delegate and model.tflite: outputs equal" in describe(result)


def test_without_the_library_it_says_so(file, tmp_path, monkeypatch):
    monkeypatch.setattr(delegate, "LIBRARY", tmp_path / "none.so")
    with pytest.raises(UserError, match="delegate is absent"):
        benchmark([file], QUICK, delegate=True)
