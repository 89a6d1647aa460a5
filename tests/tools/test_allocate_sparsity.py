"""tools/allocate_sparsity.py and measure_sensitivity.py, as a user starts them."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import BERT, write_inputs

from tf_prune_ofa.models.bert import build_model, dense_kernels
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.recipe import recipe_from_dict

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def start(*arguments, tool="allocate_sparsity"):
    return subprocess.run(
        [sys.executable, str(TOOLS / f"{tool}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_rules_are_a_recipe_s(tmp_path):
    folder = write_inputs(tmp_path) / "encoder"
    rules = ["--rule=encoder_.*=8x8", "--rule=encoder_.*/ffn/.*=neurons"]
    done = start(f"--model={folder}", "--sparsity=0.6", "--levels=0.25,0.5,0.75", *rules)
    assert done.returncode == 0, done.stderr
    printed, _, table = done.stdout.partition("\n\n")
    assert "weights to dense" in table and "0.75 in all layers" in table
    sparsity = yaml.safe_load(printed)
    stages = {"prune": {"kind": "prune", **sparsity}}
    settings = recipe_from_dict({"stages": stages}, name="allocated").stages["prune"].sparsity
    kernels = dense_kernels(build_model(BERT))
    found = layer_rules(settings.rules, kernels)
    assert found["encoder_00/ffn/output"].pattern == "neurons"
    weights = {name: kernels[name].shape.num_elements() for name in found}
    kept = sum(count * (1 - found[name].sparsity) for name, count in weights.items())
    encoder = sum(
        kernel.shape.num_elements() for name, kernel in kernels.items() if "encoder" in name
    )
    dense = encoder - sum(weights.values())
    assert kept + dense <= 0.4 * encoder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either --speedup or --sparsity"),
        (["--speedup=0.5"], "--speedup must be 1 or more, got 0.5"),
        (["--sparsity=1"], "--sparsity must be in [0, 1), got 1.0"),
        (["--sparsity=0.5", "--levels=0.5,high"], "--levels must be numbers"),
        (["--sparsity=0.5", "--sensitivity=none.json"], "cannot read none.json"),
    ],
)
def test_a_mistake_is_one_line(arguments, says):
    done = start("--model=none", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and says in line


def test_only_training_stages_are_measured():
    arguments = ["--recipe=paper", "--stage=export", "--out=never.json"]
    done = start(*arguments, tool="measure_sensitivity")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--stage=export is no training stage of this recipe; it has teacher" in done.stderr
