"""Verdicts of verification on the page: what passed by which limits, and what failed why."""

import json

import pytest
import synthetic

from tf_prune_ofa.report import plots
from tf_prune_ofa.report.html import build_report
from tf_prune_ofa.report.verdicts import failure, verdict_table

CHANGED = "its outputs differ from the model's by 0.81 of their spread; allowed is 0.271"
FOREIGN = "encoder_00/ffn/output: 3 of its weights are not the model's"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Builds the page of a run whose verify.json was changed."""
    monkeypatch.setattr(plots, "all_plots", lambda run: {})
    run = synthetic.write_run(tmp_path / "run")
    path = run / "07_verify-0f3a9c21" / "verify.json"

    def build(change):
        verify = json.loads(path.read_text())
        change(verify)
        path.write_text(json.dumps(verify))
        return " ".join(build_report(run, tmp_path / "r.html").read_text().split()), verify

    return build


def entry_of(verify, variant):
    return next(entry for entry in verify["files"] if entry["variant"] == variant)


def test_a_run_that_passed_says_so_of_each_file_with_the_limits(page):
    text, verify = page(lambda verify: None)
    assert text.count('<td class="left">pass</td>') == len(verify["files"])
    assert "0.0123 (0.271)" in text and "0.999 label agreement (0.9)" in text
    assert "failed" not in text.split("</style>")[1] and failure(verify) == ""


def test_a_file_that_failed_is_named_at_the_top_with_its_reasons(page):
    def change(verify):
        dense, float32 = entry_of(verify, "dense_int8"), entry_of(verify, "float32")
        dense.update(verdict="fail", problems=[CHANGED], relative_difference=0.81)
        for key in ("relative_difference", "allowed_difference", "agreement", "limits"):
            del float32[key]
        float32.update(verdict="fail", problems=[FOREIGN, "and <more>"])

    text, verify = page(change)
    top = text.split("<h2>Result</h2>")[0]
    assert "Verification failed for" in top
    assert "dense_int8_s64.tflite" in top and "float32_s64.tflite" in top
    assert "sparse_int8_s64.tflite" not in top
    rows = {row[0]: row for row in verdict_table(verify)["rows"]}
    assert rows["dense_int8_s64.tflite"][1:3] == ["fail", "0.81 (0.271)"]
    assert rows["dense_int8_s64.tflite"][4] == CHANGED
    assert rows["float32_s64.tflite"][2:] == ["not run", "not run", f"{FOREIGN}; and <more>"]
    assert "and &lt;more&gt;" in text and text.count('class="fail"') == 2


def test_a_folder_that_failed_is_named_too(page):
    text, _ = page(lambda verify: verify.update(verdict="fail", problems=["a file is missing"]))
    assert "Verification failed for the folder of the files: a file is missing." in text


def test_runs_of_before_the_verdicts_are_shown_without():
    verify = {"files": [{"file": "a.tflite", "variant": "float32", "accuracy": 0.9}]}
    assert verdict_table(verify)["rows"] == [] and failure(verify) == ""
    verify["files"][0].update(verdict="pass", relative_difference=0.01)
    assert verdict_table(verify)["rows"][0][2:4] == ["0.01 (-)", "- (-)"]
