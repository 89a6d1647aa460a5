"""Every method at tiny size, run as one comparison; and what a comparison does by itself."""

import importlib.util
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_runs import metrics

from tf_prune_ofa.config import About, PruneSettings, TrainSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments.comparison import (
    PRELOADED,
    experiments,
    known_outcomes,
    load_plan,
    run_experiments,
    selected,
    with_sparsity,
)
from tf_prune_ofa.experiments.comparison_table import (
    Outcome,
    comparison_table,
    write_between_markers,
)
from tf_prune_ofa.jobs.context import StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.stage_digest import stage_digest_of
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.pruning.lock import assert_zeros, load_masks
from tf_prune_ofa.recipe import load_recipe, recipe_from_dict
from tf_prune_ofa.schedules import LearningRateSchedule

CONFIGS = Path(__file__).parents[2] / "configs"
METHODS = sorted(path.stem.removesuffix("_minilm") for path in CONFIGS.glob("*_minilm.yaml"))
STEPS = 10
# Of the small encoder's one layer and few words.
SMALL = {
    "layerwise": ["prune.loss.teacher_layers=[1]"],
    "sparsebert": ["prune.augment.candidates=3", "prune.augment.copies=2"],
}


def shortened(recipe):
    """Overrides that leave a recipe as it is but for its length."""
    stages = load_recipe(recipe).stages
    return [
        override
        for name, stage in stages.items()
        if isinstance(stage, TrainSettings)
        for override in (f"{name}.length={STEPS} steps", f"{name}.batch_size=8")
    ]


def write_plan(path, inputs, names, **changes):
    (inputs / "task.yaml").write_text(
        yaml.safe_dump(
            {
                "source": "files",
                "train": str(inputs / "train.tsv"),
                "dev": str(inputs / "dev.tsv"),
                "labels": ["bad", "good"],
                "max_length": 12,
            }
        )
    )
    plan = {
        "seeds": [1],
        "sparsities": [0.75],
        "set": [
            f"model.weights={inputs / 'encoder'}",
            "model.strip_accents=checkpoint",
            # The tasks' own texts: the recipes' reviews are longer than the small encoder takes.
            "corpus.files=[]",
            "corpus.length=12",
        ],
        "tasks": {"films": {"task": str(inputs / "task.yaml")}},
        "methods": {
            name: {
                "recipe": f"{name}_minilm",
                "set": [*shortened(f"{name}_minilm"), *SMALL.get(name, [])],
            }
            for name in names
        },
    } | changes
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def compared(inputs, tmp_path_factory):
    """(folder, runs, outcomes) of each method on one task; two comparisons, one a core."""
    folder = tmp_path_factory.mktemp("compared")
    # One half shares the masked language model.
    first = {m for m in METHODS if "teacher" in load_recipe(f"{m}_minilm").stages} | {"one_shot"}
    plans = [
        load_plan(write_plan(folder / f"plan{n}.yaml", inputs, ["dense", *half]))
        for n, half in enumerate((sorted(first), sorted({*METHODS} - {*first, "dense"})))
    ]
    runs = [experiments(plan, folder) for plan in plans]
    outs = [folder / "first", folder / "second"]
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(run_experiments, runs, outs))
    return {
        run.method: (out, of_half, {outcome.method: outcome for outcome in found})
        for out, of_half, found in zip(outs, runs, outcomes, strict=True)
        for run in of_half
    }


def folders(compared, method):
    """Folders of a method's stages by name."""
    out, runs, _ = compared[method]
    run = next(run for run in runs if run.method == method)
    found = {}
    for path in (out / "runs").glob("seed1/*/result.json"):
        result = json.loads(path.read_text())
        stage = run.recipe.stages.get(result["stage"])
        if stage and result["config"]["stage"] == json.loads(json.dumps(to_dict(stage))):
            found[result["stage"]] = path.parent
    return found


# Methods


@pytest.mark.parametrize("method", METHODS)
def test_a_method_prunes_and_is_judged(compared, method):
    outcome = compared[method][2][method]
    assert not outcome.error
    assert outcome.metric == "accuracy" and 0 < outcome.value <= 1
    stages = folders(compared, method)
    if method == "dense":
        assert outcome.sparsity is None and outcome.measured_sparsity is None
        return
    assert outcome.measured_sparsity == pytest.approx(0.75, abs=0.002)
    masks = load_masks(stages["prune"] / "masks.npz")
    assert len(masks) == 6 and all(name.startswith("encoder_") for name in masks)
    for name in ("prune", "transfer"):
        if name in stages:
            weights = huggingface.read_weights(stages[name] / "model")
            kernels = {layer: weights[f"{layer}/kernel"] for layer in masks}
            assert_zeros(kernels, masks, where=name)


def test_one_shot_asks_for_all_zeros_at_once(compared):
    lines = metrics(folders(compared, "one_shot")["prune"])
    assert [line["sparsity_measured"] for line in lines] == pytest.approx([0.75] * STEPS, abs=2e-3)


def test_the_cycles_of_the_learning_rate(compared):
    lines = metrics(folders(compared, "gmp_star")["prune"])
    rate = LearningRateSchedule(3e-4, STEPS, 0, "linear", 0, 8, 1, cycle_floor=0.01)
    assert [line["learning_rate"] for line in lines] == pytest.approx(
        [rate.rate(step) for step in range(STEPS)]
    )
    assert lines[0]["sparsity_asked"] == pytest.approx(0.7, abs=2e-3)


def test_sparsebert_learns_from_copies_and_inner_layers(compared):
    stages = folders(compared, "sparsebert")
    lines = metrics(stages["prune"])
    assert {"loss_soft", "loss_hidden", "loss_attention"} <= set(lines[0])
    assert "loss_hard" not in lines[0]
    assert {line["learning_rate"] for line in lines} == {5e-4}
    figures = json.loads((stages["prune"] / "result.json").read_text())["figures"]
    assert figures["train_examples"] == 90 * 3  # each example has a word to replace
    assert len(list(stages["prune"].parent.glob("augmented-*.npz"))) == 1


def test_layerwise_distillation_is_in_the_loss(compared):
    for line in metrics(folders(compared, "layerwise")["prune"]):
        assert line["loss"] == pytest.approx(
            0.1 * line["loss_soft"] + 0.9 * line["loss_layerwise"], rel=1e-5
        )


# Comparisons


@pytest.mark.parametrize("method", ["gmp", "prune_ofa"])
def test_stages_in_common_are_run_once(compared, method):
    out, runs, _ = compared[method]
    pruning = [run for run in runs if "prune" in run.recipe.stages]
    counts = {"task_teacher": 1, "prune": len(pruning), "[0-9]_teacher": int(method != "gmp")}
    for stage, count in counts.items():
        assert len(list((out / "runs" / "seed1").glob(f"*{stage}-*"))) == count, stage
    assert len(pruning) >= 4


def test_a_second_time_nothing_is_run(compared):
    out, runs, outcomes = compared["gmp"]
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("seed1/*/result.json")}
    again = run_experiments(runs[:2], out)
    assert again == [outcomes[run.method] for run in runs[:2]]
    after = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("seed1/*/result.json")}
    assert before == after
    assert known_outcomes(runs, out) == list(outcomes.values())
    # An outcome of other settings does not count.
    changed = [replace(run, recipe=with_sparsity(run.recipe, 0.5)) for run in runs[1:]]
    assert {outcome.value for outcome in known_outcomes(changed, out)} == {None}
    # One of the same settings under another name does.
    renamed = [replace(run, recipe=replace(run.recipe, name="x", about=About("y"))) for run in runs]
    assert known_outcomes(renamed, out) == list(outcomes.values())


def test_seeds_are_run_side_by_side(compared, inputs, tmp_path, capsys):
    """With the outcomes in the order of the runs, whichever ends first."""
    path = write_plan(tmp_path / "plan.yaml", inputs, ["dense", "one_shot"], seeds=[1, 2])
    runs = experiments(load_plan(path), tmp_path)
    outcomes = run_experiments(runs, tmp_path / "out", seeds_at_once=2)
    assert [(o.method, o.seed) for o in outcomes] == [(run.method, run.seed) for run in runs]
    assert not any(outcome.error for outcome in outcomes)
    # A seed's figures do not depend on what runs beside it.
    assert outcomes[0].value == compared["dense"][2]["dense"].value
    for seed in (1, 2):
        assert len(list((tmp_path / "out" / "runs" / f"seed{seed}").glob("*/result.json"))) == 2
    assert [line.split("]")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"[{number}/4" for number in range(1, 5)
    ]


def test_what_is_learned_from_corpus_files_serves_all_tasks(inputs, tmp_path):
    (tmp_path / "corpus.txt").write_text("the film is good .\nthe plot is bad .\n")
    corpus = [f"task.corpus=[{tmp_path / 'corpus.txt'}]", "task.corpus_length=12"]
    path = write_plan(
        tmp_path / "plan.yaml",
        inputs,
        ["prune_ofa"],
        tasks={
            "films": {"task": str(inputs / "task.yaml"), "set": corpus},
            "short": {"task": str(inputs / "task.yaml"), "set": [*corpus, "task.max_length=8"]},
            "own text": {"task": str(inputs / "task.yaml"), "set": ["task.max_length=8"]},
        },
    )
    stages = {}
    for run in experiments(load_plan(path), tmp_path):
        recipe_inputs, found = RecipeInputs(run.recipe), {}
        for name, settings in run.recipe.stages.items():
            key = stage_digest_of(settings, recipe_inputs, found)
            found[name] = StageResult(name, settings.kind, tmp_path, key, {}, 0.0)
        stages[run.task] = {name: result.digest for name, result in found.items()}
    first, second, own = stages.values()
    same = {name for name in first if first[name] == second[name]}
    assert same == {"teacher", "prune"}
    assert not set(own.values()) & set(first.values())
    assert {name for name in own if own[name] == second[name]} == {"task_teacher"}


def test_a_run_that_fails_does_not_stop_the_others(compared, inputs, tmp_path):
    path = write_plan(tmp_path / "plan.yaml", inputs, ["dense"])
    data = yaml.safe_load(path.read_text())
    good = data["methods"]["dense"]
    wrong = {**good, "set": [*good["set"], "task_teacher.frozen=[no_such_layer]"]}
    data["methods"] = {"wrong": wrong, "dense": good}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    seen = []
    runs = experiments(load_plan(path), tmp_path)
    failed, done = run_experiments(runs, compared["dense"][0], after=lambda o: seen.append(len(o)))
    assert "'no_such_layer' matches no layer" in failed.error and failed.value is None
    assert done == compared["dense"][2]["dense"] and seen == [1, 2]
    assert "| wrong | dense | 1 failed | – |" in comparison_table([failed, done])


CHILD = """
import multiprocessing, os, pathlib, sys, threading, time
from tf_prune_ofa.experiments.comparison import _end_with_parent

def child(path):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pathlib.Path(path).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("forkserver").Process(target=child, args=sys.argv[1:]).start()
    time.sleep(60)
"""


def test_a_run_ends_when_the_comparison_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(CHILD)
    number = tmp_path / "number"
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py"), str(number)])
    try:
        wait_for(lambda: number.exists() and number.read_text())
        child = Path("/proc") / number.read_text()
        assert child.exists()
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not child.exists())


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_names_and_order(inputs, tmp_path):
    changes = {"seeds": [0, 1], "sparsities": [0.5, 0.9]}
    path = write_plan(tmp_path / "plan.yaml", inputs, ["dense", "gmp"], **changes)
    runs = experiments(load_plan(path), tmp_path)
    names = [run.name for run in runs]
    assert names[:3] == ["dense-films-dense-seed0", "gmp-films-0.5-seed0", "gmp-films-0.9-seed0"]
    assert names[3:] == [name.replace("seed0", "seed1") for name in names[:3]]
    assert [run.name for run in selected(runs, ["gmp-*-seed1"])] == names[4:]
    with pytest.raises(UserError, match="no run is named like 'gpm"):
        selected(runs, ["gpm*"])
    prune = runs[1].recipe.stages["prune"]
    assert isinstance(prune, PruneSettings) and prune.sparsity.rules == {"encoder_.*": 0.5}
    assert runs[1].recipe.seed == 0 and prune.length == f"{STEPS} steps"
    data = yaml.safe_load(path.read_text())
    data["methods"]["gmp"]["last"] = "task_teacher"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    cut = experiments(load_plan(path), tmp_path)[1]
    # Nothing is left that prunes.
    assert list(cut.recipe.stages) == ["task_teacher"] and cut.sparsity is None


def test_a_sparsity_goes_to_the_stage_that_chooses_a_pattern_only():
    """One that takes a pattern over has no use for rules, and a recipe with them is refused."""
    recipe = load_recipe("prune_ofa_reconstruct_minilm")
    changed = with_sparsity(recipe, 0.8)
    assert changed.stages["prune"].rules == {"encoder_.*": 0.8}
    assert changed.stages["take_over"] == recipe.stages["take_over"]
    values = {key: value for key, value in to_dict(changed).items() if key != "name"}
    assert recipe_from_dict(values, name=recipe.name) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {}}, "needs methods, tasks and seeds"),
        ({"method": {}}, "unknown key 'plan.method'. Did you mean 'methods'?"),
        (
            {"methods": {"a": {"recipe": "dense_minilm", "tasks": ["film"]}}},
            "method a names the task 'film'",
        ),
        ({"methods": {"a": {}}}, "recipe"),
    ],
)
def test_mistakes_in_a_plan(inputs, tmp_path, change, message):
    path = write_plan(tmp_path / "plan.yaml", inputs, ["dense"], **change)
    with pytest.raises(UserError, match=message):
        load_plan(path)


def test_what_runs_have_in_common_is_there_to_import():
    """The server of processes says nothing of a module that it cannot find."""
    assert [name for name in PRELOADED if importlib.util.find_spec(name) is None] == []


# Tables


def outcome(method, task, seed, value=None, sparsity=0.9, **more):
    return Outcome(method, task, seed, sparsity, "accuracy", value, seconds=120.0, **more)


def test_the_table_has_mean_and_spread():
    rows = [
        outcome("gmp", "sst2", 0, 0.80),
        outcome("gmp", "sst2", 1, 0.82),
        outcome("gmp", "mrpc", 0, 0.75),
        outcome("gmp", "mrpc", 1, error="killed"),
        outcome("dense", "sst2", 0, 0.9, sparsity=None),
        outcome("dense", "mrpc", 0, sparsity=None),
        outcome("random", "sst2", 0),  # has not been run
        # Pruned before, in what it starts from.
        outcome("once", "sst2", 0, 0.85, sparsity=None, measured_sparsity=0.7999),
    ]
    # The standard deviation of 80 and 82 is √2.
    assert comparison_table(rows).splitlines() == [
        "| method | sparsity | sst2, accuracy | mrpc, accuracy | minutes a run |",
        "|---|---|---|---|---|",
        "| dense | dense | 90.0 (1) | – | 2 |",
        "| once | 80 % | 85.0 (1) | – | 2 |",
        "| gmp | 90 % | 81.0 ± 1.4 (2) | 75.0 (1) 1 failed | 2 |",
    ]


def test_a_table_replaces_the_one_before(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("# Results\n")
    write_between_markers(path, "methods", "| old |\n")
    path.write_text(path.read_text() + "\nmore\n")
    write_between_markers(path, "methods", "| new |\n")
    assert path.read_text() == (
        "# Results\n\n## methods\n\n<!-- begin methods -->\n| new |\n<!-- end methods -->\n\nmore\n"
    )
    path.write_text("<!-- begin methods -->\n")
    with pytest.raises(UserError, match="it has one only"):
        write_between_markers(path, "methods", "| new |\n")


def test_masks_are_different_from_method_to_method(compared):
    """The score, or the schedule, does matter."""
    patterns = {
        method: load_masks(folders(compared, method)["prune"] / "masks.npz")
        for method in METHODS
        if method != "dense"
    }
    layer = "encoder_00/ffn/output"
    assert all(
        np.any(patterns[a][layer] != patterns[b][layer])
        for a in patterns
        for b in patterns
        if a < b
    )
