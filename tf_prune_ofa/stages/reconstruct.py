"""Reconstruction: pruning without training, from a few examples, in minutes on one core.

Layer by layer, from the embeddings up, each Dense layer is pruned so that it gives what the dense
model's layer gives (`pruning.reconstruction`), from inputs that come from the layers pruned before.
How far each layer is pruned is the rules' word, or with scope "global" that of a ranking of all
their weights by the diagonal Fisher (Kurtic et al. 2022, oBERT, arXiv 2203.07259).
The result is a start for distillation: `transfer`, with the pattern locked. Given the pattern of
another stage, only the weights are computed: an encoder that was pruned once takes over a task's
teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa import paths
from tf_prune_ofa.config import ReconstructSettings, SparsitySettings, TrainSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import read_arrays, require_writable_dir, write_arrays
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.lock import Masks, assert_zeros, load_masks, save_masks
from tf_prune_ofa.pruning.plan import Pool, plan_pools
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.reconstruction import Choose, Moments, Reconstruction, reconstruct
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.pruning.scores import FisherDiagonal
from tf_prune_ofa.schedules import SparsitySchedule
from tf_prune_ofa.stages.prune import sparsity_figures
from tf_prune_ofa.tasks import reads_corpus

# In an encoder layer, in the order of computing: where inputs are read, and the layers they go to.
POINTS = (
    ("attention/input", ("attention/query", "attention/key", "attention/value")),
    ("attention/context", ("attention/output",)),
    ("ffn/input", ("ffn/intermediate",)),
    ("ffn/activation", ("ffn/output",)),
)
EMBEDDINGS = "embeddings/norm"  # whose output goes into the first layer
PARTS = ("kernel", "bias")
# Words that are masked as for training would not be seen as they are later on.
UNMASKED = 1e-6


class _Job(TrainingJob):
    """Data, models and results of the stage, which are those of a training stage."""

    def __init__(self, settings: ReconstructSettings, context: Context) -> None:
        super().__init__(replace(_train_settings(settings), mlm_share=UNMASKED), context)
        self.has_task_head = not reads_corpus(settings) and self.starts_with_head

    @property
    def head(self) -> bert.Head | None:
        """The task's head where `start` has it; one that is not trained is of no use to anyone."""
        return super().head if self.has_task_head else None


def _train_settings(settings: ReconstructSettings) -> TrainSettings:
    """Return settings of a training stage that sees each of the examples once."""
    return TrainSettings(
        kind=settings.kind,
        start=settings.start,
        objective=settings.objective,
        length=max(1, settings.examples // settings.batch_size),
        batch_size=settings.batch_size,
    )


def run(settings: ReconstructSettings, context: Context) -> dict[str, Any]:
    """Prune, or compute the weights of a pattern; write masks and model; return figures."""
    job = _Job(settings, context)
    load_plugins(settings.plugins)
    dense = job.load(settings.start, is_trained=False)
    sparse = job.load(settings.start, is_trained=False)
    checkpoint = require_writable_dir(context.folder / paths.CHECKPOINT)
    pools: dict[str, Pool] = {}
    given: Masks = {}
    if settings.pattern_of:
        given = _masks_of(settings, context)
    else:
        pools = _pools(settings, dense, job, checkpoint / paths.SPARSITIES)
    wanted = [*given, *pools]

    def reconstructed(name: str, moments: Moments) -> Reconstruction:
        kernel, bias = (variable.numpy() for variable in _variables(dense, name))
        return reconstruct(
            kernel,
            bias,
            moments,
            _chooser(pools[name], name) if name in pools else None,
            mask=given.get(name),
            rounds=settings.rounds,
            damping=settings.damping,
        )

    found: dict[str, Reconstruction] = {}
    inputs = _Inputs(dense, sparse, job.calibration_inputs(job.total_steps))
    layers = [f"encoder_{index:02d}" for index in range(job.workspace.encoder.num_layers)]
    with tqdm(desc=context.name, total=len(POINTS) * len(layers)) as progress:
        for layer in layers:
            path = checkpoint / f"{layer}.npz"
            is_done = path.exists()
            known = [name for name in wanted if name.startswith(f"{layer}/")]
            of_layer = _read_checkpoint(path, known) if is_done else {}
            for point, names in POINTS:
                names = [f"{layer}/{name}" for name in names if f"{layer}/{name}" in wanted]
                if names and not is_done:
                    moments = inputs.moments(f"{layer}/{point}")
                    of_layer |= {name: reconstructed(name, moments) for name in names}
                for name in names:
                    for variable, part in zip(_variables(sparse, name), PARTS, strict=True):
                        variable.assign(getattr(of_layer[name], part))
                progress.update()
            if not is_done:
                _write_checkpoint(path, of_layer)
            found |= of_layer
            inputs.ascend(f"{layer}/ffn/norm")
    masks = {name: one.mask for name, one in found.items()}
    assert_zeros(bert.dense_kernels(sparse), masks, where="the reconstructed model")
    save_masks(context.folder / paths.MASKS, masks)
    job.save(sparse)
    figures = job.figures(sparse) if job.has_task_head else {}
    figures.pop("steps", None)  # nothing was trained
    figures |= {
        "examples": job.total_steps * settings.batch_size,
        "reconstruction_errors": {name: one.error for name, one in found.items()},
    }
    return figures | sparsity_figures(sparse, masks)


def _variables(model: keras.Model, layer: str) -> list[tf.Variable]:
    return [bert.parameters(model)[f"{layer}/{part}"] for part in PARTS]


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


def _pools(
    settings: ReconstructSettings, model: keras.Model, job: _Job, ranked: Path
) -> dict[str, Pool]:
    """Return what is pruned by layer name; a step of the schedules is a round.

    Sparsities that come from a ranking are kept in the file `ranked`, so that a killed run goes on
    with the same ones.

    Raises:
        UserError: a layer outside the encoder, or a pattern that joins layers.
    """
    kernels = bert.dense_kernels(model)
    shapes = {name: tuple(kernel.shape) for name, kernel in kernels.items()}
    rules = layer_rules(settings.rules, shapes, settings.pattern)
    final = max(rule.sparsity for rule in rules.values())
    rounds = settings.rounds
    schedule = SparsitySchedule(final, 0, rounds, rounds, 1, power=settings.power)
    heads = job.workspace.encoder.num_heads
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
    if settings.scope == "global":
        if not ranked.exists():
            scores = _fisher_scores(list(rules), settings, job.context)
            together = plan_pools(rules, shapes, schedule, heads=heads, scope="global")
            write_arrays(ranked, _shares(together, scores, rounds))
        sparsities = read_arrays(ranked, rules)
        rules = {name: replace(rules[name], sparsity=float(sparsities[name])) for name in rules}
        pools = plan_pools(rules, shapes, schedule, heads=heads)
    return {pool.layers[0]: pool for pool in pools}


def _shares(
    pools: Sequence[Pool], scores: Mapping[str, np.ndarray], rounds: int
) -> dict[str, np.ndarray]:
    """Return the sparsity of each layer where the layers of a pool are ranked together."""
    shares = {}
    for pool in pools:
        own = {name: scores[name].copy() for name in pool.layers}
        for score in own.values():
            score.flat[np.argmax(score)] = np.inf  # no layer may lose all of its weights
        dense = {name: np.ones(score.shape, np.float32) for name, score in own.items()}
        for name, mask in pool.masks(rounds, own, dense).items():
            shares[name] = np.float64(1 - np.count_nonzero(mask) / mask.size)
    return shares


def _fisher_scores(
    names: Sequence[str], settings: ReconstructSettings, context: Context
) -> dict[str, np.ndarray]:
    """Return the score "fisher_diagonal" of every weight, by the loss on the examples' labels.

    Raises:
        UserError: the model that is pruned was not trained on those labels.
    """
    job = TrainingJob(_train_settings(settings), context)
    if not job.starts_with_head:
        raise UserError(
            f"{context.name}.scope is 'global', which ranks by the loss on labels, but "
            f"{context.name}.start was not trained on them: its weights have no such head as "
            f"{job.head}. Start from a stage with objective '{settings.objective}', or set "
            f"{context.name}.scope to 'layer'"
        )
    model = job.load(settings.start, is_trained=False)
    distiller = job.distiller(model)
    kernels = {name: bert.dense_kernels(model)[name] for name in names}
    variables = list(kernels.values())
    squares = [np.zeros(variable.shape, np.float64) for variable in variables]
    for step in tqdm(range(job.total_steps), f"{context.name}: ranking", unit="batch"):
        inputs, targets = job.batch(step)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = distiller.call(inputs, training=False)
            loss = distiller.total_loss(distiller.loss_terms(inputs, targets, outputs))
        for total, gradient in zip(squares, tape.gradient(loss, variables), strict=True):
            total += np.square(gradient.numpy())
    score = FisherDiagonal(SparsitySettings(), job.seed)
    return {
        name: score.values(name, variable.numpy(), {"squares": total, "steps": job.total_steps})
        for (name, variable), total in zip(kernels.items(), squares, strict=True)
    }


def _chooser(pool: Pool, name: str) -> Choose:
    def choose(number: int, costs: np.ndarray, before: np.ndarray) -> np.ndarray:
        return pool.masks(number, {name: costs}, {name: before})[name]

    return choose


# What a killed run goes on from: a file for each encoder layer that is done


def _write_checkpoint(path: Path, found: Mapping[str, Reconstruction]) -> None:
    arrays = {
        f"{name}/{key}": value for name, one in found.items() for key, value in asdict(one).items()
    }
    write_arrays(path, arrays)


def _read_checkpoint(path: Path, names: Sequence[str]) -> dict[str, Reconstruction]:
    keys = [field.name for field in fields(Reconstruction)]
    arrays = read_arrays(path, [f"{name}/{key}" for name in names for key in keys])
    return {
        name: Reconstruction(
            *(arrays[f"{name}/{key}"] for key in keys[:-1]), error=float(arrays[f"{name}/error"])
        )
        for name in names
    }


class _Inputs:
    """Inputs of layers in both models, from the bottom up.

    Of each model only the hidden states below the present encoder layer are kept, and no layer is
    computed from further down. A layer's weights must be in `sparse` before inputs above it are
    asked for.
    """

    def __init__(
        self, dense: keras.Model, sparse: keras.Model, batches: Sequence[dict[str, np.ndarray]]
    ) -> None:
        self._models = (sparse, dense)
        self._masks = [batch["input_mask"] for batch in batches]
        # [B, S, H] of each batch, of the sparse model and of the dense one.
        self._states = [_embeddings(model, batches) for model in self._models]
        self._below = EMBEDDINGS

    def moments(self, point: str) -> Moments:
        """Return the moments of the outputs of a layer, over all tokens of the batches."""
        moments = Moments(self._models[0].get_layer(point).output.shape[-1])
        compute = [_part(model, self._below, point) for model in self._models]
        for mask, *states in zip(self._masks, *self._states, strict=True):
            is_token = mask > 0
            x, z = (call(s, mask)[is_token] for call, s in zip(compute, states, strict=True))
            moments.add(x, z)
        return moments

    def ascend(self, above: str) -> None:
        """Go on from the outputs of layer `above`."""
        compute = [_part(model, self._below, above) for model in self._models]
        self._states = [
            [call(state, mask) for state, mask in zip(own, self._masks, strict=True)]
            for call, own in zip(compute, self._states, strict=True)
        ]
        self._below = above


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

    # Of any batch size and length: traced once.
    @tf.function
    def compute(*given: tf.Tensor) -> tf.Tensor:
        return part(list(given), training=False)

    call = compute.get_concrete_function(
        *(tf.TensorSpec([None, None, *tensor.shape[2:]], tensor.dtype) for tensor in inputs)
    )
    return lambda state, mask: call(*(tf.constant(x) for x in [state, mask][: len(inputs)])).numpy()
