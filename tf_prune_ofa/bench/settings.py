"""How files are measured: what a benchmark is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from tf_prune_ofa.errors import UserError

# Runtimes whose files are `.tflite` files that XNNPACK may run.
TFLITE_RUNTIMES = ("auto", "litert", "tflite_runtime", "tensorflow", "compiled_model")


@dataclass(frozen=True)
class BenchSettings:
    """How to measure.

    Attributes:
        threads: threads of the runtime.
        runs: counted runs of each file.
        burst: counted runs in a row before the next file has its turn.
        warmup: runs of each file before the first turn.
        seconds: stop taking turns after this long.
        loads: fresh processes for each file that measure load time and memory; the median counts.
            0 leaves these figures out.
        seed: of the inputs.
        runtime: which runtime, for files that do not come with one; one of `runners.NAMES`.
        xnnpack: whether XNNPACK may take operators over.
        sequence_length: tokens of an example, for files that leave that open; None where all files
            have fixed shapes.
    """

    threads: int = 1
    runs: int = 200
    burst: int = 2
    warmup: int = 5
    seconds: float = 60.0
    loads: int = 3
    seed: int = 0
    runtime: str = "auto"
    xnnpack: bool = True
    sequence_length: int | None = None


def check_settings(settings: BenchSettings) -> None:
    """Refuses numbers that mean nothing.

    Raises:
        UserError: one is below the least.
    """
    for name, least in (("threads", 1), ("runs", 1), ("burst", 1), ("warmup", 0), ("loads", 0)):
        value = getattr(settings, name)
        if value < least:
            raise UserError(f"--{name} is {value}; it must be at least {least}.")
    if settings.sequence_length is not None and settings.sequence_length < 1:
        raise UserError(f"--sequence_length is {settings.sequence_length}; it must be at least 1.")
    if not settings.seconds > 0:
        raise UserError(f"--seconds is {settings.seconds}; it must be more than 0.")
