"""A model whose weights a reconstruction rounds to INT4: dense, and pruned before."""

import json

import numpy as np
import pytest
from small_runs import TRAINING, only, recipe, stage_folder

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.pruning.lock import load_masks
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.stages.runner import run_recipe

RECONSTRUCT = {"kind": "reconstruct", "objective": "task", "examples": 40, "batch_size": 8}
ROUND = {**RECONSTRUCT, "rules": {"encoder_.*": 0}, "weights": "int4"}


@pytest.fixture(scope="module")
def run(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int4") / "run"
    data = recipe(
        inputs,
        **only("task_teacher"),
        task_teacher={**TRAINING, "kind": "finetune", "length": "60 steps"},
        round={**ROUND, "start": "task_teacher"},
        sparse={**RECONSTRUCT, "start": "task_teacher", "rules": {"encoder_.*": 0.1}},
        round_sparse={**ROUND, "start": "sparse"},
        export={
            "start": "round_sparse",
            "sequence_length": 12,
            "variants": ["float32", "dense_int4"],
            "words": "int4",
        },
        verify={"start": "export", "threads": 1},
    )
    run_recipe(recipe_from_dict(data, name="int4"), folder)
    return folder


def kernels(run, stage):
    weights = huggingface.read_weights(stage_folder(run, stage) / "model")
    return {
        name: value.T
        for name, value in weights.items()
        if name.startswith("encoder_") and value.ndim == 2
    }


@pytest.mark.parametrize("stage", ["round", "round_sparse"])
def test_every_channel_has_fifteen_steps_at_most(run, stage):
    found = kernels(run, stage)
    assert len(found) == 6
    for name, kernel in found.items():
        largest = np.abs(kernel).max(axis=1, keepdims=True)
        steps = 7 * kernel / np.where(largest > 0, largest, 1)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4, err_msg=name)


def test_what_was_only_rounded_has_no_pattern_and_what_was_pruned_keeps_its_own(run):
    assert not (stage_folder(run, "round") / "masks.npz").exists()
    masks = load_masks(stage_folder(run, "round_sparse") / "masks.npz")
    before = load_masks(stage_folder(run, "sparse") / "masks.npz")
    found = kernels(run, "round_sparse")
    for name, mask in before.items():
        # What was rounded to 0 is a zero, too.
        assert np.array_equal(masks[name], found[f"{name}/kernel"].T != 0)
        assert not np.any(masks[name] & ~mask)
    assert any(np.any(masks[name] != mask) for name, mask in before.items())


def test_the_file_is_verified(run):
    said = json.loads((stage_folder(run, "verify") / "verify.json").read_text())
    assert said["verdict"] == "pass"
    [entry] = [one for one in said["files"] if one["variant"] == "dense_int4"]
    assert entry["accuracy"] == pytest.approx(entry["keras_accuracy"], abs=0.1)
    assert entry["relative_difference"] < entry["allowed_difference"]


def test_layers_outside_the_encoder_are_refused(inputs, tmp_path):
    data = recipe(
        inputs,
        **only("task_teacher"),
        task_teacher={**TRAINING, "kind": "finetune", "length": "1 steps"},
        round={**ROUND, "start": "task_teacher", "rules": {"pooler": 0}},
    )
    with pytest.raises(UserError, match="rounds layers of the encoder only, not pooler"):
        run_recipe(recipe_from_dict(data, name="int4"), tmp_path)
