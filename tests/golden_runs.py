"""Hashes of all that recipes leave with --tiny, to show that a change of the code changed nothing.

    python tests/golden_runs.py run --out=before.json [RECIPE...]
    python tests/golden_runs.py compare before.json after.json

Every recipe runs in a process of its own on one thread: sums in another order differ in their last
bits. What depends on the machine or the clock (benchmarks, the report) is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[1]
LEFT_OUT = ("benchmark", "report")
HASHED = (".safetensors", ".tflite", ".npz", ".json")
# The first two are told apart by time or folder; the others repeat what is hashed.
NOT_HASHED = ("result.json", "verify.json", "manifest.json")


def main() -> int:
    """Runs or compares; 1 where something differs or fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("recipes", nargs="*", help="names in configs/; default all")
    compare = commands.add_parser("compare")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return show_differences(*(json.loads(p.read_text()) for p in (given.before, given.after)))
    names = given.recipes or [path.stem for path in sorted(REPOSITORY.glob("configs/*.yaml"))]
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in names:
        if name not in found:
            found[name] = in_a_process(name)
            given.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return int(any("failed" in stages for stages in found.values()))


def show_differences(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Prints equal or unequal for each recipe, with what differs and what is new.

    Returns:
        1 where a value of before differs or is gone, or a run failed.
    """
    code = 0
    for name in sorted({*before, *after}):
        one, other = flat(before.get(name, {})), flat(after.get(name, {}))
        if not one or not other:
            print(f"{name}: only in one of the two")
            continue
        new = sorted({*other} - {*one})
        differing = sorted(k for k in one if one[k] != other.get(k))
        failed = any("failed" in key for key in {*one, *other})
        code |= bool(differing) or failed
        verdict = "failed" if failed else "unequal" if differing else f"equal ({len(one)} values)"
        print(f"{name}: {verdict}" + (f", new: {', '.join(new)}" if new else ""))
        for key in differing[:20]:
            print(f"    {key}: {one.get(key)} -> {other.get(key)}")
    return code


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values by their path."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for name in value for k, v in flat(value[name], f"{prefix}/{name}").items()}


def in_a_process(name: str) -> dict[str, Any]:
    """Runs a recipe in a fork of a server that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tf_prune_ofa.stages.runner"])
    results = context.Queue()
    process = context.Process(target=_work, args=(name, results))
    process.start()
    process.join()
    return results.get() if process.exitcode == 0 else {"failed": process.exitcode}


def _work(name: str, results: Any) -> None:
    from tf_prune_ofa.keras_compat import tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results.put(hashes(name, Path(folder)))


def hashes(name: str, run_dir: Path) -> dict[str, Any]:
    """Runs a recipe with --tiny; returns the figures and the files' hashes of each stage."""
    from tf_prune_ofa.recipe import load_recipe
    from tf_prune_ofa.stages.runner import run_recipe

    recipe = load_recipe(str(REPOSITORY / "configs" / f"{name}.yaml"), [], tiny=True)
    kept = {key: stage for key, stage in recipe.stages.items() if stage.kind not in LEFT_OUT}
    found = {}
    for key, result in run_recipe(dataclasses.replace(recipe, stages=kept), run_dir).items():
        files = sorted(p for p in result.folder.rglob("*") if p.suffix in HASHED)
        found[key] = {
            "figures": json.loads(json.dumps(result.figures)),
            "files": {
                str(path.relative_to(result.folder)): content_hash(path)
                for path in files
                if path.name not in NOT_HASHED
            },
        }
    return found


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of its arrays where it is an archive, which has times in it."""
    if path.suffix != ".npz":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    with np.load(path) as arrays:
        for name in sorted(arrays.files):
            total.update(name.encode() + str(arrays[name].dtype).encode() + arrays[name].tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
