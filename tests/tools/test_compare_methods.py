"""The comparison tool, as far as it goes without training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / "configs" / "comparisons").glob("*.yaml"))


def start(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "compare_methods.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_every_plan_is_valid(plan):
    done = start(f"--plan={plan}", "--list")
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert len(set(names)) == len(names) > 5
    # A whole table with the first seed, then with the next.
    first = [name for name in names if name.endswith("-seed0")]
    seeds = len(names) // len(first)
    assert seeds > 1
    assert names == [n.replace("-seed0", f"-seed{seed}") for seed in range(seeds) for n in first]


def test_a_table_before_anything_is_run(tmp_path):
    markdown = tmp_path / "results.md"
    arguments = (f"--plan={PLANS[0]}", f"--out={tmp_path / 'out'}", f"--markdown={markdown}")
    done = start(*arguments, "--table")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "out" / "results.md").read_text()
    assert written in done.stdout and written in markdown.read_text()
    assert f"<!-- begin {PLANS[0].stem} -->" in markdown.read_text()
    outcomes = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {outcome["value"] for outcome in outcomes} == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"--plan={PLANS[0]}"], "name a folder for the results with --out=DIR"),
        ([f"--plan={PLANS[0]}", "--list", "--only=gpm-*"], "no run is named like 'gpm-*'"),
        (["--plan=nowhere.yaml", "--list"], "nowhere.yaml cannot be read"),
        ([f"--plan={PLANS[0]}", "now"], "unexpected arguments"),
    ],
)
def test_mistakes(arguments, message):
    done = start(*arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
