"""A batch in parts, against the whole batch."""

import numpy as np
import pytest
from small_models import TASK, encoder, inputs, labels, values

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill.distiller import Distiller, Target
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import MaskedLM

WORDS = (Target("mlm_logits", "labels", weights="weights", soft_weights="weights"),)


def words(rows=8):
    """Of the first text many words count, of the others few: a mean of means is not the mean."""
    rng = np.random.default_rng(3)
    counts = np.array([4, *[1] * (rows - 1)])
    batch = inputs(rows) | {"mlm_positions": rng.integers(0, 3, (rows, 4), np.int32)}
    weights = (np.arange(4) < counts[:, None]).astype(np.float32)
    return batch, {"labels": rng.integers(1, 24, (rows, 4), np.int32), "weights": weights}


def step(parts, batch, targets, loss, head=None, task=TASK):
    """Weights and logged values after a step of SGD, traced as `fit` traces it."""
    options = {
        "hidden_states": loss.needs_hidden_states,
        "attention_scores": loss.attention > 0,
    }
    student = encoder(head, **options)
    teacher = encoder(head, seed=7, **options)
    distiller = Distiller(student, task, loss, teacher=teacher, parts=parts, clip_norm=0.1)
    distiller.compile(optimizer=keras.optimizers.SGD(1.0))
    tensors = tf.nest.map_structure(tf.constant, (batch, targets))
    logged = tf.function(distiller.train_step)(tensors)
    return values(student), {name: float(value) for name, value in logged.items()}


def assert_equal_steps(*arguments, parts=2, rel=2e-6, **options):
    wanted, logged = step(1, *arguments, **options)
    found, said = step(parts, *arguments, **options)
    assert said == pytest.approx(logged, rel=rel)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    "loss",
    [
        LossSettings(hard=0.3, soft=0.7, temperature=2.0, hidden=1.0, attention=0.5),
        LossSettings(hard=0, soft=0, squarehead=1.0, layerwise=1.0, teacher_layers=(1,)),
    ],
)
def test_examples(loss):
    assert_equal_steps(inputs(8), labels(8), loss)


def test_channels_whose_variance_is_that_of_the_whole_batch():
    """Variances of random weights are small differences of sums, whose rounding they enlarge."""
    assert_equal_steps(inputs(8), labels(8), LossSettings(hard=0, soft=0, channels=1e-3), rel=1e-5)


def test_words_of_which_one_part_has_more():
    loss = LossSettings(hard=0.5, soft=0.5)
    batch, targets = words()
    assert_equal_steps(batch, targets, loss, MaskedLM(), WORDS, parts=4)


def test_parts_are_not_simply_averaged():
    batch, targets = words()
    loss = LossSettings(hard=1.0, soft=0.0)
    _, whole = step(1, batch, targets, loss, MaskedLM(), WORDS)
    halves = []
    for first in (0, 1):
        half = tf.nest.map_structure(lambda a, at=first: a[at::2], (batch, targets))
        halves.append(step(1, *half, loss, MaskedLM(), WORDS)[1]["loss"])
    assert abs(np.mean(halves) - whole["loss"]) > 1e-3


def test_one_part_after_the_other():
    """Else all would be in memory at a time."""
    student = encoder()
    distiller = Distiller(student, TASK, LossSettings(), parts=4)
    distiller.compile(optimizer=keras.optimizers.SGD(1.0))
    graph = tf.function(distiller.train_step).get_concrete_function((inputs(8), labels(8))).graph
    loops = [node for node in graph.as_graph_def().node if "While" in node.op]
    assert loops and all(node.attr["parallel_iterations"].i == 1 for node in loops)
