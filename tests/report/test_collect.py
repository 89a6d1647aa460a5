import json
import os

import pytest
import synthetic

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.collect import collect_run


@pytest.fixture
def run_dir(tmp_path):
    return synthetic.write_run(tmp_path / "quickstart")


def test_reads_all_stages_in_order(run_dir):
    run = collect_run(run_dir, about=synthetic.ABOUT)
    assert [stage.name for stage in run.stages] == [
        "teacher_mlm",
        "teacher_task",
        "prune",
        "transfer",
        "quantize",
        "export",
        "verify",
        "benchmark",
    ]
    assert [stage.name for stage in run.of_kind("finetune")] == ["teacher_mlm", "teacher_task"]
    assert run.name == "quickstart" and run.about == synthetic.ABOUT
    assert len(run.exported) == 4
    assert run.detail("bench")["reference"] == "dense_int8_s64.tflite"


def test_takes_the_newest_of_several_folders_of_a_stage(run_dir):
    older = synthetic.stage_folder(run_dir, 4, "transfer", digest="11111111")
    synthetic.write_result(older, "transfer", "transfer", {"accuracy": 0.1})
    os.utime(older / "result.json", (0, 0))
    unfinished = synthetic.stage_folder(run_dir, 4, "transfer", digest="22222222")
    assert unfinished.is_dir()
    (stage,) = collect_run(run_dir).of_kind("transfer")
    assert stage.figures["accuracy"] == 0.859


def test_a_mapping_says_exactly_which_folders_belong_to_the_run(run_dir):
    folder = synthetic.stage_folder(run_dir, 4, "transfer", digest="11111111")
    synthetic.write_result(folder, "transfer", "transfer", {"accuracy": 0.1})
    run = collect_run({"transfer": folder}, name="mine")
    assert run.name == "mine"
    assert [stage.figures for stage in run.stages] == [{"accuracy": 0.1}]


def test_an_unfinished_stage_has_metrics_but_no_result(run_dir):
    (synthetic.stage_folder(run_dir, 5, "quantize") / "result.json").unlink()
    stage = collect_run(run_dir).stages[4]
    assert (stage.result, stage.figures, len(stage.metrics)) == ({}, {}, 40)


def test_repeated_steps_and_a_cut_last_line_of_metrics(run_dir):
    file = synthetic.stage_folder(run_dir, 3, "prune") / "metrics.jsonl"
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0}]
    file.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 3, "lo')
    assert collect_run(run_dir).stages[2].metrics == [lines[0], lines[2]]


def test_damaged_files_are_named(run_dir):
    metrics = synthetic.stage_folder(run_dir, 3, "prune") / "metrics.jsonl"
    metrics.write_text('not json\n{"step": 1}\n')
    with pytest.raises(UserError, match="metrics.jsonl, line 1, is not valid JSON"):
        collect_run(run_dir)
    metrics.unlink()
    (synthetic.stage_folder(run_dir, 6, "export") / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json is not valid JSON"):
        collect_run(run_dir)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        collect_run(tmp_path / "none")
    with pytest.raises(UserError, match="holds no stage folder"):
        collect_run(tmp_path)
    with pytest.raises(UserError, match="no stage has run"):
        collect_run({})
