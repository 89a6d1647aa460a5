import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import small_runs
from small_runs import BERT, TOKENIZER, only, recipe

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.other_models import load_other_model
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.stage_digest import stage_digest_of
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification, parameters
from tf_prune_ofa.recipe import recipe_from_dict

LARGER = replace(BERT, hidden_size=24, num_layers=2)
LOGITS = LossSettings(hard=0.0, soft=1.0)


def write_teacher(folder, inputs, config=LARGER, *, labels=("bad", "good"), vocabulary=None):
    model = bert.build_model(config, Classification(len(labels)), seed=5)
    vocabulary = vocabulary or inputs / "vocab.txt"
    huggingface.write_folder(
        folder, model, config, Classification(len(labels)), vocabulary,
        tokenizer=TOKENIZER, labels=labels,
    )  # fmt: skip
    return model


@pytest.fixture
def recipe_inputs(inputs):
    return RecipeInputs(recipe_from_dict(recipe(inputs), name="small"))


def job_of(inputs, teacher, folder, **settings):
    stage = {"kind": "finetune", "length": "2 epochs", "teacher": str(teacher),
             "loss": {"hard": 0.0, "soft": 1.0}, **settings}  # fmt: skip
    data = recipe(inputs, **only()) | {"stages": {"student": stage}}
    settings = recipe_from_dict(data, name="small")
    context = Context("student", folder, settings, {}, RecipeInputs(settings))
    return TrainingJob(settings.stages["student"], context)


def test_a_larger_teacher_s_logits_are_cached(inputs, tmp_path):
    teacher = write_teacher(tmp_path / "teacher", inputs)
    job = job_of(inputs, tmp_path / "teacher", tmp_path)
    logits = job._teacher_logits()
    assert (tmp_path / "teacher_logits.npz").exists()
    np.testing.assert_allclose(logits, job.objective.predict_train(teacher), atol=1e-6)


def test_within_one_epoch_logits_are_not_computed_ahead(inputs, tmp_path):
    write_teacher(tmp_path / "teacher", inputs)
    job = job_of(inputs, tmp_path / "teacher", tmp_path, length="1 epoch")
    assert job._teacher_logits() is None
    assert job.distiller(job.load("model"))._teacher is not None


def test_a_distilbert_learns_from_a_bert(tmp_path):
    config = replace(BERT, architecture="distilbert")
    inputs = small_runs.write_inputs(tmp_path, config)
    write_teacher(tmp_path / "teacher", inputs)
    job = job_of(inputs, tmp_path / "teacher", tmp_path, length="1 epoch")
    batch, targets = job.batch(0, None)
    assert "input_type_ids" in batch
    student = job.load("model")
    distiller = job.distiller(student)
    terms = distiller.loss_terms(batch, targets, distiller(batch))
    assert float(terms["loss_soft"]) > 0
    assert job.objective.predict(student, job.recipe_inputs.dev).shape == (30, 2)


def test_inner_layers_need_equal_sizes(inputs, recipe_inputs, tmp_path):
    write_teacher(tmp_path / "teacher", inputs)
    for term, field in (("hidden", "num_layers"), ("attention", "num_layers"),
                        ("layerwise", "hidden_size")):  # fmt: skip
        with pytest.raises(UserError, match=f"loss.{term} compares models of equal {field}"):
            load_other_model(
                str(tmp_path / "teacher"),
                Classification(2),
                recipe_inputs,
                LossSettings(**{term: 1.0}),
            )


def test_layers_are_matched_to_those_of_a_deeper_teacher(inputs, tmp_path):
    write_teacher(tmp_path / "teacher", inputs, replace(BERT, num_layers=3))
    loss = {"hard": 0.0, "layerwise": 1.0, "teacher_layers": [2]}
    job = job_of(inputs, tmp_path / "teacher", tmp_path, loss=loss)
    distiller = job.distiller(job.load("model"))
    batch, targets = job.batch(0, None)
    terms = distiller.loss_terms(batch, targets, distiller(batch))
    assert set(terms) == {"loss_layerwise"} and float(terms["loss_layerwise"]) > 0
    for layers, message in (([4], "it has 3"), ([1, 2], "the student has only 1")):
        job = job_of(
            inputs, tmp_path / "teacher", tmp_path, loss={**loss, "teacher_layers": layers}
        )
        with pytest.raises(UserError, match=message):
            job.distiller(job.load("model"))


def test_outputs_are_put_into_the_task_s_order(inputs, recipe_inputs, tmp_path):
    teacher = write_teacher(tmp_path / "teacher", inputs, labels=("Good", "Bad"))
    loaded = load_other_model(str(tmp_path / "teacher"), Classification(2), recipe_inputs, LOGITS)
    expected = parameters(teacher)["classifier/kernel"].numpy()
    np.testing.assert_array_equal(parameters(loaded)["classifier/kernel"], expected[:, ::-1])


def test_outputs_of_other_names_are_refused(inputs, recipe_inputs, tmp_path):
    write_teacher(tmp_path / "teacher", inputs, labels=("spam", "ham"))
    with pytest.raises(UserError, match="tells spam, ham apart, the task's labels are bad, good"):
        load_other_model(str(tmp_path / "teacher"), Classification(2), recipe_inputs, LOGITS)


def test_a_teacher_that_does_not_fit(inputs, recipe_inputs, tmp_path):
    lines = (inputs / "vocab.txt").read_text().splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    write_teacher(tmp_path / "other", inputs, vocabulary=tmp_path / "vocab.txt")
    with pytest.raises(UserError, match="another vocabulary"):
        load_other_model(str(tmp_path / "other"), Classification(2), recipe_inputs, LOGITS)
    write_teacher(tmp_path / "three", inputs, labels=("a", "b", "c"))
    with pytest.raises(UserError, match=r"shape: classifier.*"):
        load_other_model(str(tmp_path / "three"), Classification(2), recipe_inputs, LOGITS)
    with pytest.raises(UserError, match="missing: mlm/"):
        load_other_model(str(inputs / "encoder"), bert.MaskedLM(), recipe_inputs, LOGITS)


def test_a_changed_teacher_is_another_stage(inputs, tmp_path):
    write_teacher(tmp_path / "teacher", inputs)
    digests = []
    for _ in range(2):
        job = job_of(inputs, tmp_path / "teacher", tmp_path)
        digests.append(stage_digest_of(job.settings, job.recipe_inputs, {}))
        write_teacher(tmp_path / "teacher", inputs, replace(LARGER, num_layers=1))
    assert digests[0] != digests[1]


@pytest.mark.parametrize("weights", ["random", "encoder"])
@pytest.mark.parametrize("name", ["tokenizer_config", "tokenizer", "special_tokens_map"])
def test_whatever_the_tokenizer_reads_makes_another_stage(inputs, tmp_path, name, weights):
    folder = shutil.copytree(inputs / "encoder", tmp_path / "encoder")
    changes = only("task_teacher")
    model = {"weights": str(folder)}
    if weights == "random":
        model = {"weights": "random", "vocabulary": str(folder), "sizes": small_runs.SIZES}

    def digest():
        settings = recipe_from_dict(recipe(inputs, model=model, **changes), name="small")
        return RecipeInputs(settings).digest

    path = folder / f"{name}.json"
    before = digest()
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, "more": 1, "config": {"lowercase": False}}))
    changed = digest()
    assert changed != before
    path.write_text(json.dumps({**content, "more": 2, "config": {"lowercase": False}}))
    assert digest() != changed
