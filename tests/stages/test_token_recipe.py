"""A tag for each word through all stages that a task goes through."""

import json
import random

import numpy as np
import pytest
import small_runs
from small_runs import results, stage_folder

import tf_prune_ofa as ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.pruning.lock import assert_zeros, load_masks

SHORT = {"length": "60 steps", "batch_size": 8, "learning_rate": 5e-3}
TAUGHT = {"teacher": "task_teacher", "loss": {"hard": 0.5, "soft": 0.5}}


def write_sentences(path, count, seed):
    """ "film" is a thing, "very good" and the like are opinions."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        lines = ["the\tO", f"{rng.choice(['film', 'plot', 'cast'])}\tB-thing", "is\tO"]
        opinion = rng.choice(["good", "fine", "bad", "dull"])
        if rng.random() < 0.5:
            lines += ["very\tB-opinion", f"{opinion}\tI-opinion"]
        else:
            lines.append(f"{opinion}\tB-opinion")
        sentences.append("\n".join([*lines, ".\tO"]))
    path.write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = small_runs.write_inputs(tmp_path_factory.mktemp("tokens"))
    for side, count in (("train", 80), ("dev", 12)):
        write_sentences(folder / f"{side}.conll", count, seed=len(side))
    data = {
        "seed": 1,
        "model": {"weights": str(folder / "encoder")},
        "task": {
            "source": "conll",
            "train": str(folder / "train.conll"),
            "dev": str(folder / "dev.conll"),
            "max_length": 12,
        },
        "stages": {
            "task_teacher": {**SHORT, "kind": "teacher"},
            "prune": {**SHORT, **TAUGHT, "start": "task_teacher",
                      "sparsity": {"rules": {"encoder_.*": 0.5}, "frequency": 2}},
            "quantize": {**SHORT, **TAUGHT, "length": "20 steps", "start": "prune",
                         "calibration_batches": 2},
            "export": {"start": "quantize", "sequence_length": 12,
                       "variants": ["float32", "dense_int8", "sparse_int8"]},
            "verify": {"start": "export", "examples": 6},
        },
    }  # fmt: skip
    small_runs.run_well(data, folder / "run")
    return folder / "run"


def test_entities_are_found_and_judged(tagged):
    found = results(tagged)
    for name in ("task_teacher", "prune", "quantize"):
        figures = found[name]["figures"]
        assert figures["main_metric"] == "entity_f1"
        assert figures["dev_examples"] == 12
    assert found["task_teacher"]["figures"]["entity_f1"] > 0.9


def test_the_pattern_is_kept(tagged):
    masks = load_masks(stage_folder(tagged, "prune") / "masks.npz")
    weights = huggingface.read_weights(stage_folder(tagged, "quantize") / "model")
    kernels = {name: weights[f"{name}/kernel"] for name in masks}
    assert_zeros(kernels, masks, where="the tagger")


def test_the_folder_is_a_token_classifiers(tagged):
    folder = stage_folder(tagged, "quantize") / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert set(config["label2id"]) == {"O", "B-opinion", "I-opinion", "B-thing", "I-thing"}
    assert "problem_type" not in config
    weights = huggingface.read_weights(folder)
    assert weights["token_classifier/kernel"].shape == (16, 5)
    assert not any(name.startswith("classifier/") for name in weights)


def test_files_are_verified(tagged):
    for entry in results(tagged)["verify"]["figures"].values():
        assert 0.8 <= entry["entity_agreement"] <= 1


def test_a_file_takes_raw_text(tagged):
    path = next(stage_folder(tagged, "export").glob("dense_int8*.tflite"))
    text = "The film is very good  .\nThe CAST is bad."
    with ofa.TokenClassifier(path) as tag:
        found = tag(text)
        assert tag([text, "."])[0] == found
    assert [(one.type, text[one.start : one.end]) for one in found] == [
        ("thing", "film"), ("opinion", "very good"), ("thing", "CAST"), ("opinion", "bad")
    ]  # fmt: skip
    assert all(0 < one.score <= 1 for one in found)


def test_another_files_outputs_are_refused(tagged, tmp_path):
    path = next(stage_folder(tagged, "export").glob("float32*.tflite"))
    with pytest.raises(UserError, match="TokenClassifier"):
        ofa.TextClassifier(path)


def test_a_sentence_classifier_does_not_become_a_tagger(tagged, tmp_path):
    folder = stage_folder(tagged, "quantize") / "model"
    copy = tmp_path / "model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (copy / "config.json").write_text(json.dumps(config))
    weights = huggingface.read_weights(copy)
    assert "classifier/kernel" in weights and "token_classifier/kernel" not in weights
    np.testing.assert_array_equal(
        weights["classifier/kernel"], huggingface.read_weights(folder)["token_classifier/kernel"]
    )
