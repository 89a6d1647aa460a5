import numpy as np
import pytest

from tf_prune_ofa.tasks.scores import OF_CLASSES, OF_TWO_CLASSES, SCORES


def scores(names, logits, labels):
    return {name: SCORES[name].of(logits, labels) for name in names}


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


@pytest.mark.slow
def test_scores_are_those_of_scikit_learn():
    """Of which this package needs nothing else."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(200):
        count, classes = rng.integers(2, 60), rng.integers(2, 5)
        labels, found = rng.integers(0, classes, (2, count))
        ours = scores(OF_CLASSES, np.eye(classes)[found], labels)
        macro = {"labels": range(classes), "average": "macro", "zero_division": 0}
        assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, found))
        assert ours["f1_macro"] == pytest.approx(sklearn.f1_score(labels, found, **macro))
        if classes == 2:
            ours = scores(OF_TWO_CLASSES, np.eye(2)[found], labels)
            assert ours["f1"] == pytest.approx(sklearn.f1_score(labels, found, zero_division=0))
            assert ours["matthews"] == pytest.approx(sklearn.matthews_corrcoef(labels, found))
