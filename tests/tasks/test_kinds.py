import numpy as np
import pytest

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.squad import SpanSplit
from tf_prune_ofa.data.task_data import Split, TaskData
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import Classification, SpanQA
from tf_prune_ofa.tasks import KINDS, find_kind, kind_in, kind_of
from tf_prune_ofa.tasks.scores import SCORES
from tf_prune_ofa.text.questions import Answer, Question
from tf_prune_ofa.text.windows import Windows
from tf_prune_ofa.text.wordpiece import Encoded

SPLIT = Split(["a", "b", "c"], None, np.zeros(3))
NOBODY = np.zeros(0)


def task(*labels, metrics=()):
    return kind_of(TaskData("t", labels, SPLIT, SPLIT, metrics), TaskSettings())


def answers(*metrics, **settings):
    split = SpanSplit([])
    data = TaskData("t", (), split, split, metrics, kind="spans")
    return kind_of(data, TaskSettings(**settings))


def windows():
    """One question on the two words of its context: [CLS] q [SEP] yes no [SEP]."""
    offsets = np.int32([[-1, -1], [-1, -1], [-1, -1], [0, 3], [4, 6], [-1, -1]])
    question = Question("1", "q", "yes no", (Answer("yes", 0),))
    ids = [np.zeros(6, np.int32)]
    return Windows(
        Encoded(ids, ids),
        np.int32([[3, 3]]),
        np.int32([0]),
        [offsets],
        [offsets[:, 0] >= 0],
        [question],
    )


def ends(start, end):
    logits = np.zeros((1, 2, 6), np.float32)
    logits[0, 0, start] = logits[0, 1, end] = 9
    return logits


def test_labels_make_the_kind():
    assert [type(task(*labels)).__name__ for labels in ((), ("a", "b"))] == [
        "Regression",
        "Classification",
    ]
    assert (task().head, task("a", "b", "c").head) == (Classification(1), Classification(3))
    assert answers().head == SpanQA()


def test_names_of_a_task_s_scores():
    assert task().metrics == ("pearson", "spearman")
    assert task("a", "b").metrics == task("a", "b", "c").metrics == ("accuracy",)
    assert task("a", "b", metrics=("f1", "accuracy")).metrics == ("f1", "accuracy")
    with pytest.raises(UserError, match="'f1'; a task with 3 labels is judged by accuracy, f1_ma"):
        _ = task("a", "b", "c", metrics=("f1",)).metrics
    with pytest.raises(UserError, match="'accuracy'; a task with a score is judged by pearson, sp"):
        _ = task(metrics=("accuracy",)).metrics
    assert answers().metrics == ("f1", "exact_match")
    assert answers("exact_match").metrics == ("exact_match",)
    with pytest.raises(UserError, match="'accuracy'; answers are judged by f1, exact_match"):
        _ = answers("accuracy").metrics
    assert {*task().metrics, *task("a", "b").metrics, *answers().metrics} <= set(SCORES)


def test_files_that_say_something_else_show_in_the_agreement():
    """Of every kind: 1 only where what one reads is the same."""
    logits = np.float32([[2, 1], [0, 1], [1, 0], [1, 0]])
    assert task("a", "b").agreement(logits, 3 * logits, SPLIT) == {"label_agreement": 1}
    assert task("a", "b").agreement(logits, logits[[1, 1, 2, 3]], SPLIT) == {
        "label_agreement": 0.75
    }
    values = np.float32([[1], [2], [4]])
    # By hand: covariance 1 · 2 / 3 over the spreads' product.
    assert task().agreement(values, values, SPLIT)["value_correlation"] == pytest.approx(1)
    assert task().agreement(values, -values, SPLIT)["value_correlation"] == pytest.approx(-1)
    assert task().agreement(values[:1], values[:1], SPLIT) == {"value_correlation": 1}
    assert task().agreement(values[[0, 0]], values[:2], SPLIT) == {"value_correlation": 0}
    for found, same in ((ends(3, 3), 1), (ends(3, 4), 0), (ends(4, 4), 0)):
        assert answers().agreement(found, ends(3, 3), windows()) == {"answer_agreement": same}


def test_what_logits_say():
    assert task("no", "yes").read(np.float32([[0, 1], [2, 1]]), SPLIT) == ["yes", "no"]
    assert task().read(np.float32([[0.5], [-1]]), SPLIT) == [0.5, -1]
    assert answers().read(ends(4, 4), windows()) == ["no"]


def test_padding_of_files_and_models_is_told_apart_from_logits():
    mask = np.int32([1, 1, 1, 1, 0, 0])
    outputs = {"start_logits": ends(3, 4)[:, 0], "end_logits": ends(3, 4)[:, 1]}
    of_file = answers().file_logits(outputs, mask)
    np.testing.assert_array_equal(of_file[None], answers().without_padding(ends(3, 4), mask[None]))
    assert of_file[0, 3] == 9 and np.all(of_file[:, 4:] == -1e9)
    found = answers().compare(of_file[None], of_file[None] + 1, windows())
    assert found["max_logit_difference"] == found["mean_logit_difference"] == 1


@pytest.mark.parametrize("name", KINDS)
def test_a_head_is_found_again_by_its_weights(name):
    layer, outputs, problem_type = {
        "classification": ("classifier", 2, "single_label_classification"),
        "regression": ("classifier", 1, "regression"),
        "spans": ("span", 2, ""),
        "tokens": ("token_classifier", 2, ""),
        "multilabel": ("classifier", 2, "multi_label_classification"),
        "embeddings": ("encoder_00/ffn/output", 2, ""),
    }[name]
    weights = {f"{layer}/bias": np.zeros(outputs)}
    kind, head = kind_in(weights, problem_type)
    assert kind is find_kind(name) and head == kind.head_in(weights)
    if problem_type:
        assert kind_in(weights, "something else") is None
        # Where config.json says nothing, one label is right: it is so by default in transformers.
        silent, _ = kind_in(weights)
        assert (silent is kind) == (name != "multilabel")
    assert kind_in({"mlm/decoder/bias": np.zeros(2)}) is None
