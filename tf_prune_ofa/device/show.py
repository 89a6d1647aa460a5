"""The result of a device as text."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.bench import show


def describe(result: dict[str, Any]) -> str:
    """Return the table, or why there is none, and what the device was like meanwhile."""
    parts = []
    if result["throttled"]:
        parts.append(
            f"THROTTLED, so no figures: {'; '.join(result['throttled'])}. Let the device cool down "
            "(out of its case, screen off, not charging), then measure again with fewer --seconds."
        )
    elif result["files"]:
        parts.append(show.describe(result))
    parts += [f"{row['file']} does not run here: {row['error']}" for row in result["refused"]]
    parts.append("\n".join(f"{what:24} {value}" for what, value in facts_of(result["machine"])))
    return "\n\n".join(parts)


def facts_of(machine: dict[str, Any]) -> list[tuple[str, str]]:
    """What the device was like while it measured, as (what, value)."""
    clock, heat = machine["clock_ghz"], machine["temperature"]
    used = machine["cores_used"]
    return [
        ("device", machine["device"] or "-"),
        ("cores used", ", ".join(map(str, used)) if used else "the system's choice"),
        ("clock, GHz", _line(clock, ("before", "first_third", "last_third"))),
        ("hottest zone, degrees", _line(heat, ("before", "highest", "after"))),
        ("battery, degrees", _battery(machine)),
    ]


def _line(values: dict[str, float | None], keys: tuple[str, ...]) -> str:
    if values[keys[0]] is None:
        return "not readable here"
    return ", ".join(f"{key.replace('_', ' ')} {values[key]:g}" for key in keys)


def _battery(machine: dict[str, Any]) -> str:
    if machine["battery_celsius"] is None:
        return "-"
    return f"before {machine['battery_celsius']:g}, after {machine['battery_celsius_after']:g}"
