"""Settings that would do nothing are refused, each with what it is for."""

from pathlib import Path

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.recipe import load_recipe, recipe_from_dict

TEACHER = {"kind": "finetune"}


def build(**sections):
    stages = sections.pop("stages", {"first": TEACHER})
    return recipe_from_dict({"stages": stages, **sections}, name="test")


def with_stage(**settings):
    return {"stages": {"first": TEACHER, "prune": {"start": "first", **settings}}}


@pytest.mark.parametrize(
    "sections, name",
    [
        ({"task": {"thresholds": [0.4]}}, "task.thresholds"),
        ({"task": {"source": "conll", "labels": ["O"], "stride": 64}}, "task.stride"),
        ({"task": {"question_length": 32}}, "task.question_length"),
        ({"task": {"answer_length": 9}}, "task.answer_length"),
        ({"task": {"n_best": 5}}, "task.n_best"),
        ({"model": {"sizes": {"hidden_size": 32}}}, "model.sizes"),
        ({"model": {"vocabulary": "folder"}}, "model.vocabulary"),
        ({"corpus": {"records": "folder", "files": ["a.txt"]}}, "corpus.files"),
        ({"corpus": {"records": "folder", "limit": 9}}, "corpus.limit"),
        ({"corpus": {"records": "folder"}, "task": {"corpus": ["a.txt"]}}, "corpus.files"),
        (with_stage(teacher="first"), "prune.teacher"),
        (with_stage(loss={"temperature": 3}), "prune.loss.temperature"),
        (with_stage(loss={"teacher_layers": [2]}), "prune.loss.teacher_layers"),
        (with_stage(sparsity={"fisher": {"block": 4}}), "prune.sparsity.fisher"),
        (with_stage(sparsity={"shape": "linear", "power": 2}), "prune.sparsity.power"),
        (with_stage(sparsity={"cycle_floor": 0.1}), "prune.sparsity.cycle_floor"),
        (
            with_stage(sparsity={"rewind": False, "rewind_every": "9 steps"}),
            "prune.sparsity.rewind_every",
        ),
        (with_stage(augment={"copies": 3}), "prune.augment.copies"),
        (with_stage(nsp=True), "prune.nsp"),
        (with_stage(mlm_share=0.2), "prune.mlm_share"),
        (with_stage(kind="reconstruct", score="magnitude"), "prune.score"),
    ],
)
def test_it_is_named_with_what_it_is_for(sections, name):
    with pytest.raises(UserError) as raised:
        build(**sections)
    said = str(raised.value)
    assert said.startswith(f"{name} is ") and "would do nothing: it is for " in said


@pytest.mark.parametrize(
    "sections",
    [
        {"task": {"source": "multilabel", "labels": ["a", "b"], "thresholds": [0.4]}},
        {"task": {"source": "tfds:squad/v1.1", "stride": 64, "n_best": 5}},
        {"corpus": {"records": "folder", "length": 128, "whole_words": True}},
        with_stage(teacher="first", head="teacher"),
        with_stage(teacher="first", loss={"hard": 0.5, "soft": 0.5, "temperature": 4}),
        with_stage(sparsity={"score": "fisher_block", "fisher": {"block": 4}}),
        with_stage(sparsity={"score": "mine", "plugins": ["a.py"], "fisher": {"block": 4}}),
        with_stage(sparsity={"rewind": "cycles", "rewind_every": "9 steps", "cycle_floor": 0.1}),
        with_stage(objective="mlm", nsp=True, mlm_share=0.2),
        with_stage(kind="reconstruct", scope="global", score="magnitude"),
    ],
)
def test_what_has_a_use_is_taken(sections):
    build(**sections)


CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_tiny_changes_has_a_use_too(path):
    data = to_dict(load_recipe(path, tiny=True))
    recipe_from_dict({key: value for key, value in data.items() if key != "name"}, name="again")
