"""Softmax over the positions of a sequence: the two ends of an answer."""

import numpy as np
import pytest
from small_models import encoder, inputs

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill import losses
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Distiller, Target
from tf_prune_ofa.models.bert import SpanQA

ENDS = tuple(
    Target(f"{end}_logits", f"{end}_labels", positions="input_mask", share=0.5, suffix=f"_{end}")
    for end in ("start", "end")
)


def test_padding_takes_no_part_in_the_softmax():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 2, (2, 3, 5)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0, 0]] * 3)
    labels = np.array([0, 2, 1])
    masked, taught = losses.only_at(student, mask), losses.only_at(teacher, mask)
    cut = student[:, :3], teacher[:, :3]
    hard = losses.hard_loss(masked, labels)
    assert float(hard) == pytest.approx(float(losses.hard_loss(cut[0], labels)))
    for temperature in (1.0, 4.0):
        soft = losses.soft_loss(masked, taught, temperature)
        assert float(soft) == pytest.approx(float(losses.soft_loss(*cut, temperature)), rel=1e-5)
    assert losses.only_at(student, None) is student


def span_targets(rows):
    rng = np.random.default_rng(1)
    return {f"{end}_labels": rng.integers(0, 3, rows, np.int32) for end in ("start", "end")}


def test_more_padding_does_not_change_the_loss():
    """Batches by length decide how much of it an example gets."""
    batch, targets = inputs(4, 8), span_targets(4)
    wide = {name: np.pad(value, ((0, 0), (0, 4))) for name, value in batch.items()}
    student, teacher = encoder(SpanQA(), seed=1), encoder(SpanQA(), seed=2)
    distiller = Distiller(student, ENDS, LossSettings(0.5, 0.5), teacher=teacher)
    narrow = distiller.loss_terms(batch, targets, student(batch))
    padded = distiller.loss_terms(wide, targets, student(wide))
    names = {f"loss_{kind}_{end}" for kind in ("hard", "soft") for end in ("start", "end")}
    assert set(narrow) == names
    for name in names:
        assert float(padded[name]) == pytest.approx(float(narrow[name]), rel=1e-4), name
    half = sum(0.5 * 0.5 * float(narrow[name]) for name in names)
    assert float(distiller.total_loss(narrow)) == pytest.approx(half, rel=1e-6)


def test_cached_logits_give_the_teacher_s_own_loss():
    batch, targets = inputs(4, 8), span_targets(4)
    student, teacher = encoder(SpanQA(), seed=1), encoder(SpanQA(), seed=2)
    live = Distiller(student, ENDS, LossSettings(0.0, 1.0), teacher=teacher)
    cached = Distiller(student, ENDS, LossSettings(0.0, 1.0))
    known = {TEACHER_PREFIX + name: value for name, value in teacher(batch).items()}
    expected = live.loss_terms(batch, targets, student(batch))
    found = cached.loss_terms(batch, targets | known, student(batch))
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5)
