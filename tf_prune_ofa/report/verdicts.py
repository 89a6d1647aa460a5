"""What verification says of each file: pass or fail, why, and by which limits."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.report.rows import by_file

Table = dict[str, Any]

HEADER = ("file", "verdict", "difference (at most)", "agreement (at least)", "why")
_PASSED = "all its numbers are the model's; what it computes is within the limits"


def verdict_table(verify: dict[str, Any]) -> Table:
    """Return a row for each file of verify.json; without rows if it tells no verdicts.

    The difference is the root mean square of those from the model's outputs, divided by the spread
    of these. A file that is wrong already by its numbers was not run.
    """
    files = by_file(verify.get("files"))
    rows = [
        [name, entry["verdict"], _difference(entry), _agreement(entry), _why(entry)]
        for name, entry in files.items()
        if "verdict" in entry
    ]
    return {"header": list(HEADER), "rows": rows, "words": {0, 1, 4}}


def failure(verify: dict[str, Any]) -> str:
    """Return a sentence that names what failed; "" if everything passed, or was not verified."""
    failed = [n for n, e in by_file(verify.get("files")).items() if e.get("verdict") == "fail"]
    problems = list(verify.get("problems") or [])
    if not failed and not problems:
        return ""
    subject = ", ".join(failed) or "the folder of the files"
    said = f": {'; '.join(problems)}" if problems else ""
    return f"Verification failed for {subject}{said}. Do not ship what failed."


def _difference(entry: dict[str, Any]) -> str:
    if "relative_difference" not in entry:
        return "not run"
    # Older runs wrote the limits only, not what they come to with this model's outputs.
    allowed = entry.get("allowed_difference", (entry.get("limits") or {}).get("of_spread"))
    return f"{entry['relative_difference']:.3g} ({_shown(allowed)})"


def _agreement(entry: dict[str, Any]) -> str:
    if "relative_difference" not in entry:
        return "not run"
    limit, least = (entry.get("limits") or {}).get("agreement"), entry.get("least_agreement") or {}
    shown = [
        f"{share:.3f} {name.replace('_', ' ')} ({_shown(least.get(name, limit))})"
        for name, share in (entry.get("agreement") or {}).items()
    ]
    return ", ".join(shown) or f"- ({_shown(limit)})"


def _why(entry: dict[str, Any]) -> str:
    said = "; ".join(entry.get("problems") or []) or _PASSED
    return f"{said} ({entry['note']})" if "note" in entry else said


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
