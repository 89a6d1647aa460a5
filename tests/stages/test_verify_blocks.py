import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.stages.verify import compare_to_dense

LOGITS = np.float32([[0.25, -1.5], [2.0, 0.125]])


def entries(*variants):
    return [{"variant": name, "file": f"{name}_s8.tflite"} for name in variants]


def test_files_made_from_the_dense_one_are_held_against_it():
    found = entries("float32", "dense_int8", "sparse_int8", "block_sparse_int8")
    logits = {entry["variant"]: LOGITS for entry in found} | {"sparse_int8": LOGITS + 1}
    compare_to_dense(found, logits)
    equal = {entry["variant"]: entry.get("equals_dense_int8") for entry in found}
    assert equal == {
        "float32": None,
        "dense_int8": None,
        "sparse_int8": False,
        "block_sparse_int8": True,
    }


def test_blocks_that_compute_something_else():
    found = entries("dense_int8", "block_sparse_int8")
    other = LOGITS + np.float32([[0, 0], [0.5, 0]])
    with pytest.raises(UserError, match="differs from the dense_int8 file by up to 0.5 in a logit"):
        compare_to_dense(found, {"dense_int8": LOGITS, "block_sparse_int8": other})


def test_blocks_without_the_dense_file():
    with pytest.raises(UserError, match="only be verified beside dense_int8"):
        compare_to_dense(entries("block_sparse_int8"), {"block_sparse_int8": LOGITS})
