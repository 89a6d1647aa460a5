import json

import numpy as np
import pytest
import text_files

from tf_prune_ofa.config import LossSettings, TaskSettings
from tf_prune_ofa.data.doubts import doubts
from tf_prune_ofa.data.label_sets import label_set_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.tasks import kind_in, kind_of
from tf_prune_ofa.tasks.multilabel import BinaryCrossEntropy, MultiLabel, label_set_scores
from tf_prune_ofa.tflite.text_settings import TextSettings, parse

LABELS = ("joy", "anger", "fear")
TABLE = 'text,label\nfine,joy\n"so, so","joy, fear"\nwell,\nno,anger\n'


def read(folder, train=TABLE, dev=TABLE, ending=".csv", **settings):
    for side, content in (("train", train), ("dev", dev)):
        (folder / (side + ending)).write_text(content, encoding="utf-8")
    files = {side: str(folder / (side + ending)) for side in ("train", "dev")}
    return label_set_task(
        TaskSettings(source="multilabel", **{"labels": LABELS, **files, **settings})
    )


def test_labels_are_lists_or_have_commas_between(tmp_path):
    data = read(tmp_path)
    wanted = [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert data.train.label.tolist() == wanted and data.kind == "multilabel"
    rows = [{"text": t, "label": [LABELS[i] for i in np.flatnonzero(row)]}
            for t, row in zip(data.train.text_a, wanted, strict=True)]  # fmt: skip
    lines = "\n".join(map(json.dumps, rows))
    assert read(tmp_path, lines, lines, ".jsonl").train.label.tolist() == wanted
    assert doubts(data) == []
    rare = read(tmp_path, train="text,label\na,joy\nb,anger\n")
    assert doubts(rare) == ["no example to learn from has the label 'fear'"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"train": "text,label\na,joy;fear\n"},
            r"line 2: the label 'joy;fear' is not one of.*comm",
        ),
        ({"train": "text,label\n"}, "has no examples"),
        ({"labels": ()}, "needs their list"),
        ({"train": '{"text": "a", "label": [["joy"]]}', "ending": ".jsonl"}, "not a list of texts"),
    ],
)
def test_wrong_data_is_refused(given, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **given)


def test_scores_are_scikit_learns():
    """Of version 1.9.1, average="micro" and "macro", zero_division=0, and accuracy_score."""
    rng = np.random.default_rng(7)
    right = rng.random((60, 5)) < [0.5, 0.3, 0.1, 0.02, 0]
    found = right ^ (rng.random((60, 5)) < 0.2)
    found[:, 3] = False  # there is such a label, and it is never found; the last is never there
    assert label_set_scores(found, right) == {
        "f1_micro": pytest.approx(0.6756756756756757, abs=1e-12),
        "f1_macro": pytest.approx(0.40253968253968253, abs=1e-12),
        "subset_accuracy": pytest.approx(0.4666666666666667, abs=1e-12),
    }
    nothing = np.zeros([2, 3], bool)
    assert label_set_scores(nothing, nothing) == {
        "f1_micro": 0, "f1_macro": 0, "subset_accuracy": 1
    }  # fmt: skip


def test_losses_by_hand():
    loss = BinaryCrossEntropy()
    logits, labels = np.float32([[0, 2]]), np.float32([[1, 0]])
    by_hand = (np.log(2) + np.log(1 + np.exp(2))) / 2
    assert float(loss.hard(logits, labels, None)) == pytest.approx(by_hand, rel=1e-6)
    p, q, temperature = 1 / (1 + np.exp(-1.5)), 1 / (1 + np.exp(-0.5)), 2.0
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    settings = LossSettings(soft=1, temperature=temperature)
    found = loss.soft(tf.constant([[1.0, 7.0]]), tf.constant([[3.0, 7.0]]), settings, None)
    assert float(found) == pytest.approx(temperature**2 * divergence / 2, rel=1e-5)


def test_thresholds_decide(tmp_path):
    data = read(tmp_path)
    logits = np.log(
        np.array([[0.45, 0.45, 0.9], [0.1, 0.2, 0.3]]) / [[0.55, 0.55, 0.1], [0.9, 0.8, 0.7]]
    )
    usual = kind_of(data, TaskSettings())
    assert usual.read(logits, None) == [["fear"], []]
    own = kind_of(data, TaskSettings(thresholds=(0.4, 0.5, 0.95)))
    assert own.read(logits, None) == [["joy"], []]
    assert own.text_settings().thresholds == (0.4, 0.5, 0.95)
    # One label of three in one text of two is another one.
    assert usual.agreement(logits, own_of(logits), None) == {"label_agreement": 0.5}
    with pytest.raises(UserError, match="2 numbers for 3 labels"):
        _ = kind_of(data, TaskSettings(thresholds=(0.4, 0.5))).metrics


def own_of(logits):
    other = logits.copy()
    other[0, 0] = 1
    return other


def test_it_is_told_from_a_classifier_by_the_problem():
    weights = {"classifier/bias": np.zeros(3)}
    kind, head = kind_in(weights, "multi_label_classification")
    assert kind is MultiLabel and head.named_outputs == 3
    assert kind.settings_in().thresholds == (0.5,)
    assert kind_in(weights)[0] is not MultiLabel


def test_a_file_gives_a_set_of_labels(tmp_path):
    settings = TextSettings(thresholds=(0.6, 0.7))
    path = tmp_path / "model.tflite"
    path.write_bytes(text_files.classifier(settings=settings))
    classify = TextClassifier(path)
    # Logits are how often a word is there, of the two labels: sigmoid(1) is 0.731.
    found = classify("a good bad film")
    assert found.labels == ("bad", "good")
    assert found.scores == pytest.approx({"bad": 0.7311, "good": 0.7311}, abs=1e-4)
    assert classify("the film").labels == ()
    assert parse(settings.to_json(), name="f") == settings
    with pytest.raises(UserError, match="thresholds"):
        parse('{"thresholds": [2]}', name="f")
