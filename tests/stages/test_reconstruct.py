"""Pruning without training: pattern, weights, and what the stages after it make of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_runs import (
    BERT,
    BeforeRename,
    only,
    recipe,
    results,
    run,
    run_well,
    stage_folder,
    start,
    write_inputs,
)

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.plan_units import train_settings
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.results import load_result
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.tensor_names import head_of
from tf_prune_ofa.pruning import layerwise
from tf_prune_ofa.pruning.lock import load_masks
from tf_prune_ofa.pruning.reconstruction import Moments
from tf_prune_ofa.recipe import load_recipe, recipe_from_dict
from tf_prune_ofa.stages import reconstruct
from tf_prune_ofa.tiny import shrink

SETTINGS = {"kind": "reconstruct", "examples": 40, "batch_size": 8}
LAYERS = {
    f"encoder_00/{name}"
    for _, names in layerwise.POINTS
    for name in names
}  # fmt: skip


def reconstruction(inputs, **changes):
    """General text once, then a task's teacher, the pattern taken over, and a task pruned alone."""
    data = recipe(inputs, **only("task_teacher", "transfer"))
    stages = {
        "prune": {**SETTINGS, "objective": "mlm", "rules": {"encoder_.*": 0.75}},
        "task_teacher": data["stages"]["task_teacher"],
        "take_over": {**SETTINGS, "start": "task_teacher", "pattern_of": "prune"},
        "alone": {**SETTINGS, "start": "task_teacher", "rules": {"encoder_.*": 0.5}},
        "transfer": {**data["stages"]["transfer"], "start": "take_over", "head": "teacher"},
    }
    for name, change in changes.items():
        stages[name] = {**stages[name], **change}
    return {**data, "stages": stages}


@pytest.fixture(scope="module")
def reconstructed(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reconstructed")
    results = run_well(reconstruction(inputs), folder)
    return folder, results


def weights_of(folder, name):
    return huggingface.read_weights(stage_folder(folder, name) / "model")


def result_of(folder, name):
    folder = stage_folder(folder, name)
    return load_result(folder, json.loads((folder / "result.json").read_text())["digest"])


def masks_of(folder, name):
    return load_masks(stage_folder(folder, name) / "masks.npz")


@pytest.mark.parametrize(("stage", "sparsity"), [("prune", 0.75), ("alone", 0.5)])
def test_every_layer_has_its_sparsity(reconstructed, stage, sparsity):
    folder, results = reconstructed
    masks, weights = masks_of(folder, stage), weights_of(folder, stage)
    assert set(masks) == LAYERS
    for name, mask in masks.items():
        assert np.count_nonzero(~mask) == round(sparsity * mask.size), name
        assert np.all(weights[f"{name}/kernel"][~mask] == 0)
    figures = results[stage]["figures"]
    assert figures["sparsity"] == pytest.approx(sparsity) and figures["examples"] == 40
    assert set(figures["reconstruction_errors"]) == LAYERS
    assert all(0 <= error < 1 for error in figures["reconstruction_errors"].values())


def test_a_pattern_that_is_taken_over_is_the_same_with_other_weights(reconstructed):
    folder, results = reconstructed
    once, taken = masks_of(folder, "prune"), masks_of(folder, "take_over")
    assert set(once) == set(taken)
    assert all(np.array_equal(once[name], taken[name]) for name in once)
    for name, mask in once.items():
        before, after = (weights_of(folder, s)[f"{name}/kernel"] for s in ("prune", "take_over"))
        assert np.any(before != after) and np.all(after[~mask] == 0)
    # The stage after it finds the pattern, and keeps it.
    final = weights_of(folder, "transfer")
    assert all(np.all(final[f"{name}/kernel"][~mask] == 0) for name, mask in taken.items())
    assert results["transfer"]["figures"]["sparsity"] == pytest.approx(0.75)


def test_weights_that_were_trained_sparse_are_where_it_begins(inputs, tmp_path):
    """Held fast, they move by what training changed in the dense model, where a weight is kept."""
    held = {"held_at": "pattern_of", "damping": 1000.0}
    data = reconstruction(inputs, take_over=held)
    del data["stages"]["alone"], data["stages"]["transfer"]
    run_well(data, tmp_path / "run")
    before = huggingface.read_weights(inputs / "encoder")
    trained, taught, taken = (
        weights_of(tmp_path / "run", name) for name in ("prune", "task_teacher", "take_over")
    )
    masks = masks_of(tmp_path / "run", "prune")
    for name, value in taken.items():
        layer, _, part = name.rpartition("/")
        wanted = taught[name]
        if name.startswith("encoder_"):
            wanted = trained[name] + taught[name] - before[name]
        if part == "kernel" and layer in masks:
            wanted = wanted * masks[layer]
        if not (part == "bias" and layer in masks):  # a bias is held nowhere
            np.testing.assert_allclose(value, wanted, atol=2e-3, err_msg=name)
    assert any(np.any(taught[name] != before[name]) for name in before if "kernel" in name)


def test_held_at_a_pattern_that_is_not_named_is_refused(inputs):
    with pytest.raises(UserError, match="alone.held_at is 'pattern_of', but alone.pattern_of"):
        recipe_from_dict(reconstruction(inputs, alone={"held_at": "pattern_of"}), name="small")


def test_all_but_the_pruned_layers_are_the_dense_model_s(reconstructed):
    folder, _ = reconstructed
    dense, sparse = weights_of(folder, "task_teacher"), weights_of(folder, "alone")
    assert set(sparse) == set(dense)
    for name, value in dense.items():
        if name.rpartition("/")[0] not in LAYERS:
            np.testing.assert_array_equal(sparse[name], value, err_msg=name)


def test_a_task_s_head_is_kept_and_judged_and_none_is_made_up(reconstructed):
    folder, results = reconstructed
    assert {head_of(name) for name in weights_of(folder, "alone")} == {None, "pooler", "classifier"}
    assert {head_of(name) for name in weights_of(folder, "prune")} == {None, "pooler"}
    assert 0 <= results["alone"]["figures"]["accuracy"] <= 1
    assert "main_metric" not in results["prune"]["figures"]


def test_few_zeros_change_little(inputs, tmp_path):
    """What is pruned is made good by what is left: the same answers at 30 %."""
    data = recipe(inputs, **only("task_teacher"))
    stages = {
        "task_teacher": data["stages"]["task_teacher"],
        "prune": {**SETTINGS, "start": "task_teacher", "rules": {"encoder_.*": 0.3}},
    }
    results = run_well({**data, "stages": stages}, tmp_path / "run")
    figures = results["prune"]["figures"]
    assert max(figures["reconstruction_errors"].values()) < 0.05
    assert abs(figures["accuracy"] - results["task_teacher"]["figures"]["accuracy"]) < 0.1


@pytest.mark.parametrize(("pattern", "sparsity"), [("2:4", 0.5), ("4x4", 0.75), ("1x4", 0.75)])
def test_patterns(inputs, tmp_path, pattern, sparsity):
    data = recipe(inputs, **only())
    rules = {"encoder_.*": {"sparsity": sparsity, "pattern": pattern}}
    data["stages"] = {"prune": {**SETTINGS, "objective": "mlm", "rules": rules}}
    run_well(data, tmp_path / "run")
    for mask in masks_of(tmp_path / "run", "prune").values():
        kept = mask.T  # [out, in]
        if pattern == "2:4":
            assert np.all(kept.reshape(len(kept), -1, 4).sum(-1) == 2)
        else:
            rows, columns = (int(n) for n in pattern.split("x"))
            blocks = kept.reshape(len(kept) // rows, rows, -1, columns).sum((1, 3))
            assert set(np.unique(blocks)) == {0, rows * columns}
            assert np.mean(blocks == 0) == pytest.approx(sparsity, abs=0.5 / blocks.size)


def test_inputs_of_layers_are_those_inside_the_whole_model(inputs):
    """Computed here from the model's inputs in one go; there, layer by layer on hidden states."""
    settings = recipe_from_dict(reconstruction(inputs), name="small")
    context = Context("prune", inputs, settings, {}, RecipeInputs(settings))
    job = reconstruct._Job(settings.stages["prune"], context)
    dense, sparse = (job.load("model", is_trained=False) for _ in range(2))
    for kernel in bert.dense_kernels(sparse).values():
        kernel.assign(kernel * 0.9)
    batches = job.calibration_inputs(3)
    layered = layerwise.Inputs(dense, sparse, batches)
    for point, _ in layerwise.POINTS:
        moments = layered.moments(f"encoder_00/{point}")
        expected = Moments(len(moments.sparse) - 1)
        parts = [
            keras.Model(model.input, model.get_layer(f"encoder_00/{point}").output)
            for model in (sparse, dense)
        ]
        for batch in batches:
            known = {name: batch[name] for name in dense.input_names}
            is_token = batch["input_mask"] > 0
            expected.add(*(part(known).numpy()[is_token] for part in parts))
        assert moments.tokens == expected.tokens == sum(b["input_mask"].sum() for b in batches)
        for name in ("sparse", "cross", "dense"):
            ours, theirs = getattr(moments, name), getattr(expected, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["task", "mlm"])
def test_layers_share_a_sparsity_by_what_their_weights_do_to_the_loss(inputs, tmp_path, objective):
    """With scope "global"; the gradients are taken here from a loss that is written out anew."""
    data = recipe(inputs, **only("teacher", "task_teacher"))
    dense = {"task": "task_teacher", "mlm": "teacher"}[objective]
    settings = {**SETTINGS, "start": dense, "objective": objective, "scope": "global"}
    stages = {dense: data["stages"][dense], "prune": {**settings, "rules": {"enc.*": 0.75}}}
    figures = run_well({**data, "stages": stages}, tmp_path / "run")["prune"]["figures"]
    masks = masks_of(tmp_path / "run", "prune")
    weights = sum(mask.size for mask in masks.values())
    assert figures["pruned_weights"] == round(0.75 * weights)

    settings = recipe_from_dict({**data, "stages": stages}, name="small")
    context = Context(
        "prune",
        tmp_path,
        settings,
        {dense: result_of(tmp_path / "run", dense)},
        RecipeInputs(settings),
    )
    job = TrainingJob(train_settings(settings.stages["prune"]), context)
    model = job.load(dense, is_trained=False)
    kernels = {name: bert.dense_kernels(model)[name] for name in masks}
    squares = {name: 0.0 for name in masks}
    for step in range(5):
        batch, targets = job.batch(step)
        with tf.GradientTape() as tape:
            outputs = model({name: batch[name] for name in model.input_names})
            if objective == "task":
                labels, logits = targets["labels"], outputs["logits"]
                shares = np.full(labels.shape, 1 / labels.size, np.float32)
            else:
                labels, logits = targets["mlm_labels"], outputs["mlm_logits"]
                shares = targets["mlm_weights"] / targets["mlm_weights"].sum()
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses * shares)
        for name, gradient in tape.gradient(loss, kernels).items():
            squares[name] += gradient.numpy().astype(np.float64) ** 2
    scores = {name: kernel.numpy() ** 2 * squares[name] for name, kernel in kernels.items()}
    threshold = np.sort(np.concatenate([s.ravel() for s in scores.values()]))[3 * weights // 4]
    expected = {name: float(np.mean(score < threshold)) for name, score in scores.items()}
    # No layer goes as a whole.
    assert max(figures["layers"].values()) < 1
    assert figures["layers"] == pytest.approx(expected, abs=3 / 16**2)
    assert max(expected.values()) - min(expected.values()) > 0.1


@pytest.mark.parametrize("changes", [{}, {"scope": "global"}])
def test_what_someone_has_fine_tuned_is_pruned_in_one_shot(
    reconstructed, inputs, tmp_path, changes
):
    """From "model": the first thing that who has a classifier tries."""
    folder, results = reconstructed
    tuned = stage_folder(folder, "task_teacher") / "model"
    data = reconstruction(inputs, alone={"start": "model", **changes})
    data = {**data, "model": {"weights": str(tuned)}, "stages": {"alone": data["stages"]["alone"]}}
    code, output = run(data, tmp_path / "run")
    assert code == 0, output
    model = stage_folder(tmp_path / "run", "alone") / "model"
    if not changes:
        # Bit for bit what a stage's model comes to.
        other = stage_folder(folder, "alone") / "model"
        for name in ("model.safetensors", "config.json"):
            assert (model / name).read_bytes() == (other / name).read_bytes()
    figures = json.loads((model.parent / "result.json").read_text())["figures"]
    assert figures["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert figures["accuracy"] > 0.8 * results["task_teacher"]["figures"]["accuracy"]
    assert huggingface.read_labels(model) == ("bad", "good")


def test_an_encoder_alone_is_pruned_on_a_task_s_texts(inputs, tmp_path):
    data = reconstruction(inputs, alone={"start": "model"})
    data["stages"] = {"alone": data["stages"]["alone"]}
    figures = run_well(data, tmp_path / "run")["alone"]["figures"]
    assert figures["sparsity"] == pytest.approx(0.5) and "main_metric" not in figures
    weights = weights_of(tmp_path / "run", "alone")
    assert {head_of(name) for name in weights} == {None, "pooler"}
    data["stages"]["alone"]["scope"] = "global"
    code, output = run(data, tmp_path / "other")
    assert code == 1 and "have no such head as Classification(num_labels=2)" in output


def three_layers(folder):
    """A reconstruction of an encoder with three layers."""
    write_inputs(folder, replace(BERT, num_layers=3))
    data = recipe(folder, **only())
    return {**data, "stages": {"prune": {**SETTINGS, "objective": "mlm"}}}


def test_a_killed_run_goes_on_after_the_last_layer_that_was_done(tmp_path):
    data = three_layers(tmp_path)
    run_well(data, tmp_path / "whole")
    for layer in (1, 2):
        moment = BeforeRename("prune", f"checkpoint/encoder_{layer:02d}.npz")
        assert start(data, tmp_path / "killed", kill_at=moment).was_killed()
    first = next((tmp_path / "killed").glob("*/checkpoint/encoder_00.npz"))
    before = first.stat().st_mtime_ns
    moment = BeforeRename("prune", "result.json")
    assert start(data, tmp_path / "killed", kill_at=moment).was_killed()
    assert first.stat().st_mtime_ns == before
    run_well(data, tmp_path / "killed")
    whole, killed = (stage_folder(tmp_path / name, "prune") for name in ("whole", "killed"))
    for name in ("model/model.safetensors", "masks.npz"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    figures = [results(tmp_path / name)["prune"]["figures"] for name in ("whole", "killed")]
    assert figures[0] == figures[1]
    assert not (killed / "checkpoint").exists()


def test_a_killed_run_goes_on_with_the_sparsities_that_it_ranked(tmp_path):
    write_inputs(tmp_path, replace(BERT, num_layers=2))
    data = recipe(tmp_path, **only("task_teacher"))
    data["stages"]["task_teacher"]["length"] = "1 steps"
    data["stages"]["prune"] = {**SETTINGS, "start": "task_teacher", "scope": "global"}
    _, output = run(data, tmp_path / "whole")
    assert "prune: ranking" in output
    moment = BeforeRename("prune", "checkpoint/encoder_00.npz")
    assert start(data, tmp_path / "killed", kill_at=moment).was_killed()
    code, output = run(data, tmp_path / "killed")
    assert code == 0 and "prune: ranking" not in output
    figures = [results(tmp_path / name)["prune"]["figures"] for name in ("whole", "killed")]
    assert figures[0]["layers"] == figures[1]["layers"]


def test_a_damaged_file_of_a_layer_is_refused(tmp_path):
    data = three_layers(tmp_path)
    moment = BeforeRename("prune", "checkpoint/encoder_01.npz")
    assert start(data, tmp_path / "run", kill_at=moment).was_killed()
    [path] = (tmp_path / "run").glob("*/checkpoint/encoder_00.npz")
    path.write_bytes(path.read_bytes()[:-40])
    code, output = run(data, tmp_path / "run")
    assert code == 1 and "encoder_00.npz is damaged" in output and "delete it" in output


def test_a_pattern_of_a_plugin_and_another_one_of_the_same_name(inputs, tmp_path):
    """A stage runs again when the plugin's file changes, and only then."""
    plugin = tmp_path / "mine.py"
    text = (
        "import numpy as np\n"
        "from tf_prune_ofa.pruning.patterns import register_pattern\n"
        "register_pattern('mine', lambda outputs, inputs: "
        "np.arange(outputs)[:, None] // {} + np.zeros((1, inputs), int))\n"
    )
    data = recipe(inputs, **only())
    data["stages"] = {"prune": {**SETTINGS, "objective": "mlm", "pattern": "mine",
                                "plugins": [str(plugin)], "rules": {".*/query": 0.5}}}  # fmt: skip
    for outputs, folders in ((1, 1), (4, 2), (4, 2)):
        plugin.write_text(text.format(outputs))
        code, output = run(data, tmp_path / "run")
        assert code == 0, output
        found = {path.parent for path in (tmp_path / "run").glob("*_prune-*/result.json")}
        assert len(found) == folders
    seen = set()
    for folder in found:
        [mask] = load_masks(folder / "masks.npz").values()
        assert mask.mean() == 0.5 and np.all(mask.all(0) | ~mask.any(0))
        seen.add(bool(np.all(np.diff(mask[0].reshape(-1, 4).astype(int)) == 0)))
    assert seen == {False, True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"alone": {"pattern": "heads", "rules": {"encoder_.*/attention/.*": 0.5}}},
            "a reconstruction prunes one layer at a time",
        ),
        ({"alone": {"rules": {"pooler": 0.5}}}, "layers of the encoder only, not pooler"),
        ({"alone": {"rules": {"encoder_9.*": 0.5}}}, "matches no layer"),
        ({"take_over": {"pattern_of": "task_teacher"}}, "which is not sparse"),
        ({"prune": {"scope": "global"}}, "prune.start was not trained on them"),
    ],
)
def test_mistakes(inputs, tmp_path, changes, message):
    data = reconstruction(inputs, **changes)
    [stage] = changes
    wanted = ["task_teacher", stage]
    data["stages"] = {name: data["stages"][name] for name in wanted}
    data["stages"]["task_teacher"]["length"] = "1 steps"
    code, output = run(data, tmp_path / "run")
    assert code == 1 and message in output and "Traceback" not in output
    folder = stage_folder(tmp_path / "run", stage)
    assert folder is None or not (folder / "model").exists()


def test_a_pattern_of_an_unknown_stage_is_refused(inputs):
    with pytest.raises(UserError, match="take_over.pattern_of refers to 'prun'"):
        recipe_from_dict(reconstruction(inputs, take_over={"pattern_of": "prun"}), name="small")


@pytest.mark.parametrize("key", ["rules", "pattern", "scope", "rounds"])
def test_settings_of_a_pattern_beside_the_pattern_of_a_stage_are_refused(inputs, key):
    value = {"rules": {"encoder_.*": 0.5}, "pattern": "1x4", "scope": "global", "rounds": 2}[key]
    data = reconstruction(inputs, take_over={key: value})
    with pytest.raises(UserError, match=f"take_over.{key} is for .* leave one of them out"):
        recipe_from_dict(data, name="small")


def test_the_recipes_shrink(tmp_path):
    for name in ("reconstruct_minilm", "prune_ofa_reconstruct_minilm"):
        small = shrink(load_recipe(name)).stages["prune"]
        assert small.examples == 32 and small.kind == "reconstruct"
        assert json.dumps(small.rules) == '{"encoder_.*": 0.9}'
