"""A long distillation of hidden states in PyTorch: how the encoders in `encoders/` were trained.

    python -m tf_prune_ofa.distill.torch_run SETTINGS.json

Runs in a Python that has PyTorch and NumPy, on a GPU for minutes or on one core for hours; killed,
it goes on from its last checkpoint. Kernels are bfloat16, which a processor with AVX512-BF16
multiplies twice as fast as float32. What is trained, the kept weights, is float32 and lies compact:
a tenth of the weights has a tenth of the optimizer's work. A pattern may be pruned further while it
trains, and is then fixed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.distill.torch_encoder import (
    Sizes,
    Weights,
    embed,
    hidden_states,
    layer,
    torch_weights,
)
from tf_prune_ofa.distill.torch_texts import LENGTHS, Batch, Mixture, Texts

STATE, LOG = "state.pt", "log.jsonl"
_HELD_OUT = 1365  # tokens of each length, about
_BETAS, _EPSILON = (0.9, 0.99), 1e-8


@dataclass(frozen=True)
class Settings:
    """Of one run.

    Attributes:
        start: .npz of the sparse encoder by stable names, kernels [in, out]; zeros are pruned.
        teacher: .npz of the dense encoder; what `start` lacks is taken from it when written.
        texts: files of `torch_texts` by name; `mix`, their shares of the batches.
        held_out: file of texts to judge on; `calibration`, names of texts to measure channels on.
        out: folder for checkpoints, the log and encoders (step1000.npz ...).
        sizes: `num_layers`, `num_heads`, `epsilon` of the encoder.
        sparsities: .json of the final sparsity of each layer; "" where the pattern stays.
        prune: first step, last step and steps between two, of pruning towards them.
        block: weights of one output, of adjacent inputs, that are pruned together.
        first_token: how much the first token counts, which task heads read; others count 1.
        replaced: the largest share of a batch's tokens that becomes other tokens (`Mixture`).
        bfloat16: type of the kernels, or float32.
        device: "cpu" or "cuda".
        compiled: whether layers go through `torch.compile`.
    """

    start: str
    teacher: str
    texts: dict[str, str]
    mix: dict[str, float]
    held_out: str
    calibration: list[str]
    out: str
    sizes: dict[str, Any]
    steps: int = 3800
    learning_rate: float = 1e-3
    warmup: int = 100
    tokens: int = 1024
    seed: int = 0
    sparsities: str = ""
    prune: tuple[int, int, int] = (400, 1200, 30)
    block: int = 1
    first_token: float = 8.0
    replaced: float = 0.0
    clip_norm: float = 1.0
    bfloat16: bool = True
    device: str = "cpu"
    compiled: bool = False
    checkpoint_every: int = 200
    save_every: int = 500
    save_at: list[int] = field(default_factory=list)


class Kept:
    """The kept weights of a kernel, or all of another weight, with their moments; all float32."""

    def __init__(self, value: torch.Tensor, *, is_kernel: bool) -> None:
        """Take the weights that are not 0 of a kernel [out, in]; all of another weight."""
        flat = value.reshape(-1)
        self.size = flat.numel()
        self.places = torch.nonzero(flat)[:, 0] if is_kernel else None
        self.values = flat[self.places].clone() if is_kernel else value.clone()
        self.first = torch.zeros_like(self.values)
        self.second = torch.zeros_like(self.values)

    def step(self, gradient: torch.Tensor, rate: float, number: int) -> None:
        """Take step `number` (1, 2, ...) of Adam; `gradient` is as `compact` returns it."""
        self.first.lerp_(gradient, 1 - _BETAS[0])
        self.second.lerp_(gradient * gradient, 1 - _BETAS[1])
        scale = (self.second / (1 - _BETAS[1] ** number)).sqrt_().add_(_EPSILON)
        self.values.addcdiv_(self.first, scale, value=-rate / (1 - _BETAS[0] ** number))

    def compact(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the part of a gradient that belongs to kept weights."""
        return gradient if self.places is None else gradient.reshape(-1)[self.places].float()

    def prune(self, sparsity: float, block: int = 1) -> None:
        """Keep fewer weights, by the diagonal Fisher: w² times the mean squared gradient.

        Blocks of adjacent inputs stay or go as one; see `require_blocks`.
        """
        count = (self.size - round(sparsity * self.size)) // block
        if count * block >= len(self.values):
            return
        # A small floor: a weight whose gradient happened to be 0 is not worthless.
        scores = self.values**2 * (self.second + 1e-3 * self.second.mean())
        scores = scores.unflatten(0, (-1, block)).sum(1)
        top = torch.topk(scores, count, sorted=False).indices.sort().values
        top = (top[:, None] * block + torch.arange(block, device=top.device)).flatten()
        for name in ("places", "values", "first", "second"):
            setattr(self, name, getattr(self, name)[top].clone())

    def require_blocks(self, block: int, name: str) -> None:
        """Raise a ValueError unless the kept weights are whole blocks; all of a kernel are, too.

        A single 0 in a dense kernel counts as pruned, and would shift every block behind it.
        """
        assert self.places is not None
        kept = torch.bincount(self.places // block, minlength=-(-self.size // block))
        if not bool(((kept == 0) | (kept == block)).all()):
            raise ValueError(
                f"{name} of the start is not in blocks of {block}: some have 1 to {block - 1} "
                "weights that are not 0. Start from an encoder whose zeros are whole blocks; in a "
                "dense one give its exact zeros a tiny value"
            )

    def write(self, target: torch.Tensor) -> None:
        """Write the weights to a tensor of the model, in its type."""
        if self.places is None:
            target.copy_(self.values)
        else:
            target.zero_().view(-1)[self.places] = self.values.to(target.dtype)

    def dense(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the weight as float32 by its stable name: a kernel as [in, out]."""
        if self.places is None:
            return self.values.cpu().numpy().copy()
        flat = torch.zeros(self.size)
        flat[self.places.cpu()] = self.values.cpu()
        return flat.reshape(shape[::-1]).numpy().T.copy()


def channel_loss(
    student: list[torch.Tensor],
    teacher: list[torch.Tensor],
    mask: torch.Tensor,
    inverse_variances: list[torch.Tensor],
    first_token: float,
) -> torch.Tensor:
    """Return the error of hidden states as a share of each channel's variance.

    As SquareHead, but by channel: one with large values rules its layer no more than the layer
    rules the others.

    Args:
        student: [B, S, H] of each layer.
        teacher: the same of the teacher.
        mask: [B, S], 1 token, 0 padding.
        inverse_variances: [H] of each layer.
        first_token: weight of the first token; others have 1.

    Returns:
        The error of each layer, [L].
    """
    weights = mask.clone()
    weights[:, 0] = first_token
    weights = weights / weights.sum()
    errors = [
        ((((s - t).square() * inverse).mean(-1)) * weights).sum()
        for s, t, inverse in zip(student, teacher, inverse_variances, strict=True)
    ]
    return torch.stack(errors)


class Run:
    """Student, teacher and what is trained."""

    def __init__(self, settings: Settings) -> None:
        """Read all files; go on from a checkpoint where there is one."""
        self.settings = settings
        self.sizes = Sizes(**settings.sizes)
        self.out = Path(settings.out)
        self.out.mkdir(parents=True, exist_ok=True)
        kernels = torch.bfloat16 if settings.bfloat16 else torch.float32
        self.base = dict(np.load(settings.teacher))
        self.teacher = torch_weights(self.base, kernels, settings.device)
        self.layer = torch.compile(layer, dynamic=True) if settings.compiled else layer
        start = {k: v for k, v in np.load(settings.start).items() if not k.startswith("pooler/")}
        self.student = torch_weights(start, kernels, settings.device)
        exact = torch_weights(start, torch.float32, settings.device)
        self.trained = {
            name: Kept(exact[name], is_kernel=name.endswith("/kernel"))
            for name in sorted(exact, key=lambda name: not name.endswith("/kernel"))
            if not name.startswith("embeddings/")
        }
        for name, kept in self.trained.items():
            if settings.block > 1 and kept.places is not None:
                kept.require_blocks(settings.block, name)
        self.first_sparsities = {
            name: 1 - len(kept.values) / kept.size
            for name, kept in self.trained.items()
            if kept.places is not None
        }
        for name in self.trained:
            self.student[name].requires_grad_()
        self.texts = {name: Texts(path) for name, path in settings.texts.items()}
        self.mixture = Mixture(
            self.texts, settings.mix, settings.tokens, settings.seed, settings.replaced
        )
        self.inverse_variances = self._inverse_variances()
        self.done = 0
        if (self.out / STATE).exists():
            state = torch.load(self.out / STATE, settings.device, weights_only=False)
            self.done, self.trained = state["step"], state["trained"]
        self._write()

    def train(self) -> None:
        """Train to the last step."""
        settings = self.settings
        goal = json.loads(Path(settings.sparsities).read_text()) if settings.sparsities else {}
        began, mean = time.time(), None
        while self.done < settings.steps:
            self.done += 1
            loss = self.step()
            begin, end, every = settings.prune
            if goal and begin <= self.done <= end and (self.done - begin) % every == 0:
                self.prune(goal, (self.done - begin) / (end - begin))
            self._write()
            mean = loss if mean is None else torch.lerp(mean, loss, 0.02)
            if self.done % 25 == 0:
                seconds = round(time.time() - began)
                self._log(step=self.done, loss=float(mean), sparsity=self.sparsity, seconds=seconds)
            is_last = self.done == settings.steps
            if is_last or self.done % settings.checkpoint_every == 0:
                self._checkpoint()
            if is_last or self.done % settings.save_every == 0 or self.done in settings.save_at:
                self.save(self.out / f"step{self.done}.npz")
                self._log(step=self.done, held_out=self.judge())

    def step(self) -> torch.Tensor:
        """Take one step; return its loss. Nothing here waits for a GPU."""
        settings, number = self.settings, self.done
        ids, types, mask = self._tensors(self.mixture.batch(number))
        embedded = embed(self.teacher, ids, types, self.sizes)
        with torch.no_grad():
            taught = hidden_states(self.teacher, embedded, mask, self.sizes, self.layer)
        found = hidden_states(self.student, embedded, mask, self.sizes, self.layer)
        loss = channel_loss(
            found, taught, mask, self.inverse_variances, settings.first_token
        ).mean()
        gradients = torch.autograd.grad(loss, [self.student[name] for name in self.trained])
        with torch.no_grad():
            own = [k.compact(g) for k, g in zip(self.trained.values(), gradients, strict=True)]
            norm = torch.stack([g.square().sum() for g in own]).sum().sqrt()
            scale = (settings.clip_norm / norm.clamp_min(1e-12)).clamp_max(1.0)
            rate = self.rate(number)
            for kept, gradient in zip(self.trained.values(), own, strict=True):
                kept.step(gradient * scale, rate, number)
        return loss.detach()

    def rate(self, number: int) -> float:
        """Return the learning rate of a step: up in the warm-up, then linear to 0."""
        settings = self.settings
        left = 1 - (number - settings.warmup) / max(1, settings.steps - settings.warmup)
        return settings.learning_rate * min(number / settings.warmup, max(0.0, left))

    def prune(self, goal: dict[str, float], progress: float) -> None:
        """Prune each layer towards its final sparsity, cubic in the progress in [0, 1]."""
        for name, first in self.first_sparsities.items():
            last = goal[name.removesuffix("/kernel")]
            sparsity = first + (last - first) * (1 - (1 - progress) ** 3)
            self.trained[name].prune(sparsity, self.settings.block)

    @property
    def sparsity(self) -> float:
        """Share of zeros in all kernels together."""
        kernels = [self.trained[name] for name in self.first_sparsities]
        return 1 - sum(len(k.values) for k in kernels) / sum(k.size for k in kernels)

    def judge(self) -> list[float]:
        """Return the error of each layer on held-out texts."""
        texts, count, total = Texts(self.settings.held_out), 0, np.zeros(self.sizes.num_layers)
        for length, members in zip(LENGTHS, texts.of_length, strict=True):
            members = members[: max(4, _HELD_OUT // length)]
            if not len(members):
                continue
            batch = texts.batch(members, length)
            errors = channel_loss(
                self._states(self.student, batch),
                self._states(self.teacher, batch),
                self._tensors(batch)[2],
                self.inverse_variances,
                self.settings.first_token,
            )
            total += errors.cpu().numpy() * len(members)
            count += len(members)
        return list(total / count)

    def save(self, path: Path) -> None:
        """Write the encoder by stable names, whole or not at all."""
        own = {name: kept.dense(self.base[name].shape) for name, kept in self.trained.items()}
        write_arrays(path, {**self.base, **own})

    def _states(self, weights: Weights, batch: Batch) -> list[torch.Tensor]:
        ids, types, mask = self._tensors(batch)
        with torch.no_grad():
            embedded = embed(self.teacher, ids, types, self.sizes)
            return hidden_states(weights, embedded, mask, self.sizes)

    def _tensors(self, batch: Batch) -> list[torch.Tensor]:
        tensors = [torch.from_numpy(values) for values in batch]
        if self.settings.device == "cpu":
            return tensors
        # From pinned memory, the one kind that a copy need not wait for.
        return [t.pin_memory().to(self.settings.device, non_blocking=True) for t in tensors]

    def _inverse_variances(self) -> list[torch.Tensor]:
        """Return 1 over the variance of the teacher's channels, [H] of each layer."""
        rng = np.random.default_rng(99)
        states: list[list[torch.Tensor]] = [[] for _ in range(self.sizes.num_layers)]
        for name in self.settings.calibration:
            batch = self.texts[name].draw(rng, 2 * self.settings.tokens)
            is_token = self._tensors(batch)[2].bool()
            for of_layer, state in zip(states, self._states(self.teacher, batch), strict=True):
                of_layer.append(state[is_token])
        variances = [torch.cat(of_layer).var(0) for of_layer in states]
        # A channel that hardly moves would count for more than it carries.
        return [1 / v.clamp_min(0.05 * float(v.median())) for v in variances]

    def _write(self) -> None:
        with torch.no_grad():
            for name, kept in self.trained.items():
                kept.write(self.student[name].data)

    def _checkpoint(self) -> None:
        temporary = self.out / f"{STATE}.new"
        torch.save({"step": self.done, "trained": self.trained}, temporary)
        os.replace(temporary, self.out / STATE)

    def _log(self, **values: Any) -> None:
        line = json.dumps(values)
        print(line, flush=True)
        with open(self.out / LOG, "a", encoding="utf-8") as log:
            log.write(line + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Run(Settings(**chosen)).train()
