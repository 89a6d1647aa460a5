"""A reconstruction that is asked for a speed-up, with costs that are given."""

import json

import numpy as np
import pytest
from small_runs import BERT, only, recipe, run_well, stage_folder

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.unit_costs import UnitCosts, read_costs, write_costs
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.pruning.lock import load_masks
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.stages.runner import run_recipe

COSTS = UnitCosts(1000.0, {1: 800.0, 2: 1000.0}, {16: 500.0, 32: 1000.0}, 1, 12, 1)
HEADS = ("attention/query", "attention/key", "attention/value")


def faster(inputs, costs, **changes):
    data = recipe(inputs, **only("task_teacher", "transfer"))
    stages = data["stages"]
    settings = {"kind": "reconstruct", "start": "task_teacher", "examples": 40, "batch_size": 8}
    settings |= {"speedup": 1.4, "costs": str(costs), **changes}
    # The same goal by the time that it takes: 1 ms / 2.9.
    stages["both"] = {**settings, "speedup": 0.0, "latency_ms": 1 / 2.9}
    stages["transfer"] = {**stages.pop("transfer"), "start": "faster"}
    order = ("task_teacher", "faster", "both", "transfer")
    return {**data, "stages": {name: {"faster": settings, **stages}[name] for name in order}}


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faster")
    write_costs(folder / "costs.json", COSTS)
    return folder, run_well(faster(inputs, folder / "costs.json"), folder)


def pattern_of(folder, stage):
    masks = load_masks(stage_folder(folder, stage) / "masks.npz")
    return {name.removeprefix("encoder_00/"): mask for name, mask in masks.items()}


@pytest.mark.parametrize(("stage", "heads"), [("faster", 2), ("both", 1)])
def test_whole_units_go_until_the_time_is_met(finished, stage, heads):
    folder, results = finished
    masks = pattern_of(folder, stage)
    neurons = masks["ffn/output"].any(axis=1)
    assert neurons.sum() == 16
    assert np.array_equal(masks["ffn/output"], np.repeat(neurons[:, None], 16, axis=1))
    assert np.array_equal(masks["ffn/intermediate"], masks["ffn/output"].T)
    left = masks["attention/output"].reshape(2, 8, 16).all(axis=(1, 2))
    assert left.sum() == heads
    for name in HEADS:
        assert np.array_equal(masks[name], masks["attention/output"].T)
    figures = results[stage]["figures"]
    assert figures["expected_speedup"] == pytest.approx(2.0 if heads == 2 else 1 / 0.3)
    assert figures["units_left"] == {
        "encoder_00/attention/output": heads,
        "encoder_00/ffn/output": 16,
    }


def test_the_pattern_holds_behind_it(finished):
    folder, results = finished
    weights = huggingface.read_weights(stage_folder(folder, "transfer") / "model")
    for name, mask in pattern_of(folder, "faster").items():
        assert np.all(weights[f"encoder_00/{name}/kernel"][~mask] == 0)
        assert np.any(weights[f"encoder_00/{name}/kernel"][mask] != 0)
    assert json.loads((stage_folder(folder, "faster") / "unit_costs.json").read_text())


def test_a_latency_that_the_dense_file_has_is_refused(inputs, finished, tmp_path):
    costs = finished[0] / "costs.json"
    data = faster(inputs, costs, speedup=0.0, latency_ms=1.0)
    with pytest.raises(UserError, match="dense INT8 file takes 1 ms as it is"):
        run_recipe(recipe_from_dict(data, name="slow"), tmp_path)


def test_costs_of_another_encoder_are_refused(finished):
    path = finished[0] / "costs.json"
    assert read_costs(path, BERT, 12) == COSTS
    with pytest.raises(UserError, match="this encoder has 1, 2, 32 and 16: leave costs out"):
        read_costs(path, BERT, 16)
    path.with_name("bad.json").write_text("{}")
    for name, message in (("bad.json", "holds no costs"), ("none.json", "Cannot read")):
        with pytest.raises(UserError, match=message):
            read_costs(path.with_name(name), BERT, 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scope": "global"}, "faster.scope is of no use beside faster.speedup"),
        ({"speedup": 0.0}, "faster.costs is of no use without faster.speedup or faster.latency_ms"),
        ({"latency_ms": 1.0}, "faster has both speedup and latency_ms"),
        ({"speedup": 0.9}, "0, or above 1"),
    ],
)
def test_settings_that_do_not_go_together(inputs, tmp_path, changes, message):
    data = faster(inputs, tmp_path / "costs.json", **changes)
    with pytest.raises(UserError, match=message):
        recipe_from_dict(data, name="bad")
