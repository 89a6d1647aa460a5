import numpy as np
import pytest
from small_models import encoder, inputs

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import SpanQA
from tf_prune_ofa.train.evaluate import (
    NOWHERE,
    OF_CLASSES,
    OF_TWO_CLASSES,
    metric_names,
    predict,
    predict_ends,
    scores,
    span_metric_names,
)


def test_predictions_come_in_the_order_of_the_batches():
    model = encoder()
    batches = [inputs(rows, size, seed=rows) for rows, size in ((4, 8), (3, 4), (1, 6))]
    logits = predict(model, iter(batches))
    assert logits.shape == (8, 2)
    expected = np.concatenate([model(batch)["logits"] for batch in batches])
    # A compiled graph against single operations.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6)


def test_padding_does_not_change_predictions():
    """Examples are evaluated in batches by length, so others decide how much padding one gets."""
    model = encoder()
    short = inputs(1, 5)
    long = {name: np.pad(value, ((0, 0), (0, 5))) for name, value in short.items()}
    np.testing.assert_allclose(predict(model, [short]), predict(model, [long]), rtol=0, atol=1e-6)


def test_another_output_can_be_asked_for():
    model = encoder(hidden_states=True)
    assert predict(model, [inputs(2, 4)], "hidden_states/01").shape == (2, 4, 8)


def test_scores_of_classes_by_hand():
    logits = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    # Predicted 1, 0, 2, 0: of class 0 one of two is right, class 1 has 1 of 2, class 2 none.
    found = scores(("accuracy", "f1_macro"), logits, np.array([1, 0, 1, 0]))
    assert found == {"accuracy": 0.75, "f1_macro": pytest.approx((1 + 2 / 3 + 0) / 3)}


def test_scores_of_two_classes_by_hand():
    """TP 2, FP 1, FN 1, TN 3: F1 = 4/6; Matthews = (2·3 - 1·1) / √(3·3·4·4) = 5/12."""
    logits = np.eye(2)[[1, 1, 1, 0, 0, 0, 0]]
    found = scores(("f1", "matthews"), logits, np.array([1, 1, 0, 1, 0, 0, 0]))
    assert found == {"f1": pytest.approx(4 / 6), "matthews": pytest.approx(5 / 12)}


@pytest.mark.filterwarnings("error")
def test_scores_of_a_model_that_always_says_the_same():
    negative = np.eye(2)[[0, 0, 0]]
    assert scores(("f1", "matthews"), negative, np.array([0, 1, 0])) == {"f1": 0, "matthews": 0}
    assert scores(("f1", "f1_macro"), negative, np.zeros(3)) == {"f1": 0, "f1_macro": 0.5}
    one, same = np.array([[1], [1]], np.float32), np.array([2.0, 3.0])
    for values, labels in ((one, same), (same[:, None], one[:, 0]), (one[:1], same[:1])):
        assert scores(("pearson", "spearman"), values, labels) == {"pearson": 0, "spearman": 0}


def test_correlations_by_hand():
    """Values 1, 2, 4 against 1, 2, 3: covariance 3, spreads √(14/3) and √2, so 3/√(28/3)."""
    metrics = scores(("pearson", "spearman"), np.array([[1], [2], [4]]), np.array([1, 2, 3]))
    assert metrics["pearson"] == pytest.approx(3 / np.sqrt(28 / 3))
    assert metrics["spearman"] == pytest.approx(1.0)
    falling = scores(("spearman",), np.array([[3], [2], [1]]), np.array([1.0, 2.0, 9.0]))
    assert falling["spearman"] == pytest.approx(-1.0)


def test_names_of_a_task_s_scores():
    assert metric_names((), 1) == ("pearson", "spearman")
    assert metric_names((), 2) == metric_names((), 3) == ("accuracy",)
    assert metric_names(("f1", "accuracy"), 2) == ("f1", "accuracy")
    with pytest.raises(UserError, match="'f1'; a task with 3 labels is judged by accuracy, f1_ma"):
        metric_names(("f1",), 3)
    with pytest.raises(UserError, match="'accuracy'; a task with a score is judged by pearson, sp"):
        metric_names(("accuracy",), 1)


@pytest.mark.slow
def test_scores_are_those_of_scikit_learn():
    """Of which this package needs nothing else."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(200):
        count, classes = rng.integers(2, 60), rng.integers(2, 5)
        labels, found = rng.integers(0, classes, (2, count))
        ours = scores(tuple(OF_CLASSES), np.eye(classes)[found], labels)
        macro = {"labels": range(classes), "average": "macro", "zero_division": 0}
        assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, found))
        assert ours["f1_macro"] == pytest.approx(sklearn.f1_score(labels, found, **macro))
        if classes == 2:
            ours = scores(tuple(OF_TWO_CLASSES), np.eye(2)[found], labels)
            assert ours["f1"] == pytest.approx(sklearn.f1_score(labels, found, zero_division=0))
            assert ours["matthews"] == pytest.approx(sklearn.matthews_corrcoef(labels, found))


def test_ends_of_answers_come_in_the_order_of_the_batches():
    model = encoder(SpanQA())
    batches = [inputs(rows, size, seed=rows) for rows, size in ((4, 8), (3, 4))]
    logits = predict_ends(model, iter(batches), length=10)
    assert logits.shape == (7, 2, 10)
    for start, size, batch in ((0, 8, batches[0]), (4, 4, batches[1])):
        outputs = model(batch)
        stop = start + len(batch["input_mask"])
        for index, end in enumerate(("start", "end")):
            np.testing.assert_allclose(
                logits[start:stop, index, :size], outputs[f"{end}_logits"], rtol=0, atol=1e-6
            )
        assert np.all(logits[start:stop, :, size:] == NOWHERE)


def test_scores_of_answers():
    assert span_metric_names(()) == ("f1", "exact_match")
    assert span_metric_names(["exact_match"]) == ("exact_match",)
    with pytest.raises(UserError, match="'accuracy'; answers are judged by f1, exact_match"):
        span_metric_names(("accuracy",))
