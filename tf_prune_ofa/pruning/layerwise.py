"""Layer-wise reconstruction of a model: the order of its layers, and the data that flows over them.

From the embeddings up, each Dense layer is pruned so that it gives what the dense model's layer
gives (`pruning.reconstruction`), from inputs that come from the layers pruned before. A killed run
goes on with the encoder layer that was not done.

Legend: B batch · S sequence · H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.pruning.lock import Masks
from tf_prune_ofa.pruning.plan import Pool
from tf_prune_ofa.pruning.reconstruction import Choose, Moments, Reconstruction, reconstruct

# In an encoder layer, in the order of computing: where inputs are read, and the layers they go to.
POINTS = (
    ("attention/input", ("attention/query", "attention/key", "attention/value")),
    ("attention/context", ("attention/output",)),
    ("ffn/input", ("ffn/intermediate",)),
    ("ffn/activation", ("ffn/output",)),
)
EMBEDDINGS = "embeddings/norm"  # whose output goes into the first layer
PARTS = ("kernel", "bias")
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """What is to be computed.

    Attributes:
        pools: of layers that are pruned, by layer name; a step of their schedules is a round.
        given: by layer name, masks of layers whose pattern stays, or that pruning begins with.
        rounds: in which the sparsity is reached.
        damping: see `pruning.reconstruction.reconstruct`.
        levels: likewise.
        held_at: likewise, by layer name.
    """

    pools: Mapping[str, Pool]
    given: Masks
    rounds: int
    damping: float
    levels: int = 0
    held_at: Mapping[str, np.ndarray] = field(default_factory=dict)

    def layers(self, prefix: str) -> list[str]:
        """Return the wanted layers whose names begin so."""
        return [name for name in {**self.given, **self.pools} if name.startswith(prefix)]

    def reconstructed(self, dense: keras.Model, name: str, moments: Moments) -> Reconstruction:
        """Return the new weights of one layer."""
        kernel, bias = (variable.numpy() for variable in variables(dense, name))
        return reconstruct(
            kernel,
            bias,
            moments,
            _chooser(self.pools[name], name) if name in self.pools else None,
            mask=self.given.get(name),
            rounds=self.rounds,
            damping=self.damping,
            levels=self.levels,
            held_at=self.held_at.get(name),
        )

    def joined(self, found: Mapping[str, Reconstruction]) -> dict[str, Reconstruction]:
        """Return the layers of an encoder layer as they are: each was pruned by itself."""
        return dict(found)


class Plan(Protocol):
    """What `reconstruct_layers` asks: `Wanted`, or `structured.WantedUnits`."""

    def layers(self, prefix: str) -> list[str]:
        """Return the wanted layers whose names begin so."""

    def reconstructed(self, dense: keras.Model, name: str, moments: Moments) -> Reconstruction:
        """Return the new weights of one layer."""

    def joined(self, found: Mapping[str, Reconstruction]) -> dict[str, Reconstruction]:
        """Return the layers of an encoder layer, with what one means for the others."""


def reconstruct_layers(
    dense: keras.Model,
    sparse: keras.Model,
    batches: Sequence[Batch],
    wanted: Plan,
    *,
    num_layers: int,
    checkpoint: Path,
    title: str,
) -> dict[str, Reconstruction]:
    """Compute all wanted layers, put them into `sparse`, and return them by name.

    Args:
        dense: the model whose layers are to be reproduced.
        sparse: a copy of it, changed in place.
        batches: inputs of the models.
        wanted: which layers, and how.
        num_layers: of the encoder.
        checkpoint: folder for what is done; what lies there is not computed again.
        title: for the progress.
    """
    found: dict[str, Reconstruction] = {}
    inputs = Inputs(dense, sparse, batches)
    with tqdm(desc=title, total=len(POINTS) * num_layers) as progress:
        for layer in (f"encoder_{index:02d}" for index in range(num_layers)):
            path = checkpoint / f"{layer}.npz"
            is_done = path.exists()
            known = wanted.layers(f"{layer}/")
            of_layer = _read_checkpoint(path, known) if is_done else {}
            for point, tails in POINTS:
                names = [f"{layer}/{tail}" for tail in tails if f"{layer}/{tail}" in known]
                if names and not is_done:
                    moments = inputs.moments(f"{layer}/{point}")
                    of_layer |= {name: wanted.reconstructed(dense, name, moments) for name in names}
                for name in names:
                    for variable, part in zip(variables(sparse, name), PARTS, strict=True):
                        variable.assign(getattr(of_layer[name], part))
                progress.update()
            if not is_done:
                of_layer = wanted.joined(of_layer)
                for name, one in of_layer.items():
                    for variable, part in zip(variables(sparse, name), PARTS, strict=True):
                        variable.assign(getattr(one, part))
                _write_checkpoint(path, of_layer)
            found |= of_layer
            inputs.ascend(f"{layer}/ffn/norm")
    return found


def variables(model: keras.Model, layer: str) -> list[tf.Variable]:
    """Return kernel and bias of a layer."""
    return [bert.parameters(model)[f"{layer}/{part}"] for part in PARTS]


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
    keys = [one.name for one in fields(Reconstruction)]
    arrays = read_arrays(path, [f"{name}/{key}" for name in names for key in keys])
    return {
        name: Reconstruction(
            **{key: arrays[f"{name}/{key}"] for key in keys if key != "error"},
            error=float(arrays[f"{name}/error"]),
        )
        for name in names
    }


class Inputs:
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
