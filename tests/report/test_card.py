"""The card of an export: every figure from the run, and nothing that was not measured."""

import math

import pytest
import text_files
import yaml
from synthetic import write_run

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.card import model_card, require_own_card, write_card
from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.tasks.scores import standard_error
from tf_prune_ofa.tflite.text_settings import TextSettings


@pytest.fixture
def run(tmp_path):
    return collect_run(write_run(tmp_path / "run"))


def test_figures_are_those_of_the_results(run):
    card = model_card(run, labels=["bad", "good"])
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["pipeline_tag"] == "text-classification" and head["license"] == "apache-2.0"
    verified = {entry["variant"]: entry for entry in run.detail("verify")["files"]}
    count = max(entry.get("examples", 0) for entry in verified.values())
    for entry in run.exported:
        score = verified[entry["variant"]]["accuracy"]
        row = next(line for line in card.splitlines() if f" {score:.3f}" in line)
        assert f"{score:.3f}" in row
        if count:
            assert f"± {math.sqrt(score * (1 - score) / count):.3f}" in row
        assert f"`{entry['file']}` {entry['sha256']}" in card
    assert run.detail("bench")["machine"]["cpu"] in card
    for stage in run.stages:
        assert f"| {stage.name} |" in card
    assert "bad, good" in card
    assert "TextClassifier" in card and "createFromFile" in card


def test_a_card_says_what_was_not_done():
    manifest = {
        "sequence_length": 12,
        "outputs": ["start_logits", "end_logits"],
        "files": [{"variant": "float32", "file": "a.tflite", "sha256": "0" * 64}],
    }
    card = model_card(Run("mine", {}, (Stage("export", "export", details={"manifest": manifest}),)))
    for text in (
        "neither verified nor timed yet",
        "Latency was not measured",
        "No score",
        "Not verified",
        "not recorded with these files",
        "ofa.QuestionAnswerer(",
    ):
        assert text in card
    assert "±" not in card and "license:" not in card


@pytest.mark.parametrize(
    ("outputs", "labels", "thresholds", "pipeline", "use"),
    [
        ("logits", ("bad", "go\u2028od"), (), "text-classification", ".label)"),
        ("logits", ("bad", "good"), (0.5,), "text-classification", ".labels)"),
        ("embedding", ("one",), (), "sentence-similarity", "ofa.TextEmbedder("),
    ],
)
def test_the_use_is_that_of_what_the_file_gives(
    tmp_path, outputs, labels, thresholds, pipeline, use
):
    settings = TextSettings(thresholds=thresholds)
    content = text_files.classifier(labels=labels, settings=settings, outputs=outputs)
    (tmp_path / "a.tflite").write_bytes(content)
    manifest = {
        "sequence_length": 12,
        "outputs": [outputs],
        "files": [{"variant": "float32", "file": "a.tflite", "sha256": "0" * 64}],
    }
    stage = Stage("export", "export", details={"manifest": manifest})
    card = write_card(Run("mine", {}, (stage,)), tmp_path).read_bytes().decode()
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == pipeline
    assert use in card
    # MediaPipe knows no thresholds and has another class for vectors.
    assert ("createFromFile" in card) == (not thresholds and outputs == "logits")
    if len(labels) > 1:
        assert f"**Labels**: {', '.join(labels)}\n" in card


def test_a_folder_of_the_makers_machine_is_not_told(run):
    for stage in run.stages:
        stage.config["model"] = {"weights": "/home/ann/models/mine"}
    card = model_card(run)
    assert "/home/ann" not in card and "mine" in card
    assert "license:" not in card


@pytest.mark.parametrize(
    ("name", "score", "count", "expected"),
    [
        ("accuracy", 0.8, 400, 0.02),
        ("exact_match", 0.5, 100, 0.05),
        ("pearson", 0.6, 103, 0.064),
        ("f1", 0.6, 103, None),
        ("accuracy", 0.6, 0, None),
        ("accuracy", 1.0, 10, 0.0),
    ],
)
def test_standard_errors(name, score, count, expected):
    found = standard_error(name, score, count)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_readme_that_is_no_card_is_left_alone(run, tmp_path):
    own = tmp_path / "README.md"
    own.write_text("# My project\n")
    for write in (lambda: require_own_card(tmp_path), lambda: write_card(run, tmp_path)):
        with pytest.raises(UserError, match=r"README\.md is no model card of this package"):
            write()
    assert own.read_text() == "# My project\n"
    own.unlink()
    first = write_card(run, tmp_path).read_text()
    assert write_card(run, tmp_path).read_text() == first
