"""Encoders of a few hundred weights, and batches for them, for tests of training."""

import numpy as np

from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill.distiller import Distiller, Target
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.bert import Classification, EncoderConfig
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.train.optimizer import adamw

ENCODER = EncoderConfig(
    "bert",
    vocab_size=24,
    hidden_size=8,
    num_layers=1,
    num_heads=2,
    intermediate_size=16,
    max_positions=12,
    dropout=0.0,
    attention_dropout=0.0,
)
TASK = (Target("logits", "labels"),)


def encoder(head=None, *, seed=0, config=ENCODER, **options):
    """A model with weights large enough that rounding and pruning matter."""
    model = bert.build_model(config, head or Classification(2), seed=seed, **options)
    randomize(model, seed)
    return model


def randomize(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in bert.parameters(model).values():
        variable.assign(rng.normal(0, 0.3, variable.shape))


def inputs(rows=4, size=8, *, seed=0, config=ENCODER):
    """Sequences of different lengths, the first of full length."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[size], rng.integers(3, size, rows - 1)])
    return {
        "input_word_ids": rng.integers(1, config.vocab_size, (rows, size), np.int32),
        "input_mask": (np.arange(size) < lengths[:, None]).astype(np.int32),
        "input_type_ids": np.zeros((rows, size), np.int32),
    }


def labels(rows=4, *, classes=2, seed=0):
    return {"labels": np.random.default_rng(seed).integers(0, classes, rows, np.int32)}


def dataset(steps, *, rows=4, start=0):
    """Batches that depend on the step alone."""
    batches = [(inputs(rows, seed=s), labels(rows, seed=s)) for s in range(start, steps)]
    stacked = tf.nest.map_structure(lambda *arrays: np.stack(arrays), *batches)
    return tf.data.Dataset.from_tensor_slices(stacked)


def compiled(distiller, *, steps=100, rate=1e-2, weight_decay=0.01):
    schedule = LearningRateSchedule(rate, steps, decay="constant")
    optimizer = adamw(schedule, distiller.trained_variables, weight_decay=weight_decay)
    distiller.compile(optimizer=optimizer)
    return distiller


def hard_distiller(student, **options):
    """Trains on labels alone."""
    return Distiller(student, TASK, LossSettings(hard=1.0), **options)


def values(model):
    """Copies of a model's own weights by stable name."""
    return {name: variable.numpy() for name, variable in bert.parameters(model).items()}


def dense(units=2, size=3, *, seed=0):
    """One Dense layer "a" from x [B, size] to logits: training of it is traced in no time."""
    x = keras.Input([size], name="x")
    initializer = keras.initializers.TruncatedNormal(seed=seed)
    layer = keras.layers.Dense(units, name="a", kernel_initializer=initializer)
    return keras.Model({"x": x}, {"logits": layer(x)})


def dense_batches(start, stop, *, size=3, rows=4):
    """Batches for `dense` that depend on the step alone."""
    rngs = [np.random.default_rng(step) for step in range(start, stop)]
    x = np.array([rng.normal(0, 1, [rows, size]) for rng in rngs], np.float32)
    classes = np.array([rng.integers(0, 2, rows) for rng in rngs], np.int32)
    return tf.data.Dataset.from_tensor_slices(({"x": x}, {"labels": classes}))
