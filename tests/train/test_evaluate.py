import numpy as np
import pytest
from small_models import encoder, inputs

from tf_prune_ofa.train.evaluate import (
    classification_metrics,
    metrics_for,
    predict,
    regression_metrics,
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


def test_accuracy():
    logits = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    assert classification_metrics(logits, np.array([1, 0, 1, 0])) == {"accuracy": 0.75}


def test_correlations_by_hand():
    """Values 1, 2, 4 against 1, 2, 3: covariance 3, spreads √(14/3) and √2, so 3/√(28/3)."""
    metrics = regression_metrics(np.array([[1], [2], [4]]), np.array([1, 2, 3]))
    assert metrics["pearson"] == pytest.approx(3 / np.sqrt(28 / 3))
    assert metrics["spearman"] == pytest.approx(1.0)
    falling = regression_metrics(np.array([[3], [2], [1]]), np.array([1.0, 2.0, 9.0]))
    assert falling["spearman"] == pytest.approx(-1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "scores"),
    [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([1], [2])],
)
def test_a_correlation_that_is_not_defined_is_zero(values, scores):
    """A model that always says the same has learned nothing, and JSON has no NaN."""
    metrics = regression_metrics(np.array(values, np.float32)[:, None], np.array(scores))
    assert metrics == {"pearson": 0.0, "spearman": 0.0}


def test_metrics_for_a_number_of_outputs():
    assert metrics_for(1) is regression_metrics
    assert metrics_for(2) is metrics_for(3) is classification_metrics
