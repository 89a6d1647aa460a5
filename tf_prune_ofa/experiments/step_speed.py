"""How many examples a second a distillation step trains, here and in PyTorch, measured in turns.

The step is that of the transfer stage: a classifier with a locked pattern learns from a teacher's
logits. Both sides start from the same weights and see the same batch, so their losses must be equal
too, which is checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.bench.machine import busy_warning, machine_facts
from tf_prune_ofa.bench.process import WorkerProcess
from tf_prune_ofa.bench.rounds import interleave
from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference
from tf_prune_ofa.bench.worker import timed
from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill.distiller import TEACHER_PREFIX, Distiller, Target
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert, presets
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.train.optimizer import adamw

TORCH = "torch==2.13.0"
SCHEMA = "tf_prune_ofa.step_speed/1"
_SETTINGS = {
    "temperature": 2.0,
    "clip_norm": 1.0,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
}
_SPARSITY = 0.9
_LABELS = 2
_WARMUP = 3
# How far losses may be apart, relative: at the first step by rounding; after it by more, because
# Adam's first step is as long for the smallest gradient as for the largest, whatever its sign.
_FIRST_TOLERANCE, _TOLERANCE = 1e-3, 0.05
# New classifiers answer all examples nearly alike; this makes the teacher's logits differ.
_TEACHER_FACTOR = 20.0


def compare(
    *,
    torch_python: Path,
    weights: str = "minilm_l6",
    batch_size: int = 32,
    sequence_length: int = 64,
    threads: int = 2,
    steps: int = 20,
    seconds: float = 60.0,
    seed: int = 0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Measure steps in turns.

    Args:
        torch_python: a Python that has `TORCH` and NumPy.
        weights: of student and teacher; see `models.presets.open_pretrained`.
        batch_size: B.
        sequence_length: S; no padding.
        threads: of both.
        steps: how many of each.
        seconds: stop after this long.
        seed: of the batch, the pattern and the classifier.
        folder: for weights in between; a temporary one if None.

    Returns:
        Plain JSON values: `schema`, `machine`, `settings`, `warnings`, and `steps`: for each kind
        `name`, `version`, `step_ms` (median and so on), `cpu_ms`, `examples_per_second` and
        `speed` and `cpu_speed`: how many times as fast as PyTorch (ratio, low, high).
    """
    source = presets.open_pretrained(weights)
    machine = machine_facts()
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = _Ours(source, batch_size, sequence_length, seed)
        ours.write(folder)
        settings = _SETTINGS | {
            "num_layers": source.config.num_layers,
            "num_heads": source.config.num_heads,
            "epsilon": source.config.layer_norm_epsilon,
        }
        kinds: list[tuple[str, str, Callable[[], dict[str, float]]]] = []
        for name, fused in (("PyTorch", True), ("PyTorch, AdamW not fused", False)):
            process = stack.enter_context(
                WorkerProcess(torch_python, "tf_prune_ofa.experiments.torch_step")
            )
            opened = process.ask(
                "open",
                name,
                folder=str(folder),
                settings={**settings, "fused": fused},
                threads=threads,
            )
            kinds.append((name, opened["version"], _asker(process, name)))
        kinds += [
            ("here", tf.__version__, ours.step_function(is_cached=False)),
            ("here, teacher's logits cached", tf.__version__, ours.step_function(is_cached=True)),
        ]
        losses = [[step()["loss"] for _ in range(_WARMUP)] for _, _, step in kinds]
        _check_losses([name for name, _, _ in kinds], losses)
        turns = interleave(lambda i: kinds[i][2](), len(kinds), steps, seconds)
    samples = [np.array([[turn["ms"]] for turn in own]) for own in turns]
    cpu = [np.array([[turn["cpu_ms"]] for turn in own]) for own in turns]
    busy = busy_warning(machine, threads)
    return {
        "schema": SCHEMA,
        "machine": machine,
        "settings": {
            "weights": weights,
            "batch_size": batch_size,
            "sequence_length": sequence_length,
            "threads": threads,
            **_SETTINGS,
        },
        "warnings": [busy] if busy else [],
        "losses": losses[0],
        "steps": [
            {
                "name": name,
                "version": version,
                "step_ms": latency_summary(samples[i]),
                "cpu_ms": float(np.median(cpu[i])),
                "examples_per_second": 1e3 * batch_size / float(np.median(samples[i])),
                "speed": ratio_to_reference(samples[0], samples[i]),
                "cpu_speed": ratio_to_reference(cpu[0], cpu[i]),
            }
            for i, (name, version, _) in enumerate(kinds)
        ],
    }


def describe(result: dict[str, Any]) -> str:
    """Return a table, ratios first."""
    settings, machine = result["settings"], result["machine"]
    header = ("step", "speed", "95 % interval", "CPU speed", "examples/s", "ms", "CPU ms")
    rows = [
        [
            f"{step['name']} ({step['version']})",
            f"{step['speed']['ratio']:.2f}",
            f"{step['speed']['low']:.2f}-{step['speed']['high']:.2f}",
            f"{step['cpu_speed']['ratio']:.2f}",
            f"{step['examples_per_second']:.1f}",
            f"{step['step_ms']['median']:.0f}",
            f"{step['cpu_ms']:.0f}",
        ]
        for step in result["steps"]
    ]
    load = machine["load_average"]
    return "\n\n".join(
        [
            text_table(header, rows),
            "speed: how many times as many examples a second as the first line; CPU speed: the "
            "same by processor time of all threads.",
            f"{settings['weights']}, batch {settings['batch_size']}, {settings['sequence_length']} "
            f"tokens, {settings['threads']} threads, {result['steps'][0]['step_ms']['runs']} steps "
            f"in turns, on {machine['cpu']}, load average "
            f"{'unknown' if load is None else load[0]} on {machine['usable_cores']} cores.",
            *(f"Warning: {warning}" for warning in result["warnings"]),
        ]
    )


class _Ours:
    """Our side: models, masks and the batch, as the transfer stage has them."""

    def __init__(self, source: presets.Pretrained, batch_size: int, length: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.source, self.seed = source, seed
        self.teacher = self._model(seed + 1)
        kernel = bert.dense_kernels(self.teacher)["classifier"]
        kernel.assign(kernel * _TEACHER_FACTOR)
        self.start = self._model(seed)
        self.masks = {
            name: rng.random(kernel.shape) >= _SPARSITY
            for name, kernel in bert.dense_kernels(self.start).items()
            if name.startswith("encoder_")
        }
        for name, kernel in bert.dense_kernels(self.start).items():
            if name in self.masks:
                kernel.assign(kernel * self.masks[name])
        shape = (batch_size, length)
        self.inputs = {
            "input_word_ids": rng.integers(0, source.config.vocab_size, shape, np.int32),
            "input_mask": np.ones(shape, np.int32),
            "input_type_ids": np.zeros(shape, np.int32),
        }

    def _model(self, seed: int) -> keras.Model:
        head = bert.Classification(_LABELS)
        model = bert.build_model(self.source.config.without_dropout(), head, seed=seed)
        assign_weights(
            model,
            self.source.read_weights(),
            self.source.folder,
            new_heads=["pooler", "classifier"],
        )
        return model

    def write(self, folder: Path) -> None:
        """Write what PyTorch starts from."""
        for name, model in (("student", self.start), ("teacher", self.teacher)):
            weights = {key: value.numpy() for key, value in bert.parameters(model).items()}
            write_arrays(folder / f"{name}.npz", weights)
        write_arrays(folder / "masks.npz", self.masks)
        write_arrays(folder / "batch.npz", self.inputs)

    def step_function(self, *, is_cached: bool) -> Callable[[], dict[str, float]]:
        """Return a function that takes one step and says what it took."""
        student = self._model(self.seed)
        bert.copy_parameters(self.start, student)
        lock = PatternLock(bert.dense_kernels(student), self.masks)
        distiller = Distiller(
            student,
            (Target("logits", "labels"),),
            LossSettings(hard=0.0, soft=1.0, temperature=_SETTINGS["temperature"]),
            teacher=self.teacher,
            lock=lock,
            clip_norm=_SETTINGS["clip_norm"],
        )
        # So long that the rate stays what it is.
        schedule = LearningRateSchedule(_SETTINGS["learning_rate"], 10**6, 0, "constant")
        variables = distiller.trained_variables
        decay = _SETTINGS["weight_decay"]
        distiller.compile(optimizer=adamw(schedule, variables, weight_decay=decay))
        targets = {"labels": np.zeros(len(self.inputs["input_word_ids"]), np.int32)}
        if is_cached:
            logits = self.teacher(self.inputs, training=False)["logits"]
            targets[TEACHER_PREFIX + "logits"] = logits.numpy()
        batch = tf.nest.map_structure(tf.constant, (self.inputs, targets))
        train = tf.function(distiller.train_step)
        found: dict[str, Any] = {}

        def step() -> None:
            found["loss"] = float(train(batch)["loss"])

        def measured() -> dict[str, float]:
            ms, cpu_ms = timed(step)
            return {"ms": ms, "cpu_ms": cpu_ms, **found}

        return measured


def _asker(process: WorkerProcess, name: str) -> Callable[[], dict[str, float]]:
    return lambda: process.ask("step", name)


def _check_losses(names: Sequence[str], losses: Sequence[Sequence[float]]) -> None:
    for name, own in zip(names, losses, strict=True):
        apart = np.abs(np.subtract(own, losses[0]) / losses[0])
        if apart[0] > _FIRST_TOLERANCE or apart.max() > _TOLERANCE:
            raise RuntimeError(
                f"'{names[0]}' and '{name}' do not take the same steps: losses {losses[0]}, {own}"
            )
