"""What the runner is told, and what it says: the two sides of native/runner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tf_prune_ofa.device.throttle import Round


@dataclass(frozen=True)
class JobRow:
    """One row of the table: a file on the device, with or without the delegate."""

    model: str
    is_sparse: bool
    threads: int
    inputs: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """See native/runner/job.h."""

    rows: Sequence[JobRow]
    runtime: str
    delegate: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    cores: Sequence[int] = ()
    sys: str = "/sys"
    warmup: int = 5
    rounds: int = 100
    burst: int = 2
    loads: int = 3
    seconds: float = 60
    limit: int = 600

    def text(self) -> str:
        """As the runner reads it."""
        lines = [f"runtime {self.runtime}", f"sys {self.sys}", f"seconds {self.seconds:g}"]
        if self.delegate:
            lines.append(f"delegate {self.delegate}")
        if self.cores:
            lines.append("cores " + ",".join(map(str, self.cores)))
        for key in ("warmup", "rounds", "burst", "loads", "limit"):
            lines.append(f"{key} {getattr(self, key)}")
        lines += [f"option {key} {value}" for key, value in self.options.items()]
        for row in self.rows:
            kind = "sparse" if row.is_sparse else "stock"
            options = [f"{key}={value}" for key, value in row.options.items()]
            words = ["row", row.model, kind, str(row.threads), row.inputs, *options]
            lines.append(" ".join(words))
        return "\n".join(lines) + "\n"


@dataclass
class Said:
    """What the runner said, by events.

    Attributes:
        start: the first reading of the sensors, and `zones`, their kinds.
        loads: for each row's place its `load` events.
        refused: for each row that does not run here, why.
        opened: for each row that was opened its `open` event.
        rounds: in their order.
        runtime: version of the library; None before the end.
        failed: why the runner gave up; None if it did not.
    """

    start: dict[str, Any] = field(default_factory=dict)
    loads: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    opened: dict[int, dict[str, Any]] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    runtime: str | None = None
    failed: str | None = None

    def add(self, line: str) -> None:
        """Take in a line of the runner's output; what is no event is passed over."""
        try:
            event = json.loads(line)
        except ValueError:
            return  # a runtime printed something
        kind = event.get("event") if isinstance(event, dict) else None
        if kind == "start":
            self.start = event
        elif kind == "load":
            self.loads.setdefault(event["row"], []).append(event)
        elif kind == "refused":
            self.refused[event["row"]] = event["error"]
        elif kind == "open":
            self.opened[event["row"]] = event
        elif kind == "round":
            self.rounds.append(_round(event))
        elif kind == "failed":
            self.failed = event["error"]
        elif kind == "end":
            self.runtime = event["runtime"]

    @property
    def doing(self) -> str:
        """What the runner was at when it was last heard of."""
        if self.rounds:
            return f"in round {len(self.rounds) + 1}"
        return "while it opened the files" if self.start else "before it said anything"


def _round(event: Mapping[str, Any]) -> Round:
    return Round(
        rows=tuple(event["rows"]),
        first_ms=tuple(event["first_ms"]),
        samples_ms=tuple(tuple(row) for row in event["samples_ms"]),
        cpu_ms=tuple(tuple(row) for row in event["cpu_ms"]),
        clock_khz=tuple(event["clock_khz"]),
        temperature=tuple(value / 1000 for value in event["temperature"]),
        cooling=event["cooling"],
    )
