import numpy as np
from small_models import encoder, inputs

from tf_prune_ofa.models.bert import SpanQA
from tf_prune_ofa.train.evaluate import NOWHERE, predict, predict_ends


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
