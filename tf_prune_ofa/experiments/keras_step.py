"""One training step as this package takes it: `-m tf_prune_ofa.experiments.keras_step`.

Served in a process of its own, as its twin in PyTorch is (`torch_step`): neither's threads nor
memory are the other's. The step is that of the transfer stage, by the stage's own parts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.bench.worker import peak_memory, reset_peak_memory, serve, timed
from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Distiller, Target
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert, presets
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.train.optimizer import adamw

SETTINGS = {
    "temperature": 2.0,
    "clip_norm": 1.0,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
}
_SPARSITY = 0.9
_LABELS = 2
# New classifiers answer all examples nearly alike; this makes the teacher's logits differ.
_TEACHER_FACTOR = 20.0


class KerasStep:
    """Holds student, teacher, optimizer and one batch."""

    def open(
        self,
        weights: str,
        batch_size: int,
        sequence_length: int,
        seed: int,
        threads: int,
        is_cached: bool,
        folder: str | None = None,
    ) -> dict[str, Any]:
        """Build everything; equal arguments give equal weights, pattern and batch.

        Args:
            weights: of student and teacher; see `models.presets.open_pretrained`.
            batch_size: B.
            sequence_length: S; no padding.
            seed: of the batch, the pattern and the classifier.
            threads: of TensorFlow.
            is_cached: the teacher's logits are computed once, here.
            folder: where `torch_step` shall find all of it.

        Returns:
            `version` of TensorFlow, and the encoder's `num_layers`, `num_heads`, `epsilon`.
        """
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._before = peak_memory()
        rng = np.random.default_rng(seed)
        source = presets.open_pretrained(weights)
        teacher = _model(source, seed + 1)
        kernel = bert.dense_kernels(teacher)["classifier"]
        kernel.assign(kernel * _TEACHER_FACTOR)
        student = _model(source, seed)
        kernels = bert.dense_kernels(student)
        masks = {
            name: rng.random(kernel.shape) >= _SPARSITY
            for name, kernel in kernels.items()
            if name.startswith("encoder_")
        }
        for name, mask in masks.items():
            kernels[name].assign(kernels[name] * mask)
        shape = (batch_size, sequence_length)
        inputs = {
            "input_word_ids": rng.integers(0, source.config.vocab_size, shape, np.int32),
            "input_mask": np.ones(shape, np.int32),
            "input_type_ids": np.zeros(shape, np.int32),
        }
        if folder is not None:
            for name, model in (("student", student), ("teacher", teacher)):
                arrays = {key: value.numpy() for key, value in bert.parameters(model).items()}
                write_arrays(Path(folder, f"{name}.npz"), arrays)
            write_arrays(Path(folder, "masks.npz"), masks)
            write_arrays(Path(folder, "batch.npz"), inputs)
        self._train = _train_step(student, teacher, masks, inputs, is_cached=is_cached)
        reset_peak_memory()
        return {
            "version": tf.__version__,
            "num_layers": source.config.num_layers,
            "num_heads": source.config.num_heads,
            "epsilon": source.config.layer_norm_epsilon,
        }

    def step(self) -> dict[str, float]:
        """Take one step; answer with its `ms` by the clock, `cpu_ms` of all threads, `loss`."""
        ms, cpu_ms = timed(self._step)
        return {"ms": ms, "cpu_ms": cpu_ms, "loss": self._loss}

    def memory(self) -> dict[str, int]:
        """Answer with `peak_memory_bytes` of the steps, above the imported packages."""
        return {"peak_memory_bytes": peak_memory() - self._before}

    def _step(self) -> None:
        self._loss = float(self._train()["loss"])


def _model(source: presets.Pretrained, seed: int) -> keras.Model:
    head = bert.Classification(_LABELS)
    model = bert.build_model(source.config.without_dropout(), head, seed=seed)
    weights = source.read_weights()
    assign_weights(model, weights, source.folder, new_heads=["pooler", "classifier"])
    return model


def _train_step(
    student: keras.Model,
    teacher: keras.Model,
    masks: dict[str, np.ndarray],
    inputs: dict[str, np.ndarray],
    *,
    is_cached: bool,
) -> Callable[[], dict[str, Any]]:
    targets: dict[str, Any] = {"labels": np.zeros(len(inputs["input_word_ids"]), np.int32)}
    if is_cached:
        targets[TEACHER_PREFIX + "logits"] = teacher(inputs, training=False)["logits"].numpy()
    distiller = Distiller(
        student,
        (Target("logits", "labels"),),
        LossSettings(hard=0.0, soft=1.0, temperature=SETTINGS["temperature"]),
        teacher=None if is_cached else teacher,
        lock=PatternLock(bert.dense_kernels(student), masks),
        clip_norm=SETTINGS["clip_norm"],
    )
    # So long that the rate stays what it is.
    schedule = LearningRateSchedule(SETTINGS["learning_rate"], 10**6, 0, "constant")
    decay = SETTINGS["weight_decay"]
    distiller.compile(optimizer=adamw(schedule, distiller.trained_variables, weight_decay=decay))
    batch = tf.nest.map_structure(tf.constant, (inputs, targets))
    train = tf.function(distiller.train_step)
    return lambda: train(batch)


if __name__ == "__main__":
    serve(KerasStep())
