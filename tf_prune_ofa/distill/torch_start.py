"""Where a long run begins: an encoder pruned by reconstruction, for several tasks at once.

    python -m tf_prune_ofa.distill.torch_start SETTINGS.json

Runs in a Python that has PyTorch, SciPy and NumPy; minutes on a core. How far each layer is pruned
is ranked by the losses of several tasks (`pruning.joint_sparsities`), on teachers fine-tuned for
them and, where `every_token` names texts, by what the last hidden states of all their tokens carry:
heads of sentences read the first token alone. Which weights, and their values, come from
`pruning.reconstruction`, layer by layer, on mixed texts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.distill.torch_encoder import (
    DENSE,
    Sizes,
    Weights,
    dense,
    embed,
    layer,
    padding_scores,
    torch_weights,
)
from tf_prune_ofa.distill.torch_texts import LENGTHS, Batch, Texts
from tf_prune_ofa.pruning.joint_sparsities import Layer, averaged_gradients, joint_sparsities
from tf_prune_ofa.pruning.reconstruction import Moments, reconstruct

# Where the inputs of Dense layers are read, and the layers they go to.
POINTS = {
    "attention/input": DENSE[:3],
    "attention/context": DENSE[3:4],
    "ffn/input": DENSE[4:5],
    "ffn/activation": DENSE[5:],
}
_ROWS = 32  # texts at a time


@dataclass(frozen=True)
class Settings:
    """Of a start.

    Attributes:
        encoder: .npz of the dense encoder by stable names.
        teachers: by task, .npz of an encoder with its classifier, fine-tuned on it.
        labels: by task, .npy: integers of classes, or floats of a regression; one for each text.
        texts: files of `torch_texts` by name, the tasks' own among them.
        examples: how many texts of each are used for the layers' inputs.
        graded: how many texts of each task are used for the gradients.
        out: .npz to write; the sparsities go to a .json beside it.
        every_token: names of texts whose last hidden states count as one more task, so that tasks
            which read every token find what they need.
        goal: a sparsity that the long run will prune to, and the most of a layer there; its
            sparsities go to a .goal.json. (0, 0) where there is none.
    """

    encoder: str
    teachers: dict[str, str]
    labels: dict[str, str]
    texts: dict[str, str]
    examples: dict[str, int]
    out: str
    sizes: dict[str, Any]
    sparsity: float = 0.8
    most: float = 0.95
    rounds: int = 8
    graded: int = 512
    first_token: int = 8
    seed: int = 0
    every_token: list[str] = field(default_factory=list)
    goal: tuple[float, float] = (0.0, 0.0)


def squared_gradients(
    weights: Weights, batches: Sequence[tuple[Batch, np.ndarray]], sizes: Sizes
) -> dict[str, np.ndarray]:
    """Return the mean over tokens of a task loss's squared gradients, [O] by layer name.

    Args:
        weights: of an encoder with pooler and classifier; one output makes it a regression.
        batches: texts and their labels.
        sizes: of the encoder.
    """

    def loss(last: torch.Tensor, number: int) -> torch.Tensor:
        logits = dense(torch.tanh(dense(last[:, 0], weights, "pooler")), weights, "classifier")
        wanted = torch.from_numpy(batches[number][1])
        if logits.shape[1] == 1:
            return 0.5 * (logits[:, 0] - wanted).square().sum()
        return functional.cross_entropy(logits, wanted, reduction="sum")

    return _squared_gradients(weights, [batch for batch, _ in batches], sizes, loss)


def squared_gradients_of_states(
    weights: Weights, batches: Sequence[Batch], sizes: Sizes, seed: int
) -> dict[str, np.ndarray]:
    """Return the same for the last hidden states of all tokens, each over its deviation.

    The mean, over random signs of all channels and tokens, of the squared gradient of their sum is
    the sum of their squared gradients (Hutchinson 1989); one draw for each batch is taken.

    Args:
        weights: of an encoder.
        batches: texts.
        sizes: of the encoder.
        seed: of the signs.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss(last: torch.Tensor, number: int) -> torch.Tensor:
        is_token = torch.from_numpy(batches[number][2]).bool()
        states = last[is_token]
        signs = torch.randint(0, 2, states.shape, generator=generator) * 2.0 - 1.0
        return (states * signs / states.detach().std(0).clamp_min(1e-6)).sum()

    return _squared_gradients(weights, batches, sizes, loss)


def _squared_gradients(
    weights: Weights,
    batches: Sequence[Batch],
    sizes: Sizes,
    loss: Callable[[torch.Tensor, int], torch.Tensor],
) -> dict[str, np.ndarray]:
    """Return the mean over tokens; `loss` takes a batch's last hidden states and its number."""
    names = [f"encoder_{i:02d}/{part}" for i in range(sizes.num_layers) for part in DENSE]
    total = {name: np.zeros(len(weights[f"{name}/bias"])) for name in names}
    tokens = 0
    for number, (ids, types, mask) in enumerate(batches):
        record: dict[str, torch.Tensor] = {}
        is_token = torch.from_numpy(mask).bool()
        x = embed(weights, torch.from_numpy(ids), torch.from_numpy(types), sizes).requires_grad_()
        for index in range(sizes.num_layers):
            padding = padding_scores(torch.from_numpy(mask))
            x = layer(x, padding, weights, f"encoder_{index:02d}", sizes, record)
        gradients = torch.autograd.grad(loss(x, number), [record[name] for name in names])
        for name, gradient in zip(names, gradients, strict=True):
            total[name] += gradient[is_token].double().square().sum(0).numpy()
        tokens += int(is_token.sum())
    return {name: value / tokens for name, value in total.items()}


class Inputs:
    """Inputs of the layers of one encoder, from the bottom up."""

    def __init__(self, weights: Weights, batches: Sequence[Batch], sizes: Sizes) -> None:
        """Begin below the first layer."""
        self.weights, self.sizes = weights, sizes
        self._ids = [torch.from_numpy(mask) for _, _, mask in batches]
        self._states = [
            embed(weights, torch.from_numpy(ids), torch.from_numpy(types), sizes)
            for ids, types, _ in batches
        ]

    def at(self, name: str, point: str, first_token: int) -> list[np.ndarray]:
        """Return the inputs at a point of the present layer, [N, I] of each batch.

        The first token of each text comes so many times: task heads read it alone.
        """
        found = []
        for state, mask in zip(self._states, self._ids, strict=True):
            record: dict[str, torch.Tensor] = {}
            self._layer(state, mask, name, record)
            values = record[f"{name}/{point}"].float()
            again = values[:, 0].repeat(first_token - 1, 1)
            found.append(torch.cat([values[mask.bool()], again]).numpy())
        return found

    def ascend(self, name: str) -> None:
        """Go on from the outputs of the present layer."""
        pairs = zip(self._states, self._ids, strict=True)
        self._states = [self._layer(state, mask, name, None) for state, mask in pairs]

    def _layer(
        self, x: torch.Tensor, mask: torch.Tensor, name: str, record: dict[str, Any] | None
    ) -> torch.Tensor:
        with torch.no_grad():
            return layer(x, padding_scores(mask), self.weights, name, self.sizes, record)


def sparsities(
    weights: Mapping[str, np.ndarray],
    batches: Sequence[Batch],
    gradients: Mapping[str, np.ndarray],
    settings: Settings,
) -> list[dict[str, float]]:
    """Return the sparsity of each layer, of the start and, where there is one, of the goal.

    `gradients` as from `averaged_gradients`.
    """
    sizes = Sizes(**settings.sizes)
    inputs = Inputs(torch_weights(weights, torch.float32), batches, sizes)
    layers = {}
    for index in range(sizes.num_layers):
        name = f"encoder_{index:02d}"
        for point, parts in POINTS.items():
            found = [
                np.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
                for x in inputs.at(name, point, settings.first_token)
            ]
            tokens = sum(len(x) for x in found)
            gram = np.zeros((found[0].shape[1],) * 2)
            for x in found:
                gram += x.T @ x
            for part in parts:
                full = f"{name}/{part}"
                kernel, bias = weights[f"{full}/kernel"], weights[f"{full}/bias"]
                layers[full] = Layer(kernel, bias, gram / tokens, gradients[full])
        inputs.ascend(name)
    wanted = [(settings.sparsity, settings.most), settings.goal]
    return [joint_sparsities(layers, of_all, most=most) for of_all, most in wanted if of_all]


def pruned(
    weights: Mapping[str, np.ndarray],
    batches: Sequence[Batch],
    goal: Mapping[str, float],
    gradients: Mapping[str, np.ndarray],
    settings: Settings,
) -> dict[str, np.ndarray]:
    """Return the encoder with each layer pruned to its sparsity, from the bottom up."""
    sizes = Sizes(**settings.sizes)
    before = Inputs(torch_weights(weights, torch.float32), batches, sizes)
    after = Inputs(torch_weights(weights, torch.float32), batches, sizes)
    found = dict(weights)
    for index in range(sizes.num_layers):
        name = f"encoder_{index:02d}"
        for point, parts in POINTS.items():
            xs, zs = (i.at(name, point, settings.first_token) for i in (after, before))
            moments = Moments(xs[0].shape[1])
            for x, z in zip(xs, zs, strict=True):
                moments.add(x, z)
            for part in parts:
                full = f"{name}/{part}"
                # The root: what the tasks have no use for shall not vanish altogether.
                columns = np.sqrt(gradients[full] / gradients[full].mean())
                done = reconstruct(
                    weights[f"{full}/kernel"],
                    weights[f"{full}/bias"],
                    moments,
                    _chooser(goal[full], columns, settings.rounds),
                    rounds=settings.rounds,
                )
                found[f"{full}/kernel"], found[f"{full}/bias"] = done.kernel, done.bias
                after.weights = {
                    **after.weights,
                    f"{full}/kernel": torch.from_numpy(done.kernel.T.copy()),
                    f"{full}/bias": torch.from_numpy(done.bias),
                }
                print(f"{full}: sparsity {1 - done.mask.mean():.3f}, error {done.error:.3f}")
        before.ascend(name)
        after.ascend(name)
    return found


def _chooser(sparsity: float, columns: np.ndarray, rounds: int) -> Any:
    def choose(number: int, costs: np.ndarray, before: np.ndarray) -> np.ndarray:
        costs = np.where(before, costs * columns, -1.0)
        zeros = round(sparsity * (1 - (1 - number / rounds) ** 3) * costs.size)
        kept = np.ones(costs.size, bool)
        kept[np.argpartition(costs.ravel(), zeros)[:zeros]] = False
        return kept.reshape(costs.shape)

    return choose


def _batches(texts: Texts, indices: np.ndarray) -> list[tuple[Batch, np.ndarray]]:
    """Return texts by length, some at a time, each with its indices."""
    ordered = indices[np.argsort(texts.lengths[indices], kind="stable")]
    parts = [ordered[begin : begin + _ROWS] for begin in range(0, len(ordered), _ROWS)]
    return [
        (texts.batch(part, min(n for n in LENGTHS if n >= texts.lengths[part].max())), part)
        for part in parts
    ]


def main(settings: Settings) -> None:
    """Write the pruned encoder and its sparsities."""
    rng = np.random.default_rng(settings.seed)
    sizes = Sizes(**settings.sizes)
    weights = dict(np.load(settings.encoder))
    kernels = {
        f"encoder_{i:02d}/{part}": weights[f"encoder_{i:02d}/{part}/kernel"]
        for i in range(sizes.num_layers)
        for part in DENSE
    }
    of_tasks = []
    for task, path in settings.teachers.items():
        texts, labels = Texts(settings.texts[task]), np.load(settings.labels[task])
        chosen = rng.choice(len(labels), min(settings.graded, len(labels)), replace=False)
        graded = [(batch, labels[part]) for batch, part in _batches(texts, chosen)]
        teacher = torch_weights(dict(np.load(path)), torch.float32)
        of_tasks.append(squared_gradients(teacher, graded, sizes))
    if settings.every_token:
        plain = []
        for name in settings.every_token:
            texts = Texts(settings.texts[name])
            count = min(settings.graded, len(texts.lengths))
            chosen = rng.choice(len(texts.lengths), count, replace=False)
            plain += [batch for batch, _ in _batches(texts, chosen)]
        encoder = torch_weights(weights, torch.float32)
        of_tasks.append(squared_gradients_of_states(encoder, plain, sizes, settings.seed))
    gradients = averaged_gradients(of_tasks, kernels)
    batches = []
    for name, count in settings.examples.items():
        texts = Texts(settings.texts[name])
        chosen = rng.choice(len(texts.lengths), min(count, len(texts.lengths)), replace=False)
        batches += [batch for batch, _ in _batches(texts, chosen)]
    found = sparsities(weights, batches, gradients, settings)
    for of_layers, suffix in zip(found, (".json", ".goal.json"), strict=False):
        Path(settings.out).with_suffix(suffix).write_text(json.dumps(of_layers, indent=1) + "\n")
    write_arrays(settings.out, pruned(weights, batches, found[0], gradients, settings))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
