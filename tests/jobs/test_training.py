import numpy as np
import pytest
import small_runs
from small_runs import only, recipe, stage_folder

from tf_prune_ofa.distill.distiller import TEACHER_PREFIX
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.bert import Classification, MaskedLM, dense_kernels, parameters
from tf_prune_ofa.plain_values import digest
from tf_prune_ofa.pruning.lock import load_masks, save_masks
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.stages import transfer
from tf_prune_ofa.tasks.masked_words import MaskedWords, all_positions
from tf_prune_ofa.tasks.scores import accuracy


def context_of(data, name, folder, results=None):
    settings = recipe_from_dict(data, name="small")
    return Context(name, folder, settings, results or {}, RecipeInputs(settings))


def job_of(data, name, folder, results=None):
    context = context_of(data, name, folder, results)
    return TrainingJob(context.recipe.stages[name], context)


def results_of(run_dir, *names):
    starts = {"teacher": "model", "prune": "teacher", "task_teacher": "model", "transfer": "prune"}
    return {
        name: StageResult(
            name, name, stage_folder(run_dir, name), digest(name), {}, 0.0, starts[name]
        )
        for name in names
    }


@pytest.fixture
def task_job(inputs, tmp_path):
    return job_of(recipe(inputs), "task_teacher", tmp_path)


@pytest.fixture
def mlm_job(inputs, tmp_path):
    return job_of(recipe(inputs), "teacher", tmp_path)


# Data


def test_no_two_stages_see_the_same_order_of_examples(inputs, tmp_path):
    data = recipe(inputs)
    jobs = [job_of(data, name, tmp_path) for name in data["stages"]]
    assert len({job.seed for job in jobs}) == len(jobs)
    of_task = [job for job in jobs if not isinstance(job.objective, MaskedWords)]
    assert len({job.plan.indices(0).tobytes() for job in of_task}) == len(of_task)


def test_the_seed_changes_order_and_new_weights(inputs, tmp_path):
    first, second, same = (
        job_of(recipe(inputs, seed=seed), "task_teacher", tmp_path) for seed in (1, 2, 1)
    )
    assert not np.array_equal(first.plan.indices(0), second.plan.indices(0))
    assert np.array_equal(first.plan.indices(0), same.plan.indices(0))
    heads = [
        parameters(job.load("model"))["classifier/kernel"].numpy() for job in (first, second, same)
    ]
    assert np.any(heads[0] != heads[1]) and np.array_equal(heads[0], heads[2])


def test_lengths_and_shares_in_steps(inputs, tmp_path):
    job = job_of(recipe(inputs, teacher={"length": "2 epochs"}), "teacher", tmp_path)
    # 90 sentences of one window each, 8 a batch: 12 steps an epoch.
    assert job.plan.steps_per_epoch == 12 and job.total_steps == 24
    assert [job.steps(d) for d in ("50%", "1 epoch", 3)] == [12, 12, 3]
    assert job.schedule().rate(2) == pytest.approx(1e-3)  # 10 % are warm-up


def test_masked_batches_distil_masked_or_all_tokens(inputs, tmp_path):
    masked, full = (
        job_of(recipe(inputs, prune={"mlm_distil": which}), "prune", tmp_path)
        for which in ("masked", "all")
    )
    inputs_m, targets_m = masked.batch(0)
    inputs_f, targets_f = full.batch(0)
    np.testing.assert_array_equal(inputs_m["input_word_ids"], inputs_f["input_word_ids"])
    rows, size = inputs_f["input_word_ids"].shape
    assert inputs_f["mlm_positions"].tolist() == [list(range(size))] * rows
    np.testing.assert_array_equal(targets_f["token_weights"], inputs_f["input_mask"])
    assert set(targets_m) == {"mlm_labels", "mlm_weights"}
    # The same words are asked for at the same places.
    for row in range(rows):
        asked = targets_m["mlm_weights"][row] > 0
        places = inputs_m["mlm_positions"][row][asked]
        assert np.flatnonzero(targets_f["mlm_weights"][row]).tolist() == places.tolist()
        np.testing.assert_array_equal(
            targets_f["mlm_labels"][row][places], targets_m["mlm_labels"][row][asked]
        )


def test_all_positions_by_hand():
    batch = {
        "input_word_ids": np.array([[2, 4, 9, 3], [2, 4, 3, 0]], np.int32),
        "input_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32),
        "mlm_positions": np.array([[1, 2], [1, 0]], np.int32),
        "mlm_labels": np.array([[7, 9], [8, 0]], np.int32),
        "mlm_weights": np.array([[1, 1], [1, 0]], np.float32),
    }
    positions, targets = all_positions(batch)
    assert positions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert targets["mlm_labels"].tolist() == [[0, 7, 9, 0], [0, 8, 0, 0]]
    assert targets["mlm_weights"].tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert targets["token_weights"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_calibration_sees_the_first_batches(task_job, mlm_job):
    for job in (task_job, mlm_job):
        for step, batch in enumerate(job.calibration_inputs(2)):
            for name, value in job.batch(step, None)[0].items():
                np.testing.assert_array_equal(batch[name], value)


def test_a_sequence_longer_than_the_positions_is_refused(inputs, tmp_path):
    for weights in ({}, {"weights": "random", "vocabulary": str(inputs / "encoder")}):
        sizes = {"hidden_size": 4, "num_layers": 1, "num_heads": 1, "intermediate_size": 4}
        model = weights | ({"sizes": {**sizes, "max_positions": 16}} if weights else {})
        data = recipe(inputs, task={"max_length": 17}, model=model)
        with pytest.raises(UserError, match="max_length is 17, but .* only 16 positions"):
            job_of(data, "task_teacher", tmp_path).load("model")
        data = recipe(inputs, task={"max_length": 16}, model=model)
        job_of(data, "task_teacher", tmp_path).load("model")


# Models


def test_predictions_come_in_the_order_of_the_split(task_job):
    model = task_job.load("model", is_trained=False)
    split = task_job.recipe_inputs.train
    logits = task_job.objective.predict(model, split)
    assert logits.shape == (90, 2)
    for index in (0, 1, 45, 89):
        one = model(task_job.objective.inputs(split, [index]))["logits"][0]
        # Another amount of padding, and a graph against single operations.
        np.testing.assert_allclose(logits[index], one, rtol=0, atol=1e-6)


def test_heads_by_objective(task_job, mlm_job):
    assert task_job.head == Classification(2) and mlm_job.head == MaskedLM(nsp=False)
    assert set(task_job.load("model").output) == {"logits"}
    assert set(mlm_job.load("model").output) == {"mlm_logits"}


def test_cached_teacher_logits_are_those_of_the_teacher_itself(finished, inputs, tmp_path):
    data, run_dir = finished
    results = results_of(run_dir, "teacher", "prune", "task_teacher")
    job = job_of(data, "transfer", tmp_path, results)
    cached = job._teacher_logits()
    with np.load(stage_folder(run_dir, "transfer") / "teacher_logits.npz") as file:
        # This process uses other threads than the one that ran the stage.
        np.testing.assert_allclose(cached, file["logits"], rtol=0, atol=1e-5)
    teacher = job.load("task_teacher", is_trained=False)
    batch, targets = job.batch(3, cached)
    live = teacher(batch, training=False)["logits"]
    np.testing.assert_allclose(targets[TEACHER_PREFIX + "logits"], live, rtol=0, atol=1e-6)
    # And so are the losses, whichever way they come.
    distillers = (
        job.distiller(job.load("prune", is_trained=False)),
        job_of(
            recipe(inputs, transfer={"cache_teacher": False}), "transfer", tmp_path, results
        ).distiller(job.load("prune", is_trained=False)),
    )
    losses = [d.loss_terms(batch, targets, d.student(batch))["loss_soft"] for d in distillers]
    targets.pop(TEACHER_PREFIX + "logits")
    outputs = distillers[1].student(batch)
    losses.append(distillers[1].loss_terms(batch, targets, outputs)["loss_soft"])
    assert float(losses[1]) == pytest.approx(float(losses[0]), abs=1e-6)
    assert float(losses[2]) == pytest.approx(float(losses[0]), abs=1e-6)


def test_frozen_layers_are_not_trained(inputs, tmp_path):
    data = recipe(inputs, task_teacher={"frozen": ["embeddings/.*", "encoder_00/ffn/norm"]})
    job = job_of(data, "task_teacher", tmp_path)
    distiller = job.distiller(job.load("model"))
    trained = {variable.ref() for variable in distiller.trained_variables}
    frozen = {
        name
        for name, variable in parameters(distiller.student).items()
        if variable.ref() not in trained
    }
    assert frozen == {
        "embeddings/word/embeddings",
        "embeddings/position/embeddings",
        "embeddings/type/embeddings",
        "embeddings/norm/gamma",
        "embeddings/norm/beta",
        "encoder_00/ffn/norm/gamma",
        "encoder_00/ffn/norm/beta",
    }


def test_the_pooler_of_a_masked_language_model_is_its_start_s(finished, inputs, tmp_path):
    """It has no use for one, but hands on that of its start; not that of its teacher."""
    data, run_dir = finished
    results = results_of(run_dir, "teacher", "task_teacher")
    changed = recipe(inputs, prune={"start": "task_teacher"})
    # In the order of a recipe: the start must come before.
    stages = changed["stages"]
    order = ("teacher", "task_teacher", "prune")
    changed["stages"] = {name: stages[name] for name in order}
    job = job_of(changed, "prune", tmp_path, results)
    job.distiller(model := job.load("task_teacher"))
    folder = job.save(model)
    saved = huggingface.read_weights(folder)
    started, taught = (
        huggingface.read_weights(results[name].model_folder) for name in ("task_teacher", "teacher")
    )
    assert np.any(started["pooler/kernel"] != taught["pooler/kernel"])
    np.testing.assert_array_equal(saved["pooler/kernel"], started["pooler/kernel"])


@pytest.mark.parametrize("head", ["start", "teacher"])
def test_the_head_is_the_start_s_or_the_teacher_s(finished, inputs, tmp_path, head):
    _, run_dir = finished
    results = results_of(run_dir, "prune", "task_teacher")
    job = job_of(recipe(inputs, transfer={"head": head}), "transfer", tmp_path, results)
    found = {name: value.numpy() for name, value in parameters(job.load("prune")).items()}
    taught = huggingface.read_weights(results["task_teacher"].model_folder)
    started = huggingface.read_weights(results["prune"].model_folder)
    of_head = {"pooler/kernel", "pooler/bias", "classifier/kernel", "classifier/bias"}
    assert of_head < set(found)
    for name, value in found.items():
        is_taught = np.array_equal(value, taught[name])
        if name in of_head:
            assert is_taught == (head == "teacher"), name
        else:
            np.testing.assert_array_equal(value, started[name])


def test_quantization_takes_the_head_of_its_teacher_too(finished, inputs, tmp_path):
    """It loads its start as a model that is not trained; the setting counts all the same."""
    _, run_dir = finished
    results = results_of(run_dir, "transfer", "task_teacher")
    job = job_of(recipe(inputs, quantize={"head": "teacher"}), "quantize", tmp_path, results)
    found = parameters(job.load("transfer", is_trained=False))
    taught = huggingface.read_weights(results["task_teacher"].model_folder)
    np.testing.assert_array_equal(found["classifier/kernel"], taught["classifier/kernel"])


def test_a_head_of_a_teacher_from_elsewhere_is_refused(inputs, tmp_path):
    changes = {"head": "teacher", "teacher": str(inputs / "encoder"), "start": "model"}
    job = job_of(recipe(inputs, **only("transfer"), transfer=changes), "transfer", tmp_path)
    with pytest.raises(UserError, match="transfer.head is 'teacher', but transfer.teacher is"):
        job.load("model")


def test_a_new_regression_head_begins_at_the_mean_label(inputs, tmp_path):
    path = tmp_path / "scores.tsv"
    path.write_text("text\tlabel\n" + "the film is good\t4.5\nthe plot is dull\t1.0\n" * 5)
    task = {"train": str(path), "dev": str(path), "labels": []}
    job = job_of(recipe(inputs, task=task), "task_teacher", tmp_path)
    found = parameters(job.load("model"))
    assert found["classifier/bias"].numpy().tolist() == [2.75]
    assert np.any(found["classifier/kernel"].numpy() != 0)


# Figures


def test_figures_are_those_of_the_saved_model(finished, tmp_path):
    """Accuracy once more, an example at a time, from the folder."""
    data, run_dir = finished
    job = job_of(data, "task_teacher", tmp_path)
    model = job.load("model", is_trained=False)
    huggingface.load_weights(model, stage_folder(run_dir, "task_teacher") / "model")
    split = job.recipe_inputs.dev
    logits = np.concatenate([model(job.objective.inputs(split, [i]))["logits"] for i in range(30)])
    figures = small_runs.results(run_dir)["task_teacher"]["figures"]
    assert figures["dev_examples"] == 30 and figures["train_examples"] == 90
    assert figures["accuracy"] == accuracy(logits, split.labels)
    assert figures["main_metric"] == "accuracy"


def test_mlm_scores_count_masked_tokens_only(mlm_job):
    model = mlm_job.load("model", is_trained=False)
    figures = mlm_job.figures(model)
    examples = mlm_job.objective._dev
    losses, hits = [], []
    for index in range(len(examples.ids)):
        batch, targets = mlm_job.objective._masked(examples, [index], epoch=0)
        logits = model(batch)["mlm_logits"][0].numpy()
        for place in np.flatnonzero(targets["mlm_weights"][0]):
            label = targets["mlm_labels"][0, place]
            scores = logits[place] - logits[place].max()
            losses.append(np.log(np.exp(scores).sum()) - scores[label])
            hits.append(scores.argmax() == label)
    assert figures["dev_examples"] == 30
    assert figures["mlm_accuracy"] == pytest.approx(np.mean(hits))
    assert figures["mlm_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


# Masks of a foreign checkpoint


def test_masks_of_a_foreign_checkpoint_are_taken_once(inputs, tmp_path):
    data = recipe(inputs, **only("transfer"), transfer={"start": "model"})
    data["stages"]["transfer"] |= {"teacher": "", "loss": {"hard": 1.0}}
    context = context_of(data, "transfer", tmp_path)
    job = TrainingJob(context.recipe.stages["transfer"], context)
    student = job.load("model")
    kernel = dense_kernels(student)["encoder_00/ffn/output"]
    for one in dense_kernels(student).values():
        one.assign(np.where(np.arange(one.shape[1]) % 3, one, 0))
    first = transfer.locked_masks(job.settings, context, student)
    assert set(first) == set(dense_kernels(student))
    np.testing.assert_array_equal(first["encoder_00/ffn/output"], kernel.numpy() != 0)
    # A weight that training has brought to zero must not join them, nor one that has left.
    kernel.assign(tf.ones_like(kernel))
    again = transfer.locked_masks(job.settings, context, student)
    np.testing.assert_array_equal(again["encoder_00/ffn/output"], first["encoder_00/ffn/output"])


def test_masks_are_found_along_the_chain_of_starts(finished, tmp_path):
    data, run_dir = finished
    results = results_of(run_dir, "teacher", "prune", "task_teacher", "transfer")
    context = context_of(data, "quantize", tmp_path, results)
    expected = stage_folder(run_dir, "prune") / "masks.npz"
    assert context.masks_file("transfer") == context.masks_file("prune") == expected
    assert context.masks_file("task_teacher") is context.masks_file("model") is None


def test_masks_of_another_model_are_refused(finished, inputs, tmp_path):
    data, run_dir = finished
    masks = load_masks(stage_folder(run_dir, "prune") / "masks.npz")
    save_masks(tmp_path / "masks.npz", {"encoder_07/ffn/output": masks["encoder_00/ffn/output"]})
    settings = recipe(inputs, **only("transfer"), transfer={"start": "model"})
    settings["stages"]["transfer"] |= {"teacher": "", "loss": {"hard": 1.0}}
    context = context_of(settings, "transfer", tmp_path)
    with pytest.raises(UserError, match="encoder_07/ffn/output: no such layer"):
        transfer.run(context.recipe.stages["transfer"], context)
