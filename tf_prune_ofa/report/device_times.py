"""Times from a device, in place of those of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.report.frontier import Candidate


def read_times(path: Path, chosen: Sequence[Candidate]) -> dict[str, Any]:
    """Return what a device measured of some files, in their order.

    Args:
        path: what tools/benchmark_device.py wrote for the device.
        chosen: the files, the reference first. They are known by their content.

    Returns:
        As `bench.host.benchmark_rows`.

    Raises:
        UserError: no such result, one of a throttled run or another reference, or a file that the
            device did not measure.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        by_content = {(one["sha256"], one["delegate"]): one for one in result["files"]}
        throttled, machine = result["throttled"], result["machine"]["device"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no result of a device ({error}). Give a file that "
            "tools/benchmark_device.py --out wrote."
        ) from None
    if throttled:
        raise UserError(f"{machine or path} was throttled ({throttled[0]}). Measure it again.")
    found = []
    for one in chosen:
        entry = by_content.get((sha256_of(one.path), bool(one.options)))
        if entry is None:
            how = "with the delegate" if one.options else "without the delegate"
            raise UserError(
                f"{path} has no time of {one.path} {how}. Measure all files of the runs together: "
                "tools/benchmark_device.py FILES..."
            )
        found.append(entry)
    if found and result["reference"] != found[0]["file"]:
        raise UserError(
            f"{path} compares with {result['reference'] or 'nothing'}; measure again with "
            f"--reference={chosen[0].path}"
        )
    return {**result, "files": found}
