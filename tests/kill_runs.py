"""Kill runs of a recipe, files and comparison included, at many moments, and compare what is left.

    python tests/kill_runs.py [--moments=24] [--seed=0] [--recipe=reconstruct_minilm]

A run that is killed by SIGKILL, at times spread over the whole of it, and started again must come
to the same files as one that never was, and leave nothing half-written. It takes as many starts as
there are moments: about half an hour on two free cores, so it is no part of the test suite, whose
tests/stages/test_resume.py kills at ten moments of the training stages.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# What holds times of day, durations or latencies, which no two runs have in common.
VARIES = ("result.json", "metrics.jsonl", "bench.json", "report.html", "results.json", "results.md")
SUFFIXES = (".png", ".svg", ".log", ".lock")
# TensorBoard names its files after time and process.
EVENTS = "events.out.tfevents"


def commands(recipe: str, out: Path) -> list[list[str]]:
    """A run of the recipe on to its files, and a comparison of one method on two seeds."""
    plan = out.parent / "plan.yaml"
    methods = {"a": {"recipe": recipe, "last": "transfer"}}
    plan.write_text(json.dumps({"tasks": {"reviews": {}}, "seeds": [0, 1], "methods": methods}))
    tools = [sys.executable, str(REPOSITORY / "tools" / "run_recipe.py")]
    compare = [sys.executable, str(REPOSITORY / "tools" / "compare_methods.py")]
    return [
        [*tools, f"--recipe={recipe}", "--tiny", "--export", f"--run_dir={out / 'run'}"],
        [*compare, f"--plan={plan}", "--tiny", f"--out={out / 'compared'}"],
    ]


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a group of its own, on one thread, so that equal sums have equal bits."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def run_whole(recipe: str, out: Path, log: Path) -> float:
    """Run both commands to their ends; return the seconds that it took."""
    began = time.monotonic()
    for command in commands(recipe, out):
        code = start(command, log).wait()
        if code:
            sys.exit(f"{' '.join(command)} ended with {code}; see {log}")
    return time.monotonic() - began


def run_killed(recipe: str, out: Path, log: Path, moments: list[float]) -> int:
    """Start both commands again and again, killed after so many seconds; return the kills."""
    kills = 0
    for seconds in moments:
        left = seconds
        for command in commands(recipe, out):
            began = time.monotonic()
            process = start(command, log)
            try:
                process.wait(timeout=left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                break
            left = max(1.0, left - (time.monotonic() - began))
    return kills


def hashes(out: Path) -> dict[str, str]:
    """The hash of each file that two runs must have in common."""
    return {
        str(path.relative_to(out)): hashlib.sha256(content_of(path)).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and path.name not in VARIES
        and path.suffix not in SUFFIXES
        and not path.name.startswith(EVENTS)
    }


def content_of(path: Path) -> bytes:
    """The bytes of a file; without seconds and commits, which no two runs have in common."""
    if path.parent.name == "outcomes":
        outcome = {**json.loads(path.read_bytes()), "seconds": 0}
        return json.dumps(outcome, sort_keys=True).encode()
    if path.name == "README.md":
        card = path.read_text(encoding="utf-8")
        return re.sub(r"(?m) [^|]* s \|$|^- \*\*Commit.*$", "", card).encode()
    return path.read_bytes()


def main() -> None:
    """Compare a whole run with a killed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="reconstruct_minilm")
    parser.add_argument("--out", type=Path, default=None)
    flags = parser.parse_args()
    folder = flags.out or Path(tempfile.mkdtemp(prefix="kill_runs-"))
    whole, killed = folder / "whole", folder / "killed"
    for one in (whole, killed):
        one.mkdir(parents=True)
    seconds = run_whole(flags.recipe, whole, folder / "whole.log")
    # What a start takes where all is done; the rest is work, of which each start does a share.
    idle = run_whole(flags.recipe, whole, folder / "whole.log")
    print(f"a whole run: {seconds:.0f} s, {idle:.0f} s of them to start", flush=True)
    rng = random.Random(flags.seed)
    longest = idle / 2 + 2 * max(1.0, seconds - idle) / flags.moments
    moments = [rng.uniform(idle / 4, longest) for _ in range(flags.moments)]
    kills = run_killed(flags.recipe, killed, folder / "killed.log", moments)
    run_whole(flags.recipe, killed, folder / "killed.log")
    ours, theirs = hashes(killed), hashes(whole)
    names = ours.keys() | theirs.keys()
    differ = sorted(name for name in names if ours.get(name) != theirs.get(name))
    left = [str(path) for path in killed.rglob(".partial-*")]
    print(f"{kills} kills; of {len(names)} files {len(differ)} differ, {len(left)} are left over")
    for name in (*differ, *left):
        print(f"  {name}")
    sys.exit(bool(differ or left or kills < flags.moments // 2))


if __name__ == "__main__":
    main()
