"""Which cores to run on: the big ones, the little ones, or those that are named."""

from __future__ import annotations

import re

from tf_prune_ofa.device.machine import Core, Machine
from tf_prune_ofa.errors import UserError


def choose(asked: str, machine: Machine) -> list[int]:
    """Return the numbers of the cores to run on; none means that the system chooses.

    Args:
        asked: "all", "big" (the fastest kind), "little" (the slowest), or numbers such as "4,5".
        machine: whose cores.

    Raises:
        UserError: no such cores, or it cannot be told which are big.
    """
    if asked == "all":
        return []
    known = {core.number for core in machine.cores}
    if re.fullmatch(r"\d+(,\d+)*", asked):
        numbers = sorted({int(number) for number in asked.split(",")})
        missing = [n for n in numbers if known and n not in known]
        if missing:
            raise UserError(
                f"--cores={asked}: there is no core {', '.join(map(str, missing))}, or it is off; "
                f"there are {', '.join(map(str, sorted(known)))}."
            )
        return numbers
    if asked not in ("big", "little"):
        raise UserError(f"--cores={asked}: write all, big, little, or numbers such as 4,5.")
    speeds = {core.number: _speed(core) for core in machine.cores}
    if len(set(speeds.values())) < 2:
        raise UserError(
            f"--cores={asked}: {machine.name or 'the machine'} does not tell big cores from little "
            "ones. Name them by number, or leave it out."
        )
    wanted = max(speeds.values()) if asked == "big" else min(speeds.values())
    return sorted(number for number, speed in speeds.items() if speed == wanted)


def _speed(core: Core) -> tuple[int, int]:
    # Capacity is what the kernel schedules by; two kinds may have the same clock.
    return core.capacity, core.max_khz
