import sys

import numpy as np
import pytest
import verified_models
from awkward_texts import awkward_texts

from tf_prune_ofa.runtime import agreement
from tf_prune_ofa.runtime.elsewhere import FileRun, run_file
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.tflite import metadata
from tf_prune_ofa.tflite.text_settings import TextSettings

TEXTS = awkward_texts(200, seed=16)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small classifier with INT4 weights whose vocabulary has letters."""
    exported = verified_models.export("classifier", tmp_path_factory.mktemp("agreement"))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgilmnoprstux.!", "film"]
    vocabulary = pieces + [
        f"##{index}" for index in range(len(exported.expected.vocabulary) - len(pieces))
    ]
    content = metadata.attach(
        exported.read("dense_int4"), vocabulary, ["bad", "fine", "good"], TextSettings()
    )
    path = exported.folder / "letters.tflite"
    path.write_bytes(content)
    return path


def test_labels_and_differences_are_counted():
    ours = np.array([[0.0, 1.0], [2.0, 0.0]])
    theirs = np.array([[0.0, 1.0], [0.0, np.log(3)]])
    found = agreement.compare("other", theirs, ours)
    assert (found.texts, found.labels, found.error) == (2, 1, "")
    assert found.logit_difference == 2
    # 0.25 here, 1 / (1 + exp(-2)) there.
    assert found.probability_difference == pytest.approx(1 / (1 + np.exp(-2)) - 0.25)


def test_a_runtime_that_refuses_the_file_says_why():
    found = agreement.of_run("old", FileRun("no version 12"), np.zeros([2, 2]))
    assert found.error == "no version 12"
    assert "no version 12" in agreement.describe([found])


def test_int4_weights_give_the_same_answers_in_tensorflows_runtime(path):
    with TextClassifier(path, delegate=None) as classifier:
        ours = np.stack(classifier.logits(TEXTS))
        examples = agreement.inputs(classifier, TEXTS)
    assert len(np.unique(ours, axis=0)) > 20  # the texts are no one text to it
    run = run_file(sys.executable, path, examples, "tensorflow")
    assert run.runtime == "tensorflow"
    found = agreement.of_run("tensorflow", run, ours)
    assert found.error == ""
    assert found.labels == 200
    assert found.probability_difference < 1e-5


def test_every_runtime_of_the_matrix_is_asked(path, monkeypatch, tmp_path):
    def run(python, path, examples, runtime):
        if "1.4.0" in python:
            return FileRun("no version 12")
        return run_file(sys.executable, path, examples)

    monkeypatch.setattr(agreement, "make_python", lambda folder, requirements: folder.name)
    monkeypatch.setattr(agreement, "RUNTIMES", agreement.RUNTIMES[:2])
    monkeypatch.setattr(agreement, "run_file", run)
    with TextClassifier(path, delegate=None) as classifier:
        first, second = agreement.in_other_runtimes(classifier, TEXTS[:5], tmp_path)
    assert (first.runtime, first.error) == ("litert 1.4.0", "no version 12")
    assert (second.runtime, second.labels, second.logit_difference) == ("litert 2.1.6", 5, 0)
