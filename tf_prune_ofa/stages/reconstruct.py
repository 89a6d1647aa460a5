"""Reconstruction: pruning without training, from a few examples, in minutes on one core.

Layer by layer, from the embeddings up, each Dense layer is pruned so that it gives what the dense
model's layer gives (`pruning.reconstruction`), from inputs that come from the layers pruned before.
The result is a start for distillation: `transfer`, with the pattern locked. Given the pattern of
another stage, only the weights are computed: an encoder that was pruned once takes over a task's
teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.config import ReconstructSettings, TrainSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.lock import Masks, assert_zeros, load_masks, save_masks
from tf_prune_ofa.pruning.plan import Pool, plan_pools
from tf_prune_ofa.pruning.reconstruction import Choose, Moments, reconstruct
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.schedules import SparsitySchedule
from tf_prune_ofa.stages.context import MASKS_FILE, Context
from tf_prune_ofa.stages.prune import sparsity_figures
from tf_prune_ofa.stages.training import TrainingJob

# In an encoder layer, in the order of computing: where inputs are read, and the layers they go to.
POINTS = (
    ("attention/input", ("attention/query", "attention/key", "attention/value")),
    ("attention/context", ("attention/output",)),
    ("ffn/input", ("ffn/intermediate",)),
    ("ffn/activation", ("ffn/output",)),
)
EMBEDDINGS = "embeddings/norm"  # whose output goes into the first layer
# Words that are masked as for training would not be seen as they are later on.
UNMASKED = 1e-6


class _Job(TrainingJob):
    """Data, models and results of the stage, which are those of a training stage."""

    def __init__(self, settings: ReconstructSettings, context: Context) -> None:
        batches = max(1, settings.examples // settings.batch_size)
        super().__init__(
            TrainSettings(
                kind=settings.kind,
                start=settings.start,
                objective=settings.objective,
                length=batches,
                batch_size=settings.batch_size,
                mlm_share=UNMASKED,
            ),
            context,
        )
        self.batches = batches
        result = context.results.get(settings.start)
        # What was judged on the task has its head.
        self.has_task_head = (
            not self.is_mlm and result is not None and "main_metric" in result.figures
        )

    @property
    def head(self) -> bert.Head | None:
        """The task's head where `start` has it; one that is not trained is of no use to anyone."""
        return super().head if self.has_task_head else None


def run(settings: ReconstructSettings, context: Context) -> dict[str, Any]:
    """Prune, or compute the weights of a pattern; write masks and model; return figures."""
    job = _Job(settings, context)
    dense = job.load(settings.start, is_trained=False)
    sparse = job.load(settings.start, is_trained=False)
    pools: dict[str, Pool] = {}
    masks: Masks = {}
    if settings.pattern_of:
        masks = _masks_of(settings, context)
    else:
        pools = _pools(settings, dense, job.workspace.encoder.num_heads)
    errors = {}
    batches = job.calibration_inputs(job.batches)
    layers = job.workspace.encoder.num_layers
    progress = tqdm(
        _layer_inputs(dense, sparse, layers, batches), context.name, len(POINTS) * layers
    )
    for names, moments in progress:
        for name in names:
            pool = pools.get(name)
            if pool is None and name not in masks:
                continue
            weights = [bert.parameters(dense)[f"{name}/{part}"] for part in ("kernel", "bias")]
            found = reconstruct(
                *(weight.numpy() for weight in weights),
                moments,
                None if pool is None else _chooser(pool, name),
                mask=masks.get(name),
                rounds=settings.rounds,
                damping=settings.damping,
            )
            for part in ("kernel", "bias"):
                bert.parameters(sparse)[f"{name}/{part}"].assign(getattr(found, part))
            masks[name], errors[name] = found.mask, found.error
    kernels = bert.dense_kernels(sparse)
    assert_zeros(kernels, masks, where="the reconstructed model")
    save_masks(
        context.folder / MASKS_FILE, {name: masks[name] for name in kernels if name in masks}
    )
    job.save(sparse)
    figures = job.figures(sparse) if job.has_task_head else {}
    figures.pop("steps", None)  # nothing was trained
    return (
        figures
        | {"examples": job.batches * settings.batch_size, "reconstruction_errors": errors}
        | sparsity_figures(sparse, masks)
    )


def _masks_of(settings: ReconstructSettings, context: Context) -> Masks:
    path = context.masks_file(settings.pattern_of)
    if path is None:
        raise UserError(
            f"{context.name}.pattern_of is '{settings.pattern_of}', which is not sparse and comes "
            "from no stage that pruned"
        )
    masks = dict(load_masks(path))
    outside = [name for name in masks if not name.startswith("encoder_")]
    if outside:
        raise UserError(f"{context.name} computes layers of the encoder only, not {outside}")
    return masks


def _pools(settings: ReconstructSettings, model: keras.Model, heads: int) -> dict[str, Pool]:
    """Return what is pruned by layer name; a step of the schedules is a round.

    Raises:
        UserError: a layer outside the encoder, or a pattern that joins layers.
    """
    shapes = {name: kernel.shape for name, kernel in bert.dense_kernels(model).items()}
    rules = layer_rules(settings.rules, shapes, settings.pattern)
    final = max(rule.sparsity for rule in rules.values())
    rounds = settings.rounds
    schedule = SparsitySchedule(final, 0, rounds, rounds, 1, power=settings.power)
    pools = plan_pools(rules, shapes, schedule, heads=heads)
    for pool in pools:
        if len(pool.layers) > 1:
            raise UserError(
                f"a reconstruction prunes one layer at a time, but the pattern of {pool.layers[0]} "
                f"joins {len(pool.layers)}; use a 'prune' stage for it"
            )
        if not pool.layers[0].startswith("encoder_"):
            raise UserError(
                f"a reconstruction prunes layers of the encoder only, not {pool.layers[0]}; change "
                "the rules"
            )
    return {pool.layers[0]: pool for pool in pools}


def _chooser(pool: Pool, name: str) -> Choose:
    def choose(number: int, costs: np.ndarray, before: np.ndarray) -> np.ndarray:
        return pool.masks(number, {name: costs}, {name: before})[name]

    return choose


def _layer_inputs(
    dense: keras.Model, sparse: keras.Model, layers: int, batches: Sequence[dict[str, np.ndarray]]
) -> Iterator[tuple[list[str], Moments]]:
    """Yield the names of layers with common inputs, and the moments of these inputs.

    What is yielded must be assigned to `sparse` before the next is asked for. Of each model only
    the hidden states below the present layer are kept, and no layer is computed from further down.
    """
    masks = [batch["input_mask"] for batch in batches]
    # [B, S, H] of each batch, of the sparse model and of the dense one.
    states = [_embeddings(model, batches) for model in (sparse, dense)]
    below = EMBEDDINGS
    for index in range(layers):
        layer = f"encoder_{index:02d}"
        for point, names in POINTS:
            compute = [_part(model, below, f"{layer}/{point}") for model in (sparse, dense)]
            moments = Moments(dense.get_layer(f"{layer}/{point}").output.shape[-1])
            for mask, *of_batch in zip(masks, *states, strict=True):
                x, z = (
                    call(state, mask)[mask > 0]
                    for call, state in zip(compute, of_batch, strict=True)
                )
                moments.add(x, z)
            yield [f"{layer}/{name}" for name in names], moments
        above = f"{layer}/ffn/norm"
        compute = [_part(model, below, above) for model in (sparse, dense)]
        states = [
            [call(state, mask) for state, mask in zip(own, masks, strict=True)]
            for call, own in zip(compute, states, strict=True)
        ]
        below = above


def _embeddings(model: keras.Model, batches: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Return what goes into the first layer, [B, S, H] of each batch."""
    names = [name for name in model.input_names if name in batches[0] and name != "input_mask"]
    part = keras.Model(
        {name: model.input[name] for name in names}, model.get_layer(EMBEDDINGS).output
    )
    return [part({name: batch[name] for name in names}).numpy() for batch in batches]


def _part(
    model: keras.Model, below: str, above: str
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function from the output of layer `below` [B, S, ...] and the mask to `above`'s."""
    inputs = [model.get_layer(below).output]
    # The inputs of attention are the hidden states themselves: there is no mask yet.
    if not above.endswith(POINTS[0][0]):
        inputs.append(model.input["input_mask"])
    part = keras.Model(inputs, model.get_layer(above).output)
    call = tf.function(lambda given: part(given, training=False), reduce_retracing=True)
    return lambda state, mask: call([state, mask][: len(inputs)]).numpy()
