"""Several labels a text, from training to the answers of a file."""

import json

import pytest
import small_runs
from small_runs import results, stage_folder

import tf_prune_ofa as ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.stages.export import export_folder

SHORT = {"length": "60 steps", "batch_size": 8, "learning_rate": 5e-3}
# What a sentence speaks of, by its words: one thing, two, or none.
SENTENCES = {
    "the film is good .": ["film", "good"],
    "the plot is dull , very dull .": ["plot"],
    "the plot is good .": ["plot", "good"],
    "this cast was weak .": [],
    "the film was not great": ["film"],
    "good": ["good"],
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = small_runs.write_inputs(tmp_path_factory.mktemp("labels"))
    rows = [json.dumps({"text": text, "label": labels}) for text, labels in SENTENCES.items()]
    for side, count in (("train", 8), ("dev", 2)):
        (folder / f"{side}.jsonl").write_text("\n".join(rows * count) + "\n", encoding="utf-8")
    data = {
        "seed": 1,
        "model": {"weights": str(folder / "encoder")},
        "task": {
            "source": "multilabel", "labels": ["film", "plot", "good"], "max_length": 12,
            "train": str(folder / "train.jsonl"), "dev": str(folder / "dev.jsonl"),
        },
        "stages": {
            "task_teacher": {**SHORT, "kind": "finetune", "length": "200 steps"},
            "quantize": {**SHORT, "length": "20 steps", "start": "task_teacher",
                         "teacher": "task_teacher", "loss": {"hard": 0.5, "soft": 0.5},
                         "calibration_batches": 2},
            "export": {"start": "quantize", "sequence_length": 12,
                       "variants": ["float32", "dense_int8"]},
            "verify": {"start": "export"},
        },
    }  # fmt: skip
    small_runs.run_well(data, folder / "run")
    return folder / "run"


def test_sets_of_labels_are_learned_and_kept_in_files(labelled):
    found = results(labelled)
    for name in ("task_teacher", "quantize"):
        assert found[name]["figures"]["main_metric"] == "f1_micro"
        # All labels for all texts would be 0.56, none for any 0.
        assert found[name]["figures"]["f1_micro"] > 0.65
    for entry in found["verify"]["figures"].values():
        assert entry["label_agreement"] > 0.8 and entry["f1_micro"] > 0.6


def test_a_file_gives_all_labels_of_a_text(labelled):
    path = next(stage_folder(labelled, "export").glob("float32*.tflite"))
    with ofa.TextClassifier(path) as classify:
        found = {text: classify(text) for text in SENTENCES}
    for one in found.values():
        assert one.labels == tuple(name for name, share in one.scores.items() if share >= 0.5)
    sets = {one.labels for one in found.values()}
    assert len(sets) > 1
    # Counted from the answers, the dev side being these texts twice: what verify says of the file.
    given = {(text, name) for text, one in found.items() for name in one.labels}
    right = {(text, name) for text, labels in SENTENCES.items() for name in labels}
    f1 = 2 * len(given & right) / (len(given) + len(right))
    said = results(labelled)["verify"]["figures"]["float32"]["f1_micro"]
    assert f1 == pytest.approx(said, abs=1e-9)


def test_the_folder_says_what_its_outputs_are(labelled, tmp_path):
    folder = stage_folder(labelled, "quantize") / "model"
    assert json.loads((folder / "config.json").read_text())["problem_type"] == (
        "multi_label_classification"
    )
    export_folder(folder, tmp_path / "out", sequence_length=12, variants=["float32"])
    with ofa.TextClassifier(tmp_path / "out" / "float32_s12.tflite") as classify:
        assert classify.settings.thresholds == (0.5,)
    task = ofa.Task(
        train=(["a", "b"], ["film", "plot"]), dev=(["a"], ["good"]),
        labels=["film", "plot", "good"], settings={"max_length": 12},
    )  # fmt: skip
    with pytest.raises(UserError, match="problem_type .* is multi_label_classification, the task"):
        ofa.finetune(folder, task, length=2, run_dir=tmp_path)


def test_labels_in_memory(labelled, tmp_path):
    task = ofa.Task(
        train=(list(SENTENCES), list(SENTENCES.values())),
        dev=(list(SENTENCES), [set(labels) for labels in SENTENCES.values()]),
        labels=["film", "plot", "good"],
        settings={"source": "multilabel", "max_length": 12},
    )
    folder = stage_folder(labelled, "task_teacher") / "model"
    model = ofa.finetune(folder, task, length=1, learning_rate=0.0, run_dir=tmp_path)
    figures = results(labelled)["task_teacher"]["figures"]
    assert model.score == pytest.approx(figures["f1_micro"], abs=0.05)
