import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.label_order import in_label_order

WEIGHTS = {
    "classifier/kernel": np.arange(6.0).reshape(2, 3),
    "classifier/bias": np.arange(3.0),
    "classifier/pre/bias": np.zeros(3),
}
WANTED = ("no", "maybe", "yes")


def order(own, wanted=WANTED, weights=WEIGHTS):
    found = in_label_order(weights, own, wanted, source="there")
    assert found["classifier/pre/bias"] is weights["classifier/pre/bias"]
    np.testing.assert_array_equal(found["classifier/kernel"][0], found["classifier/bias"])
    return found["classifier/bias"].tolist()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (WANTED, [0, 1, 2]),
        (("yes", "no", "maybe"), [1, 2, 0]),
        (("YES", "No", "maybe"), [1, 2, 0]),
        (None, [0, 1, 2]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), [0, 1, 2]),
    ],
)
def test_outputs_come_in_the_task_s_order(own, expected):
    assert order(own) == expected


def test_names_that_differ_in_case_alone_are_told_apart():
    assert order(("US", "us", "it"), ("us", "it", "US")) == [1, 2, 0]


@pytest.mark.parametrize("own", [("a", "b", "c"), ("no", "yes", "perhaps"), ("US", "us", "it")])
def test_other_names_are_refused(own):
    with pytest.raises(UserError, match="task's labels are no, maybe, yes.*head to new"):
        order(own)


def test_a_classifier_of_another_number_of_outputs_is_left_alone():
    assert order(("a", "b", "c"), ("bad", "good")) == [0, 1, 2]
