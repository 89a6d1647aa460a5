"""How many examples a second a distillation step trains, here and in PyTorch, measured in turns.

The step is that of the transfer stage: a classifier with a locked pattern learns from a teacher's
logits. Both sides start from the same weights and see the same batch, so their losses must be equal
too, which is checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.bench.machine import busy_warning, machine_facts
from tf_prune_ofa.bench.process import WorkerProcess
from tf_prune_ofa.bench.rounds import interleave
from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference
from tf_prune_ofa.experiments.keras_step import SETTINGS
from tf_prune_ofa.text_table import megabytes, text_table

TORCH = "torch==2.13.0"
SCHEMA = "tf_prune_ofa.step_speed/1"
_WARMUP = 3
# How far losses may be apart, relative: at the first step by rounding; after it by more, because
# Adam's first step is as long for the smallest gradient as for the largest, whatever its sign.
_FIRST_TOLERANCE, _TOLERANCE = 1e-3, 0.05


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
        `speed` and `cpu_speed`: how many times as fast as PyTorch (ratio, low, high);
        `peak_memory_bytes`: most that the process held while it trained, above its packages.
    """
    machine = machine_facts()
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds: list[tuple[str, str, WorkerProcess]] = []

        def start(name: str, module: str, python: Path | None, **arguments: Any) -> dict[str, Any]:
            process = stack.enter_context(
                WorkerProcess(python, f"tf_prune_ofa.experiments.{module}")
            )
            opened = process.ask("open", name, threads=threads, **arguments)
            kinds.append((name, opened["version"], process))
            return opened

        model = {
            "weights": weights,
            "batch_size": batch_size,
            "sequence_length": sequence_length,
            "seed": seed,
        }
        # Ours first: it writes what PyTorch reads.
        encoder = start("here", "keras_step", None, is_cached=False, folder=str(folder), **model)
        start("here, teacher's logits cached", "keras_step", None, is_cached=True, **model)
        sizes = {name: encoder[name] for name in ("num_layers", "num_heads", "epsilon")}
        for name, fused in (("PyTorch", True), ("PyTorch, AdamW not fused", False)):
            settings = {**SETTINGS, **sizes, "fused": fused}
            start(name, "torch_step", torch_python, folder=str(folder), settings=settings)
        kinds = kinds[2:] + kinds[:2]  # PyTorch is what the others are compared with
        losses = [
            [process.ask("step", name)["loss"] for _ in range(_WARMUP)]
            for name, _, process in kinds
        ]
        _check_losses([name for name, _, _ in kinds], losses)
        turns = interleave(
            lambda i: kinds[i][2].ask("step", kinds[i][0]), len(kinds), steps, seconds
        )
        memory = [process.ask("memory", name)["peak_memory_bytes"] for name, _, process in kinds]
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
            **SETTINGS,
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
                "peak_memory_bytes": memory[i],
            }
            for i, (name, version, _) in enumerate(kinds)
        ],
    }


def describe(result: dict[str, Any]) -> str:
    """Return a table, ratios first."""
    settings, machine = result["settings"], result["machine"]
    header = (
        "step",
        "speed",
        "95 % interval",
        "CPU speed",
        "examples/s",
        "ms",
        "CPU ms",
        "peak MB",
    )
    rows = [
        [
            f"{step['name']} ({step['version']})",
            f"{step['speed']['ratio']:.2f}",
            f"{step['speed']['low']:.2f}-{step['speed']['high']:.2f}",
            f"{step['cpu_speed']['ratio']:.2f}",
            f"{step['examples_per_second']:.1f}",
            f"{step['step_ms']['median']:.0f}",
            f"{step['cpu_ms']:.0f}",
            megabytes(step["peak_memory_bytes"]),
        ]
        for step in result["steps"]
    ]
    load = machine["load_average"]
    return "\n\n".join(
        [
            text_table(header, rows),
            "speed: how many times as many examples a second as the first line; CPU speed: the "
            "same by processor time of all threads; peak MB: most memory held while it trained, "
            "above that of the imported packages.",
            f"{settings['weights']}, batch {settings['batch_size']}, {settings['sequence_length']} "
            f"tokens, {settings['threads']} threads, {result['steps'][0]['step_ms']['runs']} steps "
            f"in turns, on {machine['cpu']}, load average "
            f"{'unknown' if load is None else load[0]} on {machine['usable_cores']} cores.",
            *(f"Warning: {warning}" for warning in result["warnings"]),
        ]
    )


def _check_losses(names: Sequence[str], losses: Sequence[Sequence[float]]) -> None:
    for name, own in zip(names, losses, strict=True):
        apart = np.abs(np.subtract(own, losses[0]) / losses[0])
        if apart[0] > _FIRST_TOLERANCE or apart.max() > _TOLERANCE:
            raise RuntimeError(
                f"'{names[0]}' and '{name}' do not take the same steps: losses {losses[0]}, {own}"
            )
