"""How many heads and neurons of each layer go for a speed-up: by what they cost, time and loss.

What an error in a layer's output does to the loss is taken from the gradients of the loss on the
examples' labels there: their mean square, output by output, is the diagonal of the Fisher, with
which squared errors of outputs add up to an estimate of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.config import ReconstructSettings, TrainSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.jobs.unit_costs import UnitCosts, measure_units, read_costs, write_costs
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.pruning.layerwise import Batch
from tf_prune_ofa.pruning.rounding import INT4_LEVELS
from tf_prune_ofa.pruning.structured import READERS, WantedUnits, choose_counts, removals

COSTS = "unit_costs.json"
_CHOSEN = "units.npz"


def train_settings(settings: ReconstructSettings) -> TrainSettings:
    """Return settings of a training stage that sees each of the examples once."""
    return TrainSettings(
        kind=settings.kind,
        start=settings.start,
        objective=settings.objective,
        length=max(1, settings.examples // settings.batch_size),
        batch_size=settings.batch_size,
    )


def levels_of(settings: ReconstructSettings) -> int:
    """Return how many steps the largest weight has; 0 where weights are not rounded."""
    return INT4_LEVELS if settings.weights == "int4" else 0


def trained_job(settings: ReconstructSettings, context: Context, why: str) -> TrainingJob:
    """Return a job that knows the loss on labels of the model that is pruned.

    Args:
        settings: of the stage.
        context: of the stage.
        why: that is asked for, for the message.

    Raises:
        UserError: the model was not trained on those labels.
    """
    job = TrainingJob(train_settings(settings), context)
    if not job.starts_with_head:
        raise UserError(
            f"{why}, which ranks by the loss on labels, but {context.name}.start was not trained "
            f"on them: its weights have no such head as {job.head}. Start from a stage with "
            f"objective '{settings.objective}', or leave that out"
        )
    return job


def plan_units(
    settings: ReconstructSettings,
    context: Context,
    dense: keras.Model,
    batches: Sequence[Batch],
    checkpoint: Path,
) -> tuple[WantedUnits, dict[str, Any]]:
    """Return which layers lose how many units, and figures of that.

    Both are kept in `checkpoint`, so that a killed run goes on with the same counts.

    Raises:
        UserError: the model was not trained on the objective's labels, costs that cannot be read,
            or a speed-up that heads and neurons cannot give.
    """
    encoder = context.recipe_inputs.encoder
    names = [f"encoder_{i:02d}/{end}" for i in range(encoder.num_layers) for end in READERS]
    path = checkpoint / _CHOSEN
    keys = [f"{kind}/{name}" for kind in ("count", "importance") for name in names]
    if not path.exists():
        job = trained_job(settings, context, f"{context.name} has a {settings.goal}")
        costs = _costs(settings, context)
        importance = _importance(job, settings, names)
        found = removals(
            dense,
            batches,
            num_layers=encoder.num_layers,
            heads=encoder.num_heads,
            importance=importance,
            damping=settings.damping,
        )
        counts = choose_counts(
            found, costs.saved_us, dense_us=costs.dense_us, speedup=_speedup(settings, costs)
        )
        arrays: dict[str, np.ndarray] = {f"count/{n}": np.array(counts[n]) for n in names}
        write_arrays(path, arrays | {f"importance/{name}": importance[name] for name in names})
    saved = read_arrays(path, keys)
    counts = {name: int(saved[f"count/{name}"]) for name in names}
    wanted = WantedUnits(
        counts,
        encoder.num_heads,
        {n: saved[f"importance/{n}"] for n in names},
        settings.damping,
        levels_of(settings),
    )
    totals = {"attention/output": encoder.num_heads, "ffn/output": encoder.intermediate_size}
    left = {name: totals[name.partition("/")[2]] - count for name, count in counts.items()}
    costs = read_costs(context.folder / COSTS, encoder, context.recipe.task.max_length)
    gone = sum(costs.saved_us(name.partition("/")[2], count) for name, count in counts.items())
    figures = {"units_left": left, "expected_speedup": costs.dense_us / (costs.dense_us - gone)}
    for name, count in left.items():
        print(f"  {name}: {count} of {totals[name.partition('/')[2]]} stay", flush=True)
    return wanted, figures


def _costs(settings: ReconstructSettings, context: Context) -> UnitCosts:
    """Return what units cost, given or measured; left in the stage's folder."""
    path, encoder = context.folder / COSTS, context.recipe_inputs.encoder
    length = context.recipe.task.max_length
    if settings.costs:
        costs = read_costs(Path(settings.costs), encoder, length)
    else:
        print("  measuring what heads and neurons cost", flush=True)
        costs = measure_units(encoder, sequence_length=length)
    write_costs(path, costs)
    return costs


def _speedup(settings: ReconstructSettings, costs: UnitCosts) -> float:
    """Return how many times as fast as the dense file is asked for.

    Raises:
        UserError: the dense file takes no longer than the latency that is asked for.
    """
    dense_ms = costs.dense_us / 1000
    if settings.latency_ms and settings.latency_ms >= dense_ms:
        raise UserError(
            f"latency_ms is {settings.latency_ms:g}, and the dense INT8 file takes {dense_ms:.3g} "
            "ms as it is; ask for less, or leave the stage out"
        )
    return settings.speedup or dense_ms / settings.latency_ms


def _importance(
    job: TrainingJob, settings: ReconstructSettings, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the mean square of the loss's gradients at the outputs of layers, [O] by name."""
    model = job.load(settings.start, is_trained=False)
    distiller = job.distiller(model)
    outputs = {**model.output, **{name: model.get_layer(name).output for name in names}}
    watched = keras.Model(model.input, outputs)
    sums = {name: np.zeros(outputs[name].shape[-1]) for name in names}
    tokens = 0

    @tf.function(reduce_retracing=True)
    def squares(inputs: Batch, targets: Batch) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            found = watched({name: inputs[name] for name in model.input_names}, training=False)
            terms = distiller.loss_terms(inputs, targets, found)
            # The loss is a mean over examples: here each one's own gradient is asked for.
            count = tf.cast(tf.shape(inputs["input_mask"])[0], tf.float32)
            loss = distiller.total_loss(terms) * count
        gradients = tape.gradient(loss, [found[name] for name in names])
        return [tf.reduce_sum(tf.square(gradient), axis=(0, 1)) for gradient in gradients]

    for step in tqdm(range(job.total_steps), f"{job.context.name}: ranking", unit="batch"):
        inputs, targets = job.batch(step)
        for name, value in zip(names, squares(inputs, targets), strict=True):
            sums[name] += value.numpy()
        tokens += int(np.sum(inputs["input_mask"]))
    return {name: value / tokens for name, value in sums.items()}
