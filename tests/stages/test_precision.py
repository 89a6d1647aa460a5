"""Training with products in bfloat16, against the same in float32."""

import numpy as np
import pytest
from small_runs import metrics, only, recipe, run, run_well, stage_folder

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.json_files import read_json
from tf_prune_ofa.models.huggingface import read_weights
from tf_prune_ofa.pruning.lock import load_masks
from tf_prune_ofa.recipe import recipe_from_dict

STAGES = ("teacher", "prune", "task_teacher", "transfer")


@pytest.fixture(scope="module")
def runs(inputs, tmp_path_factory):
    folders = {}
    for precision in ("float32", "bfloat16"):
        folders[precision] = tmp_path_factory.mktemp(precision) / "run"
        changes = {name: {"precision": precision} for name in STAGES} | {"quantize": None}
        data = recipe(inputs, model={"dropout": 0.0}, **changes)
        run_well(data, folders[precision])
    return folders


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_nearly_those_of_float32(runs, stage):
    ours, theirs = (
        np.array([line["loss"] for line in metrics(stage_folder(runs[precision], stage))])
        for precision in ("bfloat16", "float32")
    )
    assert not np.array_equal(ours, theirs)
    # Of bfloat16's 8 bits one is lost in each product, and 30 steps add up.
    np.testing.assert_allclose(ours, theirs, rtol=0.05)


def test_zeros_stay_and_weights_are_float32(runs):
    masks = load_masks(stage_folder(runs["bfloat16"], "prune") / "masks.npz")
    weights = read_weights(stage_folder(runs["bfloat16"], "transfer") / "model")
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    for name, mask in masks.items():
        kernel = weights[f"{name}/kernel"]
        assert np.array_equal(kernel != 0, mask), name
        # Nor are they bfloat16 by value, which has 16 zeros at its end.
        assert (kernel[mask].view(np.uint32) & 0xFFFF).any(), name


def test_scores_are_those_of_the_saved_weights_in_float32(inputs, runs):
    loaded = recipe_from_dict(recipe(inputs, model={"dropout": 0.0}), name="test")
    folder = stage_folder(runs["bfloat16"], "transfer")
    told = read_json(folder / "result.json")["figures"]
    trained = StageResult("transfer", "transfer", folder, "", told, 0.0)
    context = Context("again", folder, loaded, {"transfer": trained}, RecipeInputs(loaded))
    job = TrainingJob(loaded.stages["transfer"], context)
    scores = job.objective.scores(job.load("transfer", is_trained=False))
    assert scores and {name: told[name] for name in scores} == scores


def test_int8_is_not_emulated_in_it(inputs, tmp_path):
    with pytest.raises(UserError, match="INT8 is emulated in float32"):
        recipe_from_dict(recipe(inputs, quantize={"precision": "bfloat16"}), name="test")
    data = recipe(inputs, teacher={"precision": "float16"}, **only("teacher"))
    code, output = run(data, tmp_path / "run")
    assert code == 1 and "teacher.precision" in output and "bfloat16" in output
