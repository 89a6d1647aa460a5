"""Questions on a text through all stages that a task goes through."""

import json
import random

import numpy as np
import pytest
import small_runs
from small_runs import metrics, results, stage_folder

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.squad import SpanSplit
from tf_prune_ofa.data.task_data import TaskData
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.pruning.lock import assert_zeros, load_masks
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.tasks.spans import Spans
from tf_prune_ofa.text.windows import find_answers
from tf_prune_ofa.train.evaluate import NOWHERE

SHORT = {"length": "8 steps", "batch_size": 8, "learning_rate": 1e-3}
TAUGHT = {"teacher": "task_teacher", "loss": {"hard": 0.5, "soft": 0.5}}


def write_questions(path, count, seed, *, unanswerable=False):
    """How is the film, the plot, the cast? With contexts of ten to fourteen words."""
    rng = random.Random(seed)
    paragraphs = []
    for number in range(count):
        subjects = rng.sample(["film", "plot", "cast"], 3)
        says = [f"the {subject} is {rng.choice(['bad', 'good', 'dull'])}" for subject in subjects]
        context = " , ".join(says) + " ."
        asked = subjects[number % 3]
        start = context.index(f"the {asked} is ") + len(f"the {asked} is ")
        answers = [{"text": context[start:].split()[0], "answer_start": start}]
        if unanswerable and number % 4 == 0:
            answers = []
        entry = {"id": str(number), "question": f"{asked} is", "answers": answers}
        paragraphs.append({"context": context, "qas": [entry]})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


def span_recipe(inputs):
    for side, count in (("train", 48), ("dev", 10)):
        write_questions(inputs / f"{side}.json", count, seed=len(side))
    task = {
        "source": "squad",
        "train": str(inputs / "train.json"),
        "dev": str(inputs / "dev.json"),
        # Two windows for a context: 15 - 2 - 3 tokens of ten to fourteen.
        "max_length": 15,
        "question_length": 3,
        "stride": 4,
    }
    stages = {
        "task_teacher": {**SHORT, "kind": "finetune"},
        "prune": {
            **SHORT,
            **TAUGHT,
            "start": "task_teacher",
            "length": "2 epochs",  # so that the teacher's logits are worth keeping
            "sparsity": {"frequency": 1},
        },
        "quantize": {**SHORT, **TAUGHT, "start": "prune", "calibration_batches": 2},
        "export": {
            "start": "quantize",
            "variants": ["float32", "dense_int8", "sparse_int8"],
            "sequence_length": 15,
        },
        "verify": {"start": "export", "examples": 4},
    }
    return {
        "seed": 1,
        "model": {"weights": str(inputs / "encoder")},
        "task": task,
        "stages": stages,
    }


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    folder = small_runs.write_inputs(tmp_path_factory.mktemp("span"))
    data = span_recipe(folder)
    small_runs.run_well(data, folder / "run")
    return data, folder / "run"


def job_of(data, name, folder, results=None):
    recipe = recipe_from_dict(data, name="span")
    context = Context(name, folder, recipe, results or {}, RecipeInputs(recipe))
    return TrainingJob(recipe.stages[name], context)


def test_every_stage_is_judged_by_answers(answered):
    found = results(answered[1])
    for name in ("task_teacher", "prune", "quantize"):
        figures = found[name]["figures"]
        assert figures["main_metric"] == "f1" and figures["dev_examples"] == 10
        assert 0 <= figures["exact_match"] <= figures["f1"] <= 1
        assert figures["train_examples"] > 48  # windows


def test_both_ends_are_half_of_the_loss(answered):
    for line in metrics(stage_folder(answered[1], "prune")):
        start, end = (
            0.5 * line[f"loss_hard_{at}"] + 0.5 * line[f"loss_soft_{at}"] for at in ("start", "end")
        )
        assert line["loss"] == pytest.approx((start + end) / 2, rel=1e-5)


def test_the_pattern_holds_and_the_head_is_kept(answered):
    masks = load_masks(stage_folder(answered[1], "prune") / "masks.npz")
    weights = huggingface.read_weights(stage_folder(answered[1], "quantize") / "model")
    assert_zeros({name: weights[f"{name}/kernel"] for name in masks}, masks, where="quantize")
    assert weights["span/kernel"].shape == (16, 2) and "span" not in masks


def test_figures_are_those_of_the_saved_model(answered, tmp_path):
    """Once more, a window at a time."""
    data, run_dir = answered
    job = job_of(data, "task_teacher", tmp_path)
    model = job.load("model", is_trained=False)
    huggingface.load_weights(model, stage_folder(run_dir, "task_teacher") / "model")
    windows = job.recipe_inputs.dev
    logits = np.full((len(windows), 2, 15), 99.0)  # beyond a window nothing counts
    for index in range(len(windows)):
        outputs = model(job.objective.inputs(windows, [index]))
        size = len(windows.tokens.ids[index])
        for row, end in enumerate(("start", "end")):
            logits[index, row, :size] = outputs[f"{end}_logits"][0, :size]
    figures = results(run_dir)["task_teacher"]["figures"]
    again = job.recipe_inputs.kind.score(logits, windows)
    assert again == {name: figures[name] for name in ("exact_match", "f1")}
    found = find_answers(windows, logits)
    right = [q.usual_answer.text for q in windows.questions]
    exact = np.mean([one.text == text for one, text in zip(found, right, strict=True)])
    assert again["exact_match"] == pytest.approx(exact)


def test_cached_teacher_logits_are_those_of_the_teacher(answered, tmp_path):
    data, run_dir = answered
    folder = stage_folder(run_dir, "task_teacher")
    taught = StageResult("task_teacher", "teacher", folder, "0", {}, 0.0, "model")
    job = job_of(data, "prune", tmp_path, {"task_teacher": taught})
    with np.load(stage_folder(run_dir, "prune") / "teacher_logits.npz") as file:
        cached = file["logits"]
    assert cached.shape == (len(job.recipe_inputs.train), 2, 15)
    inputs, targets = job.batch(1, cached)
    teacher = job.load("task_teacher", is_trained=False)
    live = teacher(inputs, training=False)
    is_token = inputs["input_mask"] > 0
    for end in ("start", "end"):
        taught_logits = targets[f"{TEACHER_PREFIX}{end}_logits"]
        assert taught_logits.shape == inputs["input_word_ids"].shape
        np.testing.assert_allclose(
            taught_logits[is_token], live[f"{end}_logits"].numpy()[is_token], rtol=0, atol=1e-5
        )


def test_targets_of_a_narrow_batch_by_hand():
    logits = np.array([[[1, 2, NOWHERE], [3, 4, NOWHERE]]], np.float32)
    split = SpanSplit([])
    kind = Spans(TaskData("t", (), split, split, kind="spans"), TaskSettings())
    targets = kind.batch_targets(np.array([[0, 1]], np.int32), logits, width=2)
    assert {name: value.tolist() for name, value in targets.items()} == {
        "start_labels": [0],
        "end_labels": [1],
        TEACHER_PREFIX + "start_logits": [[1, 2]],
        TEACHER_PREFIX + "end_logits": [[3, 4]],
    }


def test_files_answer_as_keras_does(answered):
    found = results(answered[1])["verify"]["figures"]
    for variant, entry in found.items():
        assert entry["examples"] == 4, variant
        assert 0 <= entry["exact_match"] <= entry["f1"] <= 1
        assert entry["answer_agreement"] == 1
    assert found["float32"]["max_logit_difference"] < 1e-4
    assert found["float32"]["f1"] == found["float32"]["keras_f1"]
    assert found["sparse_int8"]["equals_dense_int8"]


def test_questions_without_answers_are_judged_by_version_2(tmp_path):
    inputs = small_runs.write_inputs(tmp_path)
    data = span_recipe(inputs)
    write_questions(inputs / "dev.json", 12, seed=5, unanswerable=True)
    job = job_of(data, "task_teacher", tmp_path)
    windows = job.recipe_inputs.dev
    logits = np.zeros((len(windows), 2, 15), np.float32)
    for window, (row, ends) in enumerate(zip(logits, windows.labels, strict=True)):
        has_answer = bool(windows.questions[windows.question[window]].answers)
        row[[0, 1], ends] = 9.0
        if has_answer and not ends.any():
            row[:] = -9.0
    scores = job.recipe_inputs.kind.score(logits, windows)
    assert scores["exact_match"] == scores["f1"] == scores["f1_unanswerable"] == 1
    assert -18 <= scores["null_threshold"] < 18


def test_metrics_of_answers(tmp_path):
    data = span_recipe(small_runs.write_inputs(tmp_path))
    data["task"]["metrics"] = ["exact_match"]
    assert job_of(data, "task_teacher", tmp_path).recipe_inputs.kind.metrics == ("exact_match",)
    data["task"]["metrics"] = ["accuracy"]
    with pytest.raises(UserError, match="'accuracy'; answers are judged by f1, exact_match"):
        _ = job_of(data, "task_teacher", tmp_path).recipe_inputs.kind.metrics
