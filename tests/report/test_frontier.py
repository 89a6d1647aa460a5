import json

import pytest
import synthetic

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report import frontier
from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.report.frontier_plot import plots
from tf_prune_ofa.tools import frontier as tool

STATIC = ("dense_int8", "sparse_int8")


def run_with(rules, pattern="unstructured"):
    sparsity = {"rules": rules, "pattern": pattern}
    result = {"config": {"stage": {"sparsity": sparsity}}, "figures": {"sparsity": 0.5}}
    return Run("r", {}, (Stage("prune", "prune", result),))


def pruned_run(folder):
    synthetic.write_run(folder)
    stage = folder / "03_prune-0f3a9c21"
    content = (stage / "result.json").read_text()
    settings = '"stage": {"sparsity": {"rules": {"encoder_.*": 0.85}, "pattern": "1x4"}, '
    assert '"stage": {' in content
    (stage / "result.json").write_text(content.replace('"stage": {', settings, 1))
    for variant in synthetic.FILES:
        (folder / "06_export-0f3a9c21" / synthetic.file_name(variant)).write_bytes(b"file")
    return folder


def test_the_pattern_is_that_of_the_rules_or_of_the_stage():
    assert frontier.pattern_of(Run("r", {}, ())) == "dense"
    assert frontier.pattern_of(run_with({"encoder_.*": 0.9}, "64x32")) == "64x32"
    rules = {
        "a": {"sparsity": 0.25, "pattern": "heads"},
        "b": {"sparsity": 0.5, "pattern": "neurons"},
    }
    assert frontier.pattern_of(run_with(rules)) == "heads + neurons"


def test_reconstructed_weights_are_a_series_of_their_own():
    settings = {"rules": {"encoder_.*": 0.85}, "pattern": "1x4", "pattern_of": ""}
    taken_over = {**settings, "pattern": "unstructured", "pattern_of": "prune"}
    stages = [
        Stage(name, "reconstruct", {"config": {"stage": one}})
        for name, one in (("prune", settings), ("take_over", taken_over))
    ]
    assert frontier.series_of(Run("r", {}, tuple(stages))) == "1x4, reconstructed"
    assert frontier.series_of(run_with(settings["rules"], "1x4")) == "1x4"


def test_models_without_zeros_go_by_their_runs_and_rounding_is_no_pruning():
    assert frontier.series_of(Run("three layers", {}, ())) == "dense, three layers"
    rounded = {"rules": {}, "pattern": "unstructured", "weights": "int4"}
    stage = Stage("round", "reconstruct", {"config": {"stage": rounded}})
    assert frontier.series_of(Run("int4", {}, (stage,))) == "dense, int4"
    # Of a model that came with zeros, they are not its own.
    result = {"config": {"stage": rounded}, "figures": {"sparsity": 0.5}}
    stage = Stage("round", "reconstruct", result)
    assert frontier.series_of(Run("heads in 4 bits", {}, (stage,))) == "heads in 4 bits"


def test_a_goal_of_speed_prunes_heads_and_neurons():
    settings = {"rules": {"encoder_.*": 0.9}, "pattern": "unstructured", "speedup": 2.0}
    stage = Stage("prune", "reconstruct", {"config": {"stage": settings}})
    assert frontier.series_of(Run("r", {}, (stage,))) == "heads + neurons, reconstructed"


def test_zeros_of_a_sparse_encoder_go_by_its_name():
    result = {"config": {"stage": {"start": "minilm_l6_sparse_90"}}, "figures": {"sparsity": 0.9}}
    run = Run("r", {}, (Stage("transfer", "transfer", result),))
    assert frontier.series_of(run) == "minilm_l6_sparse_90"


def fine_tuned(teacher, score):
    result = {"config": {"stage": {"teacher": teacher}}, "figures": {"accuracy": score}}
    return Stage("tuned", "finetune", result)


def test_the_teacher_is_the_first_that_learned_from_none():
    fewer_layers = Run("three", {}, (fine_tuned("models/teacher", 0.83),))
    whole = Run("whole", {}, (fine_tuned("", 0.85), fine_tuned("tuned", 0.84)))
    assert frontier.teacher_score([fewer_layers, whole]) == 0.85
    with pytest.raises(UserError, match="none of the runs three has"):
        frontier.teacher_score([fewer_layers])


def test_points_of_runs_that_are_gone(tmp_path):
    point = {"series": "dense, three", "variant": "dense_int8", "sparsity": 0.0, "score": 0.83}
    point |= {"ratio": 0.47, "latency_ms": None, "size_bytes": 17_800_000, "gzip_bytes": None}
    before = {"task": "reviews", "score_name": "accuracy", "points": [point]}
    path = tmp_path / "before.json"
    path.write_text(json.dumps(before), encoding="utf-8")
    now = {**before, "teacher_score": 0.85, "points": []}
    [found] = frontier.earlier_points(path, now)
    assert found == {**point, "series": "dense, three, earlier"}
    assert "dense, three, earlier" in tool.table({**now, "points": [found]})
    assert [plot.key for plot in plots({**now, "points": [found]}, "mine")] == [
        "frontier_mine_latency",
        "frontier_mine_size",
    ]
    with pytest.raises(UserError, match="is about reviews, and these runs about sst2"):
        frontier.earlier_points(path, {**now, "task": "sst2"})
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="is no result of this tool"):
        frontier.earlier_points(path, now)


def test_candidates_of_a_run_with_and_without_the_delegate(tmp_path):
    folder = pruned_run(tmp_path / "run")
    run = collect_run(folder)
    plain = frontier.candidates(run, folder, variants=STATIC)
    assert [(one.variant, one.series) for one in plain] == [(name, "1x4") for name in STATIC]
    assert plain[0].score == 0.857 and plain[0].sparsity == 0.85
    assert plain[0].path.is_file()
    more = frontier.candidates(run, folder, variants=STATIC, delegate={"delegate": "auto"})
    assert [one.series for one in more] == ["1x4", "1x4", "1x4, delegate"]
    assert more[-1].options == {"delegate": "auto"} and more[-1].variant == "sparse_int8"


def test_a_run_without_the_files_is_refused(tmp_path):
    folder = pruned_run(tmp_path / "run")
    run = collect_run(folder)
    with pytest.raises(UserError, match="no verified file of block_sparse_int8"):
        frontier.candidates(run, folder, variants=["block_sparse_int8"])
    with pytest.raises(UserError, match="none of the runs r has fine-tuned a dense teacher"):
        frontier.teacher_score([run_with({"encoder_.*": 0.5})])


def test_the_fastest_good_enough_point():
    points = [
        {"score": 0.849, "ratio": 0.9},
        {"score": 0.840, "ratio": 0.6},
        {"score": 0.839, "ratio": 0.4},
    ]
    assert frontier.best_within(points, 0.85, 0.01)["ratio"] == 0.6
    assert frontier.best_within(points, 0.90, 0.01) is None


def test_which_point_dominates():
    first, second, third, same = (
        {"score": score, "ratio": ratio, "size_bytes": size}
        for score, ratio, size in ((0.84, 0.5, 9), (0.83, 0.5, 7), (0.85, 0.6, 12), (0.84, 0.5, 9))
    )
    points = [first, second, third, same]
    # As fast and better; who is equal in both does not dominate.
    assert frontier.dominator(second, points) == first
    assert frontier.dominator(first, points) is None and frontier.dominator(third, points) is None
    assert frontier.dominator(second, points, "size_bytes") is None
    assert frontier.dominator(first, [*points, {**third, "size_bytes": 8}], "size_bytes") == {
        **third,
        "size_bytes": 8,
    }


def test_the_table_names_who_dominates():
    shared = {"variant": "dense_int8", "latency_ms": 1.0, "gzip_bytes": 1, "size_bytes": 1}
    points = [
        {"series": "heads", "sparsity": 0.5, "score": 0.84, "ratio": 0.5, **shared},
        {"series": "dense, three layers", "sparsity": 0.0, "score": 0.83, "ratio": 0.6, **shared},
    ]
    table = tool.table({"score_name": "accuracy", "teacher_score": 0.85, "points": points})
    fast, slow = table.splitlines()[-2:]
    assert slow.endswith("heads, dense_int8") and not fast.endswith("dense_int8")


def test_points_and_plots(tmp_path):
    folder = pruned_run(tmp_path / "run")
    chosen = frontier.candidates(collect_run(folder), folder, variants=STATIC)
    timing = {"latency_ms": {"median": 2.0}, "ratio": {"ratio": 1.0}, "cpu_ratio": {"ratio": 1.0}}
    found = frontier.points(chosen, {"files": [timing, timing]})
    found[1]["score"] -= 0.01  # one that is dominated
    assert found[1]["size_bytes"] == 15_700_000 and found[1]["ratio"] == 1.0
    result = {
        "task": "glue/sst2",
        "score_name": "accuracy",
        "teacher_score": 0.868,
        "points": found,
    }
    drawn = plots(result)
    assert [plot.key for plot in drawn] == [
        "frontier_glue_sst2_latency",
        "frontier_glue_sst2_size",
    ]
    assert all(plot.png.startswith(b"\x89PNG") for plot in drawn)
