"""The prune stage with scores that need gradients, patterns by rule, and a plugin."""

import numpy as np
import pytest
from small_runs import only, recipe, run, run_well, stage_folder

from tf_prune_ofa.models.huggingface import read_weights
from tf_prune_ofa.pruning.lock import load_masks

PLUGIN = """
from tf_prune_ofa.pruning.scores import Score, register_score

class Taylor(Score):
    def statistics(self, shape):
        return {"taylor": shape}

    def observe(self, kernel, gradient, statistics):
        statistics["taylor"].assign_add(abs(kernel * gradient))

    def values(self, name, kernel, statistics):
        return statistics["taylor"]

register_score("taylor", Taylor)
"""


def pruning(inputs, **sparsity):
    """A recipe of one stage, on the task, in few steps."""
    changes = {"start": "model", "teacher": "", "objective": "task", "length": "8 steps"}
    changes |= {"loss": {"hard": 1.0}, "sparsity": {"frequency": 1, **sparsity}}
    return recipe(inputs, **(only() | {"prune": changes}))


def test_own_score_and_patterns_by_rule(inputs, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    rules = {
        "encoder_.*/attention/.*": {"sparsity": 0.5, "pattern": "heads"},
        "encoder_.*/ffn/.*": {"sparsity": 0.75, "pattern": "8x4"},
    }
    data = pruning(inputs, rules=rules, score="taylor", plugins=[str(tmp_path / "mine.py")])
    figures = run_well(data, tmp_path / "run")["prune"]["figures"]
    masks = load_masks(stage_folder(tmp_path / "run", "prune") / "masks.npz")
    for name, mask in masks.items():
        assert 1 - mask.mean() == figures["layers"][name] == (0.5 if "attention" in name else 0.75)
    dead = ~masks["encoder_00/attention/query"].any(axis=0)
    np.testing.assert_array_equal(dead, ~masks["encoder_00/attention/output"].any(axis=1))
    np.testing.assert_array_equal(np.repeat(dead[::8], 8), dead)  # two heads of 8


@pytest.mark.parametrize(
    ("sparsity", "says"),
    [
        ({"score": "fisher_block"}, "needs the gradients of 16 training steps, but the first"),
        ({"pattern": "12x4"}, "blocks of 12x4 do not divide its kernel of 16x16"),
        ({"score": "movement", "rules": {"encoder_.*": 0.5, "pooler": 0.5}}, "some are frozen"),
    ],
)
def test_what_cannot_work_is_refused_before_training(inputs, tmp_path, sparsity, says):
    data = pruning(inputs, **sparsity)
    data["stages"]["prune"]["frozen"] = ["pooler"]
    code, output = run(data, tmp_path / "run")
    assert code == 1 and says in output, output


@pytest.mark.parametrize("kind", ["prune", "reconstruct"])
def test_shares_of_what_was_kept_behind_heads_and_neurons(inputs, tmp_path, kind):
    rules = {
        "encoder_.*/attention/.*": {"sparsity": 0.5, "pattern": "heads"},
        "encoder_.*/ffn/.*": {"sparsity": 0.25, "pattern": "neurons"},
    }
    data = pruning(inputs, rules=rules)
    first = data["stages"]["prune"]
    behind = {"rules": {"encoder_.*": 0.5}, "share_of": "kept"}
    if kind == "prune":
        behind = {**first, "kind": kind, "sparsity": {**first["sparsity"], **behind}}
    else:
        behind |= {"kind": kind, "objective": "task", "examples": 16, "batch_size": 8}
    data["stages"]["again"] = {**behind, "start": "prune"}
    run_well(data, tmp_path / "run")
    before, after = (
        load_masks(stage_folder(tmp_path / "run", name) / "masks.npz")
        for name in ("prune", "again")
    )
    weights = read_weights(stage_folder(tmp_path / "run", "again") / "model")
    assert set(before) == set(after)
    for name, mask in after.items():
        assert not (mask & ~before[name]).any(), name
        assert mask.mean() == pytest.approx(0.5 * before[name].mean(), abs=1 / mask.size)
        assert np.all(weights[f"{name}/kernel"][~mask] == 0)


def test_layers_that_were_pruned_before_keep_their_zeros(inputs, tmp_path):
    data = pruning(inputs, rules={"encoder_.*/attention/.*": 0.5})
    first = data["stages"]["prune"]
    sparsity = {**first["sparsity"], "rules": {"encoder_.*/ffn/.*": 0.75}}
    data["stages"]["again"] = {**first, "kind": "prune", "start": "prune", "sparsity": sparsity}
    results = run_well(data, tmp_path / "run")
    before, after = (
        load_masks(stage_folder(tmp_path / "run", name) / "masks.npz")
        for name in ("prune", "again")
    )
    weights = read_weights(stage_folder(tmp_path / "run", "again") / "model")
    assert set(before) < set(after)
    for name, mask in after.items():
        assert np.all(weights[f"{name}/kernel"][~mask] == 0)
        if name in before:
            np.testing.assert_array_equal(mask, before[name])
    assert set(results["again"]["figures"]["layers"]) == set(after)
