from dataclasses import replace

import numpy as np
import pytest
from small_models import ENCODER, TASK, compiled, dataset, encoder, inputs, labels, values

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill import losses
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Distiller, Target
from tf_prune_ofa.distill.target_losses import VALUE
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import Classification, MaskedLM, SpanQA

BOTH = LossSettings(hard=0.3, soft=0.7, temperature=2.0)
SOFT = LossSettings(hard=0.0, soft=1.0, temperature=2.0)


@pytest.fixture(scope="module")
def teacher():
    return encoder(seed=7)


def terms_of(distiller, batch, targets):
    outputs = distiller.student(batch, training=True)
    return distiller.loss_terms(batch, targets, outputs)


def test_loss_is_the_weighted_sum_of_its_terms(teacher):
    student = encoder()
    distiller = compiled(Distiller(student, TASK, BOTH, teacher=teacher))
    batch, targets = inputs(), labels()
    student_logits, teacher_logits = student(batch)["logits"], teacher(batch)["logits"]
    hard = losses.hard_loss(student_logits, targets["labels"])
    soft = losses.soft_loss(student_logits, teacher_logits, 2.0)
    logged = distiller.train_step((batch, targets))
    assert set(logged) == {"loss", "loss_hard", "loss_soft"}
    # The same sums in the same float32.
    assert float(logged["loss_hard"]) == pytest.approx(float(hard), rel=1e-6)
    assert float(logged["loss_soft"]) == pytest.approx(float(soft), rel=1e-6)
    assert float(logged["loss"]) == pytest.approx(0.3 * float(hard) + 0.7 * float(soft), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (LossSettings(), {"loss_hard"}),
        (SOFT, {"loss_soft"}),
        (LossSettings(hard=0, soft=0, hidden=1.0), {"loss_hidden"}),
        (LossSettings(hard=0, soft=1, attention=1.0), {"loss_soft", "loss_attention"}),
        (LossSettings(hard=0, squarehead=1.0), {"loss_squarehead"}),
        (LossSettings(hard=0, channels=1.0), {"loss_channels"}),
        (LossSettings(hard=0, layerwise=1.0, teacher_layers=(1,)), {"loss_layerwise"}),
    ],
)
def test_only_terms_with_a_weight_are_computed(loss, names):
    options = {
        "hidden_states": loss.needs_hidden_states,
        "attention_scores": loss.attention > 0,
    }
    distiller = Distiller(encoder(**options), TASK, loss, teacher=encoder(seed=7, **options))
    terms = terms_of(distiller, inputs(), labels())
    assert set(terms) == names and all(float(term) > 0 for term in terms.values())


def test_a_student_equal_to_its_teacher_has_nothing_to_learn():
    options = {"hidden_states": True, "attention_scores": True}
    student, teacher = encoder(**options), encoder(**options)
    loss = LossSettings(hard=0.0, soft=1.0, hidden=1.0, attention=1.0, layerwise=1.0)
    terms = terms_of(Distiller(student, TASK, loss, teacher=teacher), inputs(), labels())
    assert [float(term) for term in terms.values()] == [0, 0, 0, 0]


def test_a_step_learns_from_the_teacher_and_leaves_it_alone(teacher):
    student = encoder()
    before, teacher_before = values(student), values(teacher)
    distiller = compiled(Distiller(student, TASK, SOFT, teacher=teacher), rate=1e-3)
    batch, targets = inputs(), labels()
    history = [float(distiller.train_step((batch, targets))["loss"]) for _ in range(8)]
    assert history[-1] < 0.8 * history[0]
    for name, value in values(teacher).items():
        np.testing.assert_array_equal(value, teacher_before[name])
    assert all(np.any(value != before[name]) for name, value in values(student).items())


def test_the_teacher_is_neither_trained_nor_saved(teacher, tmp_path):
    alone, taught = encoder(), encoder()
    distiller = compiled(Distiller(taught, TASK, SOFT, teacher=teacher))
    distiller.train_step((inputs(), labels()))
    assert len(distiller.weights) - len(distiller.optimizer.variables) <= len(taught.weights)
    assert {v.ref() for v in distiller.trained_variables} == {
        v.ref() for v in taught.trainable_variables
    }
    sizes = []
    for name, model in (("alone", alone), ("student", taught), ("distiller", distiller)):
        # Keras 2 names weights of nested models by layer; HDF5 holds all that it would save.
        path = tmp_path / f"{name}.weights.h5"
        model.save_weights(path)
        sizes.append(path.stat().st_size)
    one_more_model = sum(v.numpy().nbytes for v in teacher.weights)
    assert sizes[0] == sizes[1]
    # The distiller adds optimizer state to its file, two moments, but no third model.
    checkpoint = tf.train.Checkpoint(student=taught).save(str(tmp_path / "checkpoint"))
    stored = dict(tf.train.list_variables(checkpoint))
    numbers = sum(int(np.prod(shape)) for key, shape in stored.items() if key.startswith("student"))
    assert numbers * 4 == one_more_model  # the student's own, as large as the teacher
    assert not [key for key in stored if "teacher" in key]


def test_the_teacher_runs_without_dropout_and_the_student_with_it():
    config = replace(ENCODER, dropout=0.5, attention_dropout=0.5)
    noisy, calm = encoder(config=config, seed=7), encoder(seed=7)
    by_noisy, by_calm = (
        terms_of(Distiller(encoder(), TASK, SOFT, teacher=one), inputs(), labels())["loss_soft"]
        for one in (noisy, calm)
    )
    # Two graphs of the same arithmetic.
    assert float(by_noisy) == pytest.approx(float(by_calm), rel=1e-6)
    student = encoder(config=config)
    distiller = Distiller(student, TASK, SOFT, teacher=calm)
    first, second = (terms_of(distiller, inputs(), labels())["loss_soft"] for _ in range(2))
    assert float(first) != float(second)


def test_cached_logits_replace_the_teacher(teacher):
    batch, targets = inputs(), labels()
    live = terms_of(Distiller(encoder(), TASK, BOTH, teacher=teacher), batch, targets)
    cached = {**targets, TEACHER_PREFIX + "logits": teacher(batch)["logits"].numpy()}
    without = terms_of(Distiller(encoder(), TASK, BOTH, teacher=None), batch, cached)
    assert {k: float(v) for k, v in live.items()} == {k: float(v) for k, v in without.items()}

    class Untouchable:
        def __call__(self, *args, **kwargs):
            raise AssertionError("the teacher ran")

    terms_of(Distiller(encoder(), TASK, BOTH, teacher=Untouchable()), batch, cached)


def test_without_teacher_and_logits_there_is_no_distillation():
    with pytest.raises(ValueError, match="needs a teacher, or its cached logits"):
        terms_of(Distiller(encoder(), TASK, BOTH), inputs(), labels())


def test_regression_distils_the_value():
    student, teacher = (encoder(Classification(1), seed=seed) for seed in (0, 7))
    target = Target("logits", "labels", loss=VALUE)
    batch = inputs()
    scores = {"labels": np.array([0.5, 1.0, 2.0, 4.0], np.float32)}
    terms = terms_of(Distiller(student, (target,), BOTH, teacher=teacher), batch, scores)
    value, taught = (model(batch)["logits"].numpy()[:, 0] for model in (student, teacher))
    # Means of a few float32 squares.
    assert float(terms["loss_hard"]) == pytest.approx(
        np.mean((value - scores["labels"]) ** 2), rel=1e-5
    )
    assert float(terms["loss_soft"]) == pytest.approx(np.mean((value - taught) ** 2), rel=1e-5)


def test_a_regression_s_soft_term_may_be_that_of_labels():
    """SparseBERT on STS-B: inner layers from the teacher, the value from the labels."""
    student, teacher = (encoder(Classification(1), seed=seed) for seed in (0, 7))
    target = Target("logits", "labels", loss=VALUE)
    scores = {"labels": np.array([0.5, 1.0, 2.0, 4.0], np.float32)}
    loss = LossSettings(hard=0.0, soft=1.0, regression="labels")
    terms = terms_of(Distiller(student, (target,), loss, teacher=teacher), inputs(), scores)
    value = student(inputs())["logits"].numpy()[:, 0]
    assert set(terms) == {"loss_soft"}
    assert float(terms["loss_soft"]) == pytest.approx(
        np.mean((value - scores["labels"]) ** 2), rel=1e-5
    )


def test_an_answer_s_two_ends_share_the_loss():
    student, teacher = (encoder(SpanQA(), seed=seed) for seed in (0, 7))
    target = (
        Target("start_logits", "start", share=0.5, suffix="_start"),
        Target("end_logits", "end", share=0.5, suffix="_end"),
    )
    distiller = Distiller(student, target, BOTH, teacher=teacher)
    terms = terms_of(distiller, inputs(), {"start": labels(classes=8)["labels"]} | {
        "end": labels(classes=8, seed=1)["labels"]
    })  # fmt: skip
    assert len(terms) == 4
    hard = terms["loss_hard_start"] + terms["loss_hard_end"]
    soft = terms["loss_soft_start"] + terms["loss_soft_end"]
    expected = 0.5 * (0.3 * float(hard) + 0.7 * float(soft))
    assert float(distiller.total_loss(terms)) == pytest.approx(expected, rel=1e-6)


def test_masked_language_models_learn_labels_of_masked_and_logits_of_all_tokens():
    head = MaskedLM()
    student, teacher = encoder(head), encoder(head, seed=7)
    batch = inputs()
    rows, size = batch["input_mask"].shape
    batch["mlm_positions"] = np.tile(np.arange(size, dtype=np.int32), (rows, 1))
    hidden = np.zeros([rows, size], np.float32)
    hidden[:, 1] = 1
    targets = {
        "mlm_labels": labels(rows * size, classes=24)["labels"].reshape(rows, size),
        "mlm_weights": hidden,
        "token_weights": batch["input_mask"].astype(np.float32),
    }
    target = Target("mlm_logits", "mlm_labels", "mlm_weights", "token_weights", suffix="_mlm")
    terms = terms_of(Distiller(student, (target,), BOTH, teacher=teacher), batch, targets)
    of_student, of_teacher = (model(batch)["mlm_logits"] for model in (student, teacher))
    expected = losses.hard_loss(of_student[:, 1], targets["mlm_labels"][:, 1])
    assert float(terms["loss_hard_mlm"]) == pytest.approx(float(expected), rel=1e-5)
    tokens = batch["input_mask"] == 1
    expected = losses.soft_loss(of_student[tokens], of_teacher[tokens], 2.0)
    assert float(terms["loss_soft_mlm"]) == pytest.approx(float(expected), rel=1e-5)


def test_frozen_variables_stay():
    student = encoder()
    before = values(student)

    def trainable(variable):
        return "embeddings" not in variable.name

    distiller = compiled(Distiller(student, TASK, LossSettings(), trainable=trainable))
    distiller.train_step((inputs(), labels()))
    for name, value in values(student).items():
        assert np.array_equal(value, before[name]) == name.startswith("embeddings"), name


@pytest.mark.parametrize("clip_norm", [0.0, 0.1, 1e6])
def test_gradients_are_clipped_to_a_global_norm(clip_norm):
    student = encoder()
    before = values(student)
    distiller = Distiller(student, TASK, LossSettings(), clip_norm=clip_norm)
    distiller.compile(optimizer=keras.optimizers.SGD(1.0))
    distiller.train_step((inputs(), labels()))
    squares = sum(np.sum((v - before[k]) ** 2) for k, v in values(student).items())
    if clip_norm == 0.1:
        # A step of SGD with rate 1 is the gradient; float32 subtraction costs some digits.
        assert np.sqrt(squares) == pytest.approx(0.1, rel=1e-3)
    else:
        assert np.sqrt(squares) > 0.2


def test_fit_predicts_with_the_student_and_saves_only_that(teacher):
    distiller = compiled(Distiller(encoder(), TASK, BOTH, teacher=teacher))
    history = distiller.fit(dataset(3), verbose=0).history
    assert set(history) == {"loss", "loss_hard", "loss_soft"}
    batch = inputs()
    np.testing.assert_array_equal(
        distiller(batch, training=False)["logits"], distiller.student(batch)["logits"]
    )
    with pytest.raises(NotImplementedError, match="save the student"):
        distiller.get_config()
