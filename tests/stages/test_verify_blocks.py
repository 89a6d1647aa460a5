import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.file_outputs import compare_to_dense
from tf_prune_ofa.stages.verify import require_pass

LOGITS = np.float32([[0.25, -1.5], [2.0, 0.125]])


def entries(*variants):
    return [{"variant": v, "file": f"{v}_s8.tflite", "problems": []} for v in variants]


def outputs(**logits):
    return {variant: {"logits": value} for variant, value in logits.items()}


def test_files_made_from_the_dense_one_are_held_against_it():
    found = entries("float32", "dense_int8", "sparse_int8", "block_sparse_int8")
    same = {entry["variant"]: LOGITS for entry in found}
    compare_to_dense(found, outputs(**same | {"sparse_int8": LOGITS + 1}))
    equal = {entry["variant"]: entry.get("equals_dense_int8") for entry in found}
    assert equal == {
        "float32": None,
        "dense_int8": None,
        "sparse_int8": False,
        "block_sparse_int8": True,
    }
    assert [len(entry["problems"]) for entry in found] == [0, 0, 1, 0]


@pytest.mark.parametrize("variant", ["sparse_int8", "block_sparse_int8"])
def test_one_that_computes_something_else(variant):
    found = entries("dense_int8", variant)
    other = LOGITS + np.float32([[0, 0], [0.5, 0]])
    compare_to_dense(found, outputs(**{"dense_int8": LOGITS, variant: other}))
    (problem,) = found[1]["problems"]
    assert "differs from the dense_int8 file by up to 0.5 in an output" in problem
    other[0, 0] = np.nan
    compare_to_dense(found, outputs(**{"dense_int8": LOGITS, variant: other}))
    assert "by up to inf" in found[1]["problems"][1]


def test_blocks_without_the_dense_file():
    found = entries("block_sparse_int8", "sparse_int8")
    compare_to_dense(found, outputs(block_sparse_int8=LOGITS, sparse_int8=LOGITS))
    assert "only be verified beside a sound dense_int8" in found[0]["problems"][0]
    assert found[1]["problems"] == []


def test_what_does_not_pass_is_an_error_that_says_why():
    good = {"problems": [], "files": entries("float32")}
    require_pass(good)
    bad = entries("float32", "dense_int8")
    bad[1]["problems"] += [f"problem {number}" for number in range(5)]
    with pytest.raises(UserError) as failure:
        require_pass({"problems": ["x is in the folder"], "files": bad})
    text = str(failure.value)
    assert "verification failed for dense_int8_s8.tflite" in text and "x is in the folder" in text
    assert "problem 2" in text and "problem 3" not in text and "and 2 more" in text
