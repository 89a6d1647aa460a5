"""How sparsity and learning rate change over a run: plain functions of the step.

The TensorFlow classes that training uses (`pruning.schedule`, `train.optimizer`) call or tabulate
these, so a test or a plot sees exactly what training sees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from tf_prune_ofa.errors import UserError

Duration = int | str

# At most nine digits: no run is longer, and numbers without end overflow.
_DURATION = re.compile(r"^\s*(\d{1,9}(?:\.\d{1,9})?)\s*(%|steps?|epochs?)\s*$")


def parse_duration(duration: Duration) -> tuple[float, str]:
    """Return a duration as (amount, "steps" | "epochs" | "%").

    Raises:
        UserError: neither a whole number of steps nor text like "500 steps", "2 epochs", "50%".
    """
    if isinstance(duration, int) and not isinstance(duration, bool) and 0 <= duration < 10**9:
        return float(duration), "steps"
    match = _DURATION.match(duration) if isinstance(duration, str) else None
    if not match:
        raise UserError(
            f"{duration!r} is not a duration; write a number of steps (500), epochs ('2 epochs') "
            "or a share of the run ('50%')"
        )
    unit = match[2] if match[2] == "%" else match[2].rstrip("s") + "s"
    return float(match[1]), unit


def steps_of(duration: Duration, *, steps_per_epoch: int, total: int | None = None) -> int:
    """Return a duration in optimizer steps, rounded down.

    Args:
        duration: see `parse_duration`.
        steps_per_epoch: of the data that the run trains on.
        total: length of the run in steps; None where the duration is the run's own length.

    >>> steps_of("50%", steps_per_epoch=10, total=100_000)
    50000
    >>> steps_of("1.5 epochs", steps_per_epoch=10)
    15
    """
    amount, unit = parse_duration(duration)
    if unit == "epochs":
        # 0.29 epochs of 100 steps are 28.999999999999996 in binary.
        return math.floor(amount * steps_per_epoch + 1e-9)
    if unit == "%":
        if total is None:
            raise UserError(
                f"the length of a run cannot be {duration!r} of itself; write steps or epochs"
            )
        return math.floor(amount * total / 100 + 1e-9)
    return int(amount)


@dataclass(frozen=True)
class SparsitySchedule:
    """Gradual magnitude pruning (Zhu & Gupta 2017, eq. 1; cubic in Prune OFA), in optimizer steps.

    Steps count from 0, as those of the learning rate do: an update at step 0 comes before the first
    training step.

    Attributes:
        final: share of zeros that is reached, in [0, 1).
        begin: step of the first mask update; there the sparsity is `initial`.
        ramp_end: first step at which `final` is asked.
        mask_end: last step at which masks may change; from then on the pattern is fixed.
        frequency: steps between mask updates.
        initial: share of zeros at `begin`, in [0, 1). GMP* starts at about 0.7.
        power: 3 is cubic.
        shape: name of the ramp's course; see `register_shape`. `power` counts for "polynomial".
    """

    final: float
    begin: int
    ramp_end: int
    mask_end: int
    frequency: int
    initial: float = 0.0
    power: float = 3.0
    shape: str = "polynomial"

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise UserError(
                f"there is no ramp of shape '{self.shape}'; shapes are {', '.join(_SHAPES)}"
            )
        for name in ("initial", "final"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UserError(f"{name} sparsity must be in [0, 1), got {value}")
        if self.initial > self.final:
            raise UserError(f"initial sparsity {self.initial} is above the final {self.final}")
        if self.frequency < 1:
            raise UserError(f"mask frequency must be at least 1 step, got {self.frequency}")
        if not 0 <= self.begin <= self.ramp_end <= self.mask_end:
            raise UserError(
                "a pruning schedule needs begin <= ramp_end <= mask_end, got "
                f"{self.begin}, {self.ramp_end}, {self.mask_end}"
            )
        if self.last_update < self.ramp_end:
            raise UserError(
                f"no mask update falls between ramp_end {self.ramp_end} and mask_end "
                f"{self.mask_end}: updates come every {self.frequency} steps from {self.begin}, "
                f"the last at {self.last_update}. The final sparsity would never be reached; set "
                f"mask_end to {self.last_update + self.frequency} or lower the frequency"
            )

    @property
    def last_update(self) -> int:
        """The last step at which masks change."""
        return self.begin + (self.mask_end - self.begin) // self.frequency * self.frequency

    def is_update(self, step: int) -> bool:
        """Return whether masks are computed anew at `step`."""
        return self.begin <= step <= self.mask_end and (step - self.begin) % self.frequency == 0

    def asked(self, step: int) -> float:
        """Sparsity that the last mask update up to `step` asked for; 0 before the first."""
        step = min(step, self.last_update)
        return self.sparsity(step - (step - self.begin) % self.frequency)

    def sparsity(self, step: int) -> float:
        """Share of weights that should be zero at `step`.

        s = final + (initial - final) · left(p), with left(p) = (1 - p)^power for a polynomial and
        p = (step - begin) / (ramp_end - begin) held in [0, 1].

        >>> SparsitySchedule(0.9, 0, 50_000, 80_000, 1_000).sparsity(25_000)
        0.7875
        """
        if step < self.begin:
            return 0.0
        ramp = max(self.ramp_end - self.begin, 1)
        progress = min((step - self.begin) / ramp, 1.0) if self.ramp_end > self.begin else 1.0
        left = _SHAPES[self.shape](progress, self.power)
        return self.final + (self.initial - self.final) * left


def register_shape(name: str, left: Callable[[float, float], float]) -> None:
    """Add a course of the ramp that recipes can name.

    Args:
        name: new.
        left: (progress p in [0, 1], power) -> share of the way still to go, from 1 at p = 0 to 0 at
            p = 1, never rising: weights do not return.
    """
    if name in _SHAPES:
        raise UserError(f"there is a shape '{name}' already; choose another name")
    _SHAPES[name] = left


_SHAPES: dict[str, Callable[[float, float], float]] = {
    "polynomial": lambda progress, power: (1.0 - progress) ** power,
    "linear": lambda progress, power: 1.0 - progress,
    "cosine": lambda progress, power: 0.5 + 0.5 * math.cos(math.pi * progress),
}


def zeros_of(size: int, sparsity: float) -> int:
    """Number of zeros in a tensor of `size` weights at `sparsity`, rounded half up.

    >>> zeros_of(16, 0.85)
    14
    """
    # round() would round half to even, and a sparsity like 0.85 is a hair below its decimal value.
    return math.floor(size * sparsity + 0.5 + 1e-9)


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up and decay, with what the papers do to the rate while they prune.

    Rewinding (Prune OFA, section 3): while sparsity ramps up, from `rewind_begin` to `rewind_end`,
    the decay starts again every `rewind_every` steps, so that the rate stays near its peak; the
    full decay follows later. The released code lets the factor rise to W/(W - warmup) > 1 at each
    rewind (W: steps outside the ramp); here it is held at 1.

    Cycles (oBERT, section 4; GMP*): in each `rewind_every` steps the rate falls from its peak to
    `cycle_floor` of it. After `rewind_end`, the last mask update, one more such fall takes the
    rest of the run.

    Attributes:
        peak: highest learning rate.
        total: steps of the run; the rate is 0 after the last one, or `cycle_floor` of the peak.
        warmup: steps from 0 to `peak`.
        decay: "linear" to 0, or "constant"; cycles replace it.
        rewind_begin, rewind_end, rewind_every: the ramp of the sparsity, or with cycles all steps
            in which masks change; rewind_every 0 means neither rewinding nor cycles.
        cycle_floor: share of the peak at the end of a cycle; None for rewinding.
    """

    peak: float
    total: int
    warmup: int = 0
    decay: str = "linear"
    rewind_begin: int = 0
    rewind_end: int = 0
    rewind_every: int = 0
    cycle_floor: float | None = None

    def __post_init__(self) -> None:
        if self.decay not in ("linear", "constant"):
            raise UserError(f"decay must be 'linear' or 'constant', got {self.decay!r}")
        if self.rewind_every and self.total <= self.rewind_end - self.rewind_begin:
            raise UserError(
                f"rewinding needs steps outside the ramp: the run has {self.total} steps, the ramp "
                f"{self.rewind_end - self.rewind_begin}"
            )

    def factor(self, step: int) -> float:
        """Share of the peak rate at `step` (0 is the first), in [0, 1].

        >>> paper = LearningRateSchedule(1.0, 100_000, 1_000, "linear", 0, 50_000, 1_000)
        >>> [round(paper.factor(t), 4) for t in (500, 1_000, 1_500, 50_000, 75_000, 100_000)]
        [0.5, 1.0, 1.0, 1.0, 0.5102, 0.0]
        >>> cycles = LearningRateSchedule(5e-4, 1_200, 0, "linear", 0, 1_100, 100, cycle_floor=0.01)
        >>> [round(cycles.factor(t), 4) for t in (0, 50, 100, 1_100, 1_150, 1_200)]
        [1.0, 0.505, 1.0, 1.0, 0.505, 0.01]
        """
        if step < self.warmup:
            return step / self.warmup
        if self.rewind_every and self.cycle_floor is not None:
            return self._in_cycle(step, self.cycle_floor)
        if self.decay == "constant":
            return 1.0
        if not self.rewind_every:
            return max(0.0, (self.total - step) / max(self.total - self.warmup, 1))
        ramp = self.rewind_end - self.rewind_begin
        outside = self.total - ramp
        if step >= self.rewind_end:
            left = self.total - step
        elif step >= self.rewind_begin:
            since = step - self.rewind_begin
            left = outside - step + since // self.rewind_every * self.rewind_every
        else:
            left = outside - step
        return min(1.0, max(0.0, left / max(outside - self.warmup, 1)))

    def _in_cycle(self, step: int, floor: float) -> float:
        if step < self.rewind_begin:
            return 1.0
        if step < self.rewind_end:
            done = (step - self.rewind_begin) % self.rewind_every / self.rewind_every
        else:
            done = min(1.0, (step - self.rewind_end) / (self.total - self.rewind_end))
        return 1.0 - (1.0 - floor) * done

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        return self.peak * self.factor(step)
