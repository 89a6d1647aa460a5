"""Recipes that build on others: `base` in a recipe's file."""

import dataclasses

import pytest
import yaml

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.plain_values import digest, to_dict
from tf_prune_ofa.recipe import load_recipe, resolved_recipe
from tf_prune_ofa.recipe_files import merged

BASE = """
about: {title: The base, command: one}
seed: 3
model: {weights: some/folder, dropout: 0.1}
task: {source: files, train: a.tsv, dev: b.tsv, labels: [0, 1]}
stages:
  task_teacher: {kind: teacher, length: 5 steps}
  prune:
    start: task_teacher
    loss: {hard: 0.5, soft: 0.5}
    teacher: task_teacher
    sparsity: {rules: {encoder_.*: 0.9}, ramp_end: 50%}
  export: {start: prune, variants: [float32, dynamic_int8]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "first.yaml").write_text(BASE, encoding="utf-8")
    return tmp_path


def write(folder, text, name="own.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def stages_of(folder, text):
    return resolved_recipe(write(folder, "base: first\nstages:\n" + text))["stages"]


def test_only_what_differs_is_said(folder):
    own = write(
        folder,
        """
        base: first
        about: {title: Sparser}
        model: {dropout: null}
        stages:
          prune: {sparsity: {rules: {encoder_.*: 0.95}}, learning_rate: 1e-3}
          export: {variants: [float32]}
        """,
    )
    expected = yaml.safe_load(BASE)
    expected["about"]["title"] = "Sparser"
    del expected["model"]["dropout"]
    expected["stages"]["prune"]["sparsity"]["rules"] = {"encoder_.*": 0.95}
    expected["stages"]["prune"]["learning_rate"] = "1e-3"
    expected["stages"]["export"]["variants"] = ["float32"]  # a list is replaced, not joined
    found = resolved_recipe(own)
    found["stages"]["prune"]["learning_rate"] = str(found["stages"]["prune"]["learning_rate"])
    assert found == expected
    assert load_recipe(own).name == "own"


def test_how_a_recipe_is_written_changes_no_digest(folder):
    own = write(folder, "base: first\nseed: 4\nstages: {prune: {learning_rate: 1e-3}}")
    short = load_recipe(own, ["prune.length=7 steps"])
    whole = write(folder, yaml.safe_dump(resolved_recipe(own), sort_keys=False), "whole.yaml")
    written_out = load_recipe(whole, ["prune.length=7 steps"])
    assert short == dataclasses.replace(written_out, name="own")
    assert list(short.stages) == list(written_out.stages)
    for name, stage in short.stages.items():
        assert digest(to_dict(stage)) == digest(to_dict(written_out.stages[name]))


def test_stages_keep_their_order(folder):
    found = stages_of(
        folder,
        "  export: {variants: [float32]}\n"
        "  first_of_all: {kind: finetune}\n  task_teacher: {length: 1 epoch}\n"
        "  quantize: {start: prune}\n  verify: {start: export}\n",
    )
    # A new stage stands before the base's that follows it in the recipe, or last.
    assert list(found) == [
        "first_of_all", "task_teacher", "prune", "export", "quantize", "verify",
    ]  # fmt: skip
    found = stages_of(folder, "  quantize: {start: prune}\n  export: {start: quantize}\n")
    assert list(found) == ["task_teacher", "prune", "quantize", "export"]


def test_a_stage_is_taken_away_and_a_new_one_may_be_empty(folder):
    assert list(stages_of(folder, "  export:\n  report:\n")) == ["task_teacher", "prune", "report"]


def test_a_stage_of_another_kind_replaces_the_base_s(folder):
    found = stages_of(folder, "  prune: {kind: reconstruct, start: task_teacher}\n")
    assert found["prune"] == {"kind": "reconstruct", "start": "task_teacher"}
    assert list(found) == ["task_teacher", "prune", "export"]
    # One kind under its old and its new name is one kind.
    found = stages_of(folder, "  task_teacher: {kind: finetune, batch_size: 4}\n")
    assert found["task_teacher"] == {"kind": "finetune", "length": "5 steps", "batch_size": 4}


def test_a_task_of_another_source_replaces_the_base_s(folder):
    longer = write(folder, "base: first\ntask: {max_length: 32}")
    assert resolved_recipe(longer)["task"] == {**yaml.safe_load(BASE)["task"], "max_length": 32}
    other = write(folder, "base: first\ntask: {source: reviews}")
    assert resolved_recipe(other)["task"] == {"source": "reviews"}
    named = write(folder, "base: first\ntask: reviews")
    assert resolved_recipe(named)["task"]["source"] == "reviews"
    assert "train" not in resolved_recipe(named)["task"]


def test_a_base_of_this_package_and_a_base_s_base(folder):
    write(folder, "base: reconstruct_minilm\nseed: 5", "second.yaml")
    own = load_recipe(write(folder, "base: second\ntask: mrpc"))
    shipped = load_recipe("reconstruct_minilm", ["task=mrpc", "seed=5"])
    assert own == dataclasses.replace(shipped, name="own")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base: frist", "its base 'frist' is no file beside it and no recipe of this package"),
        ("base: gmp_minilmm", "Did you mean 'gmp_minilm'"),
        ("base: [first]", r"base is \['first'\]; write the name or the file of a recipe"),
        ("base: ''", "base is ''; write the name or the file of a recipe"),
        ("base: own", "its base leads back to itself: own -> own"),
        ("base: between", "its base leads back to itself: own -> between -> own"),
        ("base: listed", "must hold a mapping with the key 'stages', got list"),
        ("base: first\nstages: {prune: {lenght: 3}}", "lenght"),
        ("base: first\nstages: {task_teacher: null}", "task_teacher"),
    ],
)
def test_what_is_no_base_is_refused(folder, text, problem):
    write(folder, "base: own.yaml", "between.yaml")
    write(folder, "[1]", "listed.yaml")
    with pytest.raises(UserError, match=problem):
        load_recipe(write(folder, text))


def test_merging_changes_neither_of_the_two():
    base, changes = {"stages": {"a": {"loss": {"hard": 1}}}}, {"stages": {"a": {"loss": {"b": 2}}}}
    result = merged(base, changes)
    result["stages"]["a"]["loss"]["hard"] = 9
    assert base == {"stages": {"a": {"loss": {"hard": 1}}}}
    assert changes == {"stages": {"a": {"loss": {"b": 2}}}}
