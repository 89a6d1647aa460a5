import numpy as np
import pytest

from tf_prune_ofa.tasks.classification import Classification, Regression
from tf_prune_ofa.tasks.spans import Spans
from tf_prune_ofa.tasks.tokens import Tokens
from tf_prune_ofa.verification import texts

RNG = np.random.default_rng(0)
MASK = (np.arange(6) < RNG.integers(2, 7, [50, 1])).astype(np.int32)
SHAPES = {
    "label_agreement": {"logits": (50, 3)},
    "value_correlation": {"logits": (50, 1)},
    "tag_agreement": {"tag_logits": (50, 6, 5)},
    "answer_agreement": {"start_logits": (50, 6), "end_logits": (50, 6)},
}


TASKS = {
    "label_agreement": Classification,
    "value_correlation": Regression,
    "tag_agreement": Tokens,
    "answer_agreement": Spans,
}


def compare(outputs, reference, name):
    kind = TASKS[name]
    return texts.compare(
        outputs, reference, MASK, by_token=kind.by_token, measure=kind.text_agreement
    )


def make(kind):
    return {name: RNG.normal(0, 1, shape) for name, shape in SHAPES[kind].items()}


@pytest.mark.parametrize("kind", SHAPES)
def test_each_kind_of_output(kind):
    reference = make(kind)
    near = {name: value + 0.01 * RNG.normal(size=value.shape) for name, value in reference.items()}
    found = compare(near, reference, kind)
    assert found.problems == [] and found.relative < 0.02
    assert list(found.agreement) == [kind]
    far = compare(make(kind), reference, kind)
    assert len(far.problems) == 2


@pytest.mark.parametrize("kind", ["tag_agreement", "answer_agreement"])
def test_padding_counts_nothing(kind):
    reference = make(kind)
    spoilt = {name: value.copy() for name, value in reference.items()}
    for value in spoilt.values():
        value[MASK == 0] = 1e6
    assert compare(spoilt, reference, kind).relative == 0


def test_the_worst_texts_come_first():
    reference = make("label_agreement")
    ours = {"logits": reference["logits"].copy()}
    ours["logits"][7] = [9, 9, 9]
    found = compare(ours, reference, "label_agreement")
    lines = texts.worst(found, [f"text {n} " + "x" * 80 for n in range(50)], ours, reference)
    assert len(lines) == 3 and lines[0].startswith("'text 7 xx")
    assert lines[0].endswith("became [9, 9, 9]") and "..." in lines[0]


def test_no_number_is_a_problem():
    reference = make("label_agreement")
    ours = {"logits": reference["logits"].copy()}
    ours["logits"][3, 1] = np.nan
    found = compare(ours, reference, "label_agreement")
    assert "not all numbers" in found.problems[0] and found.relative == np.inf
    assert texts.worst(found, ["t"] * 50, ours, reference)
