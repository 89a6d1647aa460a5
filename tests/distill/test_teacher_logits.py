import numpy as np
import pytest

from tf_prune_ofa.distill.teacher_logits import cached_logits
from tf_prune_ofa.errors import UserError

LOGITS = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teacher_logits.npz"


def never():
    raise AssertionError("computed again")


def test_logits_are_computed_once(path):
    first = cached_logits(path, 6, lambda: LOGITS)
    second = cached_logits(path, 6, never)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, LOGITS)
    np.testing.assert_array_equal(second, LOGITS)


def test_logits_of_other_data_are_refused(path):
    cached_logits(path, 6, lambda: LOGITS)
    with pytest.raises(UserError, match="logits of 6 examples, the data has 7; delete it"):
        cached_logits(path, 7, never)


@pytest.mark.parametrize("damage", [0, 100, -1, "text", "other"])
def test_a_damaged_file_is_refused(path, damage):
    cached_logits(path, 6, lambda: LOGITS)
    if damage == "text":
        path.write_bytes(b"logits")
    elif damage == "other":
        np.savez(path, numbers=LOGITS)
    else:
        path.write_bytes(path.read_bytes()[:damage])
    with pytest.raises(UserError, match="is damaged .*; delete it to compute it again"):
        cached_logits(path, 6, never)


def test_a_teacher_that_fails_leaves_nothing(path):
    with pytest.raises(AssertionError, match="computed again"):
        cached_logits(path, 6, never)
    assert not list(path.parent.iterdir())
