"""A whole recipe by its tools, as a user starts them: run, export, verify, and mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_runs
import yaml

TOOLS = Path(__file__).resolve().parents[2] / "tools"
VARIANTS = ("float32", "dynamic_int8", "dense_int8", "sparse_int8", "block_sparse_int8")
SHORT = {"length": "6 steps"}


def start(tool, *arguments):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(recipe file, run folder, what was printed) of a small recipe with all nine stages."""
    inputs = small_runs.write_inputs(tmp_path_factory.mktemp("inputs"))
    stages = ("teacher", "prune", "task_teacher", "transfer", "quantize")
    data = small_runs.recipe(inputs, **{name: SHORT for name in stages})
    data["stages"] |= {
        "export": {"start": "quantize", "sequence_length": 12, "variants": list(VARIANTS)},
        "verify": {"start": "export"},
        "benchmark": {"start": "export", "runs": 4},
        "report": {},
    }
    recipe = inputs / "small.yaml"
    recipe.write_text(yaml.safe_dump(data, sort_keys=False))
    run_dir = inputs / "run"
    done = start("run_recipe.py", f"--recipe={recipe}", f"--run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return recipe, run_dir, done.stdout


def read(run_dir, stage, file):
    return json.loads(next(run_dir.glob(f"*_{stage}-*/{file}")).read_text())


def test_it_ends_with_a_table_and_the_report(run):
    _, run_dir, output = run
    assert [f"[{n}/9]" in output for n in range(1, 10)] == [True] * 9
    table = output.split("\nReport: ")[0]
    for row in ("dense teacher", "sparse model", "dense INT8 file", "sparse INT8 file"):
        assert row in table
    sentence = " ".join(table.split())
    assert "times as fast as the dense INT8 file and" in sentence
    assert "of accuracy" in sentence and "the dense teacher." in sentence
    lines = [line.strip() for line in table.split("To use it:")[1].splitlines() if line.strip()]
    assert lines[0] == "import tf_prune_ofa as ofa"
    [file] = run_dir.glob("*_export-*/sparse_int8_*.tflite")
    assert lines[1] == f'model = ofa.TextClassifier("{file}")'
    report = Path(output.split("\nReport: ")[1].strip())
    assert report.read_text().startswith("<!doctype html>") and run_dir in report.parents


def test_a_page_of_a_run_has_an_ending_that_browsers_know(run, tmp_path):
    bad = start("report.py", run[1], f"--out={tmp_path / 'page'}")
    assert bad.returncode == 1 and "browsers know a page by its ending" in bad.stderr
    assert list(tmp_path.iterdir()) == []
    good = start("report.py", run[1], f"--out={tmp_path / 'page.html'}")
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_second_run_skips_everything(run):
    recipe, run_dir, output = run
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.name != ".lock"}
    again = start("run_recipe.py", f"--recipe={recipe}", f"--run_dir={run_dir}")
    assert again.returncode == 0 and again.stdout.count("done before") == 9
    assert again.stdout.split("\nReport: ")[1] == output.split("\nReport: ")[1]
    after = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.name != ".lock"}
    assert before == after


def test_verified_files(run):
    """Every pruned integer is 0, both static files agree to the bit, all files agree with Keras."""
    checked = read(run[1], "verify", "verify.json")
    files = {entry["variant"]: entry for entry in checked["files"]}
    assert set(files) == set(VARIANTS)
    # Float: the same sums in another order. Static INT8: a tie may round to the other side in an
    # inner layer and move the logits by a step; three steps would be an error of another kind.
    assert files["float32"]["max_logit_difference"] < 1e-5
    for variant in ("dense_int8", "sparse_int8"):
        assert files[variant]["max_logit_difference_steps"] < 2.5
        assert files[variant]["zeros_in_pruned_layers"] >= 0.849
    assert files["sparse_int8"]["equals_dense_int8"] is True
    assert files["block_sparse_int8"]["equals_dense_int8"] is True
    assert max(row["max_steps"] for row in checked["layers"]) < 2.5
    steps = [row["mean_steps"] for row in checked["layers"]]
    assert len(steps) == 8 and steps == sorted(steps, reverse=True)  # 6 in the encoder, 2 heads


def test_figures_of_the_benchmark(run):
    bench = read(run[1], "benchmark", "bench.json")
    assert [entry["ratio"]["ratio"] for entry in bench["files"] if "dense" in entry["file"]] == [1]
    assert read(run[1], "benchmark", "result.json")["figures"]["dense_int8"]["latency_ms"] > 0


def test_verify_tflite_finds_a_changed_file(run):
    recipe, run_dir, _ = run
    arguments = (f"--recipe={recipe}", f"--run_dir={run_dir}", "--examples=4")
    good = start("verify_tflite.py", *arguments)
    assert good.returncode == 0, good.stderr
    assert "sparse_int8_s12.tflite" in good.stdout and "worst first" in good.stdout
    path = next(run_dir.glob("*_export-*/dense_int8_s12.tflite"))
    whole = path.read_bytes()
    kernel = _pruned_kernel(run_dir)
    at = whole.find(kernel)
    assert at >= 0
    zero = kernel.index(0)
    try:
        path.write_bytes(whole[: at + zero] + b"\x01" + whole[at + zero + 1 :])
        bad = start("verify_tflite.py", *arguments)
    finally:
        path.write_bytes(whole)
    assert bad.returncode == 1
    assert "verification failed for dense_int8_s12.tflite" in bad.stderr
    assert "its SHA-256 is" in bad.stderr and "1 of them are 0 in the model" in bad.stderr
    assert "Traceback" not in bad.stderr


def _pruned_kernel(run_dir):
    """The bytes of a pruned kernel as the dense file stores them."""
    from tf_prune_ofa.conversion.int8 import int8_layers

    file = next(run_dir.glob("*_export-*/dense_int8_s12.tflite")).read_bytes()
    return int8_layers(file)["encoder_00/ffn/intermediate"].kernel.astype(np.int8).tobytes()


def test_verify_needs_the_run(run, tmp_path):
    done = start("verify_tflite.py", f"--recipe={run[0]}", f"--run_dir={tmp_path}")
    assert done.returncode == 1 and "has not been run with these settings" in done.stderr


def test_export_writes_the_same_files_again(run, tmp_path):
    _, run_dir, _ = run
    quantized = next(run_dir.glob("*_quantize-*"))
    done = start(
        "export.py",
        f"--model={quantized / 'model'}",
        f"--ranges={quantized / 'ranges.json'}",
        f"--masks={next(run_dir.glob('*_prune-*')) / 'masks.npz'}",
        f"--out={tmp_path}",
        "--sequence_length=12",
        f"--variants={','.join(VARIANTS)}",
    )
    assert done.returncode == 0, done.stderr
    for variant in VARIANTS:
        name = f"{variant}_s12.tflite"
        assert name in done.stdout
        exported = next(run_dir.glob(f"*_export-*/{name}"))
        assert (tmp_path / name).read_bytes() == exported.read_bytes()


def test_export_measures_ranges_on_texts(run, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("the film is good\nthe plot is bad .\n")
    model = next(run[1].glob("*_transfer-*")) / "model"
    arguments = (f"--model={model}", f"--out={tmp_path / 'out'}", "--sequence_length=12")
    refused = start("export.py", *arguments, "--variants=dense_int8")
    assert refused.returncode == 1 and "need activation ranges" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = start("export.py", *arguments, "--variants=dense_int8", f"--calibration_texts={texts}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "dense_int8_s12.tflite").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=quickstrat"], "Did you mean 'quickstart.yaml'?"),
        (["--recipe=paper", "--set=prune.learnig_rate=1"], "Did you mean 'learning_rate'?"),
        (["--recipe=paper", "--set=prun.length=1"], "Did you mean 'prune'?"),
        (["--recipe=quickstart", "--until=exprot"], "Did you mean 'export'?"),
        (["--recipe=paper", "--set=prune.length=2 weeks"], "'2 weeks' is not a duration"),
        (["--recipe=quickstart", "prune"], "unexpected arguments"),
        (["--recipe=quickstart", "--rundir=x"], "Unknown command line flag 'rundir'"),
        (["--recipe=dense_minilm", "--push_to_hub=me/x"], "no stage that is to run writes any"),
        (["--recipe=quickstart", "--push_to_hub=me/x", "--until=quantize"], "leave out --until"),
        (["--recipe=quickstart", "--create_pr"], "--push_to_hub=user/name is done; name it"),
        (["--recipe=quickstart", "--virtual_devices=2"], "is to try --distribute=mirrored"),
    ],
)
def test_mistakes_in_flags(arguments, message):
    done = start("run_recipe.py", *arguments)
    assert done.returncode != 0 and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("tool", "arguments", "flag"),
    [
        ("export.py", ["--model=M", "--attention=float"], "attention"),
        ("export.py", ["--model=M", "--variants=float32", "--words=int4"], "words"),
        ("pack_encoder.py", ["--unpack=a.npz", "--about=a.json"], "about"),
        ("prepare_corpus.py", ["a.txt", "--output=b.txt", "--length=64"], "length"),
        ("prepare_corpus.py", ["a.txt", "--form=packed", "--short_rate=0.2"], "short_rate"),
    ],
)
def test_flags_that_would_do_nothing(tmp_path, tool, arguments, flag):
    out = tmp_path / "out"
    own = [] if any("--output" in one for one in arguments) else [f"--output={out}"]
    name = "--out" if tool == "export.py" else "--output"
    done = start(tool, *arguments, *[one.replace("--output", name) for one in own])
    assert done.returncode == 1 and done.stderr.startswith(f"Error: --{flag} would do nothing")
    assert not out.exists()


def test_what_is_unpacked_is_not_pushed(tmp_path):
    out = tmp_path / "out"
    done = start("pack_encoder.py", "--unpack=a.npz", f"--output={out}", "--push_to_hub=me/x")
    assert done.returncode == 1 and "--encoder is packed into" in done.stderr
    assert not out.exists()
