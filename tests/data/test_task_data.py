import numpy as np
import pytest

from tf_prune_ofa.data.task_data import Split, TaskData, check_labels, parse_labels
from tf_prune_ofa.errors import UserError


def test_parse_labels():
    got = parse_labels(["b", "a", "b"], ("a", "b"), ["", "", ""])
    assert got.tolist() == [1, 0, 1] and got.dtype == np.int32
    scores = parse_labels(["0.5", "3"], (), ["", ""])
    assert scores.tolist() == [0.5, 3.0] and scores.dtype == np.float32


def test_unknown_label_names_place_nearest_and_what_is_there():
    with pytest.raises(UserError) as error:
        parse_labels(["fresh", "roten"], ("rotten", "fresh"), ["d.tsv, line 2", "d.tsv, line 3"])
    assert str(error.value) == (
        "d.tsv, line 3: the label 'roten' is not one of 'rotten', 'fresh'; the nearest is 'rotten'."
        " The labels in the data are 'fresh', 'roten'. Correct the data or the task's labels,"
        " or name those to leave out in task.skip_labels."
    )


@pytest.mark.parametrize("score", ["good", "nan", "inf"])
def test_score_must_be_a_finite_number(score):
    with pytest.raises(UserError, match=f"^here: the score '{score}' is not a finite number"):
        parse_labels([score], (), ["here"])


def test_score_out_of_range():
    assert parse_labels(["0", "5"], (), ["", ""], (0, 5)).tolist() == [0, 5]
    with pytest.raises(UserError, match="^here: the score 5.5 is outside of 0 to 5"):
        parse_labels(["5.5"], (), ["here"], (0, 5))


@pytest.mark.parametrize("labels", [(), ("a", "b")])
def test_missing_label(labels):
    with pytest.raises(UserError, match="^here: no label"):
        parse_labels([" "], labels, ["here"])


def test_check_labels():
    assert check_labels(["a", "b"]) == ("a", "b")
    assert check_labels([]) == ()
    with pytest.raises(UserError, match="one label, 'a'"):
        check_labels(["a"])
    with pytest.raises(UserError, match="more than once: a"):
        check_labels(["a", "b", "a"])


def test_take_is_fixed_and_keeps_rows_together():
    split = Split(
        [f"a{i}" for i in range(100)], [f"b{i}" for i in range(100)], np.arange(100, dtype=np.int32)
    )
    some = split.take(10)
    assert len(some) == 10
    assert some.text_a == [f"a{i}" for i in some.label] == split.take(10).text_a
    assert some.text_b == [f"b{i}" for i in some.label]
    assert some.label.tolist() == sorted(some.label.tolist())
    assert some.label.tolist() != split.take(10, seed=1).label.tolist()
    assert len(split.take(1000)) == 100


def test_documents():
    assert Split(["x", "y"], None, np.zeros(2)).documents() == [["x"], ["y"]]
    assert Split(["x"], ["y"], np.zeros(1)).documents() == [["x", "y"]]


def test_regression_has_no_labels():
    split = Split(["x"], None, np.zeros(1, np.float32))
    assert TaskData("t", (), split, split).kind == "regression"
    assert TaskData("t", ("a", "b"), split, split).kind == "classification"
