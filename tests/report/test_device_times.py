import hashlib
import json

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.device_times import read_times
from tf_prune_ofa.report.frontier import Candidate


@pytest.fixture
def chosen(tmp_path):
    found = []
    for name, options in (("dense", {}), ("sparse", {}), ("sparse", {"delegate": "auto"})):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(name.encode())
        found.append(Candidate(path, "sparse_int8", "any", 0.9, 0.8, 1, 1, options))
    return found


def entry(name, delegate, ms):
    return {
        "file": name + (", delegate" if delegate else ""),
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "delegate": delegate,
        "latency_ms": {"median": ms},
    }


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        result = {
            "reference": "dense",
            "throttled": [],
            "machine": {"device": "Phone 1"},
            "files": [
                entry("sparse", True, 3),
                entry("sparse", False, 2),
                entry("dense", False, 1),
            ],
        }
        (tmp_path / "phone.json").write_text(json.dumps(result | changes))
        return tmp_path / "phone.json"

    return written


def test_files_are_known_by_their_content(write, chosen):
    found = read_times(write(), chosen)
    assert [one["latency_ms"]["median"] for one in found["files"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"throttled": ["the clock fell"]}, r"Phone 1 was throttled \(the clock fell\)"),
        ({"reference": None}, r"compares with nothing; measure again with --reference=.*dense"),
        ({"files": [entry("dense", False, 1)]}, r"no time of .*sparse.tflite without the delegate"),
        ({"files": 3}, "is no result of a device"),
    ],
)
def test_results_that_do_not_fit(write, chosen, changes, problem):
    with pytest.raises(UserError, match=problem):
        read_times(write(**changes), chosen)


def test_no_such_file(chosen, tmp_path):
    with pytest.raises(UserError, match="is no result of a device"):
        read_times(tmp_path / "none.json", chosen)
