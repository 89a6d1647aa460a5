from tf_prune_ofa.report.collect import Run, Stage
from tf_prune_ofa.report.rows import columns, model_rows, score_name


def run_of(**figures):
    return Run("r", {}, (Stage("transfer", "transfer", {"figures": figures}),))


def test_the_main_score_is_the_one_the_task_names():
    run = run_of(accuracy=0.7, f1=0.8, main_metric="f1")
    assert score_name(run) == "f1"
    assert [row.score for row in model_rows(run)] == [0.8]
    assert "f1" in [column.title for column in columns(run)]


def test_runs_that_name_none():
    assert score_name(run_of(pearson=0.5, spearman=0.4)) == "pearson"
    assert score_name(run_of(mlm_loss=2.0)) == "accuracy"
