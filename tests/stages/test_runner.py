import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors.numpy
import small_runs
from small_runs import BeforeStep, only, recipe, results, run, run_well, stage_folder, start

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import StageResult
from tf_prune_ofa.jobs.preflight import check_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.results import load_result
from tf_prune_ofa.jobs.stage_digest import stage_digest_of
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.stages.runner import (
    _summary,
    only_process,
    open_run,
    run_recipe,
)

STAGES = ("teacher", "prune", "task_teacher", "transfer", "quantize")
SHORT = {"length": "2 steps"}


def build(data):
    return recipe_from_dict(data, name="small")


def one_error(output):
    """The message of a run that failed as it should: one, and no traceback."""
    assert "Traceback" not in output, output
    assert output.count("Error: ") == 1, output
    return output.partition("Error: ")[2]


def state_of(folder):
    """Time of the last change, and size, of every file."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


@pytest.fixture
def copied(finished, tmp_path):
    """(recipe, run folder): a finished run to change."""
    shutil.copytree(finished[1], tmp_path / "run")
    return finished[0], tmp_path / "run"


@pytest.fixture
def own_inputs(inputs, tmp_path):
    """Encoder and data to spoil."""
    return shutil.copytree(inputs, tmp_path / "inputs")


# Results


def test_result_says_how_it_came_about(finished):
    data, run_dir = finished
    found = results(run_dir)
    assert tuple(found) == STAGES
    settings = build(data)
    for name, result in found.items():
        assert result["kind"] == settings.stages[name].kind and result["recipe"] == "small"
        assert result["seed"] == 1 and result["seconds"] > 0 and result["figures"]["steps"] == 30
        assert result["config"]["stage"] == to_dict(settings.stages[name])
        assert result["config"]["task"] == to_dict(settings.task)
        assert result["config"]["model"] == to_dict(settings.model)
        assert {"python", "tensorflow", "tf_keras", "numpy"} <= set(result["versions"])
        assert len(result["git_commit"]) in (0, 40)
        assert stage_folder(run_dir, name).name.endswith(result["digest"][:8])
    assert [result["start"] for result in found.values()] == [
        "model", "teacher", "model", "prune", "transfer"
    ]  # fmt: skip


def test_a_finished_run_leaves_results_and_no_tools(finished):
    for stage in STAGES:
        names = {path.name for path in stage_folder(finished[1], stage).iterdir()}
        expected = {"model", "metrics.jsonl", "result.json", "tensorboard"}
        expected |= {"masks.npz"} if stage == "prune" else set()
        expected |= {"teacher_logits.npz"} if stage in ("transfer", "quantize") else set()
        expected |= {"ranges.json"} if stage == "quantize" else set()
        assert names == expected


# Again


def test_a_second_run_does_nothing(copied):
    data, run_dir = copied
    before = state_of(run_dir)
    code, output = run(data, run_dir)
    assert code == 0 and output.count(": done before, ") == 5 and "running" not in output
    assert state_of(run_dir) == before


def test_a_changed_setting_runs_its_stage_and_those_after_it(copied):
    data, run_dir = copied
    before = state_of(run_dir)
    data = copy.deepcopy(data)
    data["stages"]["transfer"].update(SHORT)
    code, output = run(data, run_dir)
    assert code == 0
    for stage in ("teacher", "prune", "task_teacher"):
        assert f"] {stage}: done before" in output
    for stage in ("transfer", "quantize"):
        assert f"] {stage}: running in" in output
        assert len(list(run_dir.glob(f"*_{stage}-*"))) == 2
    # The earlier results are still there: going back to the old setting costs nothing.
    after = state_of(run_dir)
    assert {path: after[path] for path in before} == before
    assert run(copied[0], run_dir)[1].count(": done before, ") == 5


def digests(settings):
    """Each stage's digest, without running any."""
    recipe_inputs, found = RecipeInputs(settings), {}
    for name, stage in settings.stages.items():
        stage_digest = stage_digest_of(stage, recipe_inputs, found)
        found[name] = StageResult(name, stage.kind, Path(), stage_digest, {}, 0.0)
    return {name: result.digest for name, result in found.items()}


def stale(first, second):
    """Stages of the first recipe that have to run again for the second."""
    before, after = digests(build(first)), digests(build(second))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"teacher": {"learning_rate": 2e-3}}, {"teacher", "prune", "transfer", "quantize"}),
        (
            {"prune": {"sparsity": {"rules": {"encoder_.*": 0.8}, "frequency": 2}}},
            {"prune", "transfer", "quantize"},
        ),
        ({"task_teacher": {"weight_decay": 0.1}}, {"task_teacher", "transfer", "quantize"}),
        ({"transfer": {"loss": {"hard": 0.4, "soft": 0.6}}}, {"transfer", "quantize"}),
        ({"quantize": {"range_momentum": 0.9}}, {"quantize"}),
        ({"seed": 2}, set(STAGES)),
        ({"model": {"dropout": 0.2}}, set(STAGES)),
        ({"task": {"train_limit": 50}}, set(STAGES)),
        # The teacher of the task learns nothing from it, wherever it is named.
        ({"corpus": {"length": 8}}, set(STAGES) - {"task_teacher"}),
        ({"corpus": {"files": [__file__]}}, set(STAGES) - {"task_teacher"}),
        ({"task": {"corpus": [__file__]}}, set(STAGES) - {"task_teacher"}),
    ],
)
def test_what_a_changed_setting_makes_stale(inputs, changes, expected):
    assert stale(recipe(inputs), recipe(inputs, **changes)) == expected


def test_what_is_learned_from_a_corpus_serves_every_task(inputs):
    """Whatever the task, its length and its limits."""
    corpus = {"files": [__file__], "length": 8}
    first = recipe(inputs, corpus=corpus)
    other = {"max_length": 10, "train_limit": 50, "train": str(inputs / "dev.tsv")}
    assert stale(first, recipe(inputs, corpus=corpus, task=other)) == {
        "task_teacher", "transfer", "quantize"
    }  # fmt: skip


def test_the_story_of_a_recipe_makes_nothing_stale(inputs):
    data = recipe(inputs)
    assert not stale(data, {**data, "about": {"title": "Another"}})


@pytest.mark.parametrize(
    "name", ["train.tsv", "dev.tsv", "encoder/model.safetensors", "encoder/config.json"]
)
def test_changed_files_make_results_stale(own_inputs, name):
    data = recipe(own_inputs)
    before = digests(build(data))
    path = own_inputs / name
    path.write_bytes(path.read_bytes().replace(b"film", b"plot").replace(b"0.1", b"0.2") + b" ")
    after = digests(build(data))
    assert not set(before.values()) & set(after.values())


def test_files_of_one_name_in_two_folders_both_count(own_inputs):
    for side in ("train", "dev"):
        (own_inputs / side).mkdir()
        shutil.copy(own_inputs / f"{side}.tsv", own_inputs / side / "data.tsv")
    files = {side: str(own_inputs / side / "data.tsv") for side in ("train", "dev")}
    settings = build(recipe(own_inputs, task=files))
    before = digests(settings)
    for side in ("train", "dev"):
        small_runs.write_sentences(own_inputs / side / "data.tsv", 40, seed=7)
        after = digests(settings)
        assert before["teacher"] != after["teacher"], side
        before = after


def test_open_run_names_the_stage_that_has_not_been_run(finished, inputs):
    data, run_dir = finished
    context = open_run(build(data), run_dir, last="transfer")
    assert list(context.results) == list(STAGES[:4])
    changed = build(recipe(inputs, transfer=SHORT))
    with pytest.raises(UserError, match="stage 'transfer' has not been run with these settings"):
        open_run(changed, run_dir, last="quantize")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"digest": "%s"}'])
def test_a_damaged_result_is_one_clear_error(copied, text):
    data, run_dir = copied
    path = stage_folder(run_dir, "teacher") / "result.json"
    stage_digest = json.loads(path.read_text())["digest"]
    path.write_text(text.replace("%s", stage_digest))
    with pytest.raises(UserError, match=r"result.json is damaged .*; delete it to run the stage"):
        load_result(path.parent, stage_digest)


def a_result(folder, **changes):
    """A stage's folder with a result that is whole, but for the changes."""
    data = {
        "stage": "a",
        "kind": "teacher",
        "digest": "x",
        "figures": {},
        "seconds": 1,
        "start": "",
    }
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps({**data, **changes}))
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"figures": [1]},
        {"figures": None},
        {"seconds": "1"},
        {"seconds": True},
        {"seconds": float("nan")},
        {"stage": 3},
        {"kind": ["teacher"]},
        {"start": None},
    ],
)
def test_a_result_of_another_form_is_one_clear_error(tmp_path, changes):
    assert load_result(a_result(tmp_path), "x").seconds == 1
    assert load_result(tmp_path, "another") is None
    with pytest.raises(UserError, match=r"result.json is damaged .*; delete it to run the stage"):
        load_result(a_result(tmp_path, **changes), "x")


def test_a_result_that_is_no_file(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(UserError, match=r"Cannot read .*result.json"):
        load_result(tmp_path, "x")
    assert load_result(tmp_path / "nothing", "x") is None


def test_figures_of_any_form_are_summed_up():
    figures = {"main_metric": ["f1"], "steps": "many", "sparsity": None, "mlm_loss": 2.5}
    assert _summary(figures) == "mlm_loss 2.5"
    assert _summary({"main_metric": "f1", "f1": 0.5, "steps": 7}) == "f1 0.5, steps 7"


# Two processes


def test_the_lock_is_never_another_file(tmp_path):
    (tmp_path / "own").write_text("keep")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".lock"
    lock.symlink_to(tmp_path / "own")
    with pytest.raises(UserError, match=r"\.lock must be a file of this package's own"):
        with only_process(tmp_path / "run"):
            pass
    assert (tmp_path / "own").read_text() == "keep"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(UserError, match=r"\.lock must be a file of this package's own"):
        with only_process(tmp_path / "run"):
            pass
    lock.rmdir()
    lock.write_text("of an older version")
    (tmp_path / "run" / ".partial-12345678-model").mkdir()
    with only_process(tmp_path / "run"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        with pytest.raises(UserError, match="another process is running in"):
            with only_process(tmp_path / "run"):
                pass
    assert lock.read_text() == "of an older version"


@pytest.mark.parametrize("name", ["checkpoint", "model", ""])
def test_a_run_writes_through_no_link(inputs, tmp_path, name):
    """A link in a stage's folder, or that folder itself: nothing outside is written or deleted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "own").write_text("keep")
    settings = build(recipe(inputs, **only("teacher")))
    folder = tmp_path / "run" / f"01_teacher-{digests(settings)['teacher'][:8]}"
    link = folder / name if name else folder
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(UserError, match=f"{link} is a symbolic link"):
        run_recipe(settings, tmp_path / "run")
    assert [path.name for path in outside.iterdir()] == ["own"]


def test_two_processes_do_not_share_a_run_folder(inputs, tmp_path):
    data, run_dir = recipe(inputs, **only("teacher")), tmp_path / "run"
    run_dir.mkdir()
    with only_process(run_dir):  # this process holds it, for as long as the other one takes
        code, output = run(data, run_dir)
    assert code == 1
    assert f"another process is running in {run_dir}; wait for it" in one_error(output)
    run_well(data, run_dir)


# Places that cannot be written to


@pytest.mark.parametrize("place", ["below a file", "a file", "/proc"])
def test_a_run_folder_that_cannot_be_written_to(inputs, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    run_dir = {
        "below a file": tmp_path / "file" / "run",
        "a file": tmp_path / "file",
        "/proc": Path("/proc/tf_prune_ofa"),
    }[place]
    with pytest.raises(UserError, match=f"Cannot write {run_dir}"):
        run_recipe(build(recipe(inputs)), run_dir)
    assert (tmp_path / "file").read_text() == "mine"


def whole(run_dir):
    """Whether there is nothing half-written in a run folder."""
    for path in run_dir.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    halves = [*run_dir.rglob(".partial*"), *run_dir.rglob("*_temp*"), *run_dir.rglob("*.tmp*")]
    return not halves and not list(run_dir.glob("*/result.json"))


# The checkpoint has the weights and two moments of each: 45 kB; the model's file only the weights.
@pytest.mark.parametrize(
    ("checkpoint_every", "limit", "place"),
    [(4, 30_000, "checkpoint"), (1000, 12_000, "model")],
)
def test_disk_full_while_saving(finished, inputs, tmp_path, checkpoint_every, limit, place):
    """A limit on the size of files: writing beyond it fails as on a full disk."""
    changes = {**only("teacher"), "teacher": {"checkpoint_every": checkpoint_every}}
    data, run_dir = recipe(inputs, **changes), tmp_path / "run"
    code, output = run(data, run_dir, file_size_limit=limit)
    assert code == 1
    message = one_error(output)
    assert "annot write" in message and place in message and "File too large" in message
    assert whole(run_dir)
    # With room again, it goes on; the weights are those of a run that never stopped.
    run_well(data, run_dir)
    ours, unbroken = (
        stage_folder(one, "teacher") / "model" / "model.safetensors"
        for one in (run_dir, finished[1])
    )
    assert ours.read_bytes() == unbroken.read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system that is small enough to fill")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(inputs, small_disk, tmp_path):
    data = recipe(inputs, **only("teacher"))
    run_dir = small_disk / "run"
    run_dir.mkdir()
    started = start(data, run_dir, log=tmp_path / "log")
    code, output = started.wait()
    assert code == 1
    message = one_error(output)
    assert "annot write" in message and "No space left on device" in message
    assert whole(run_dir)
    # What was saved before can be read: the run goes on elsewhere, or here when there is room.
    latest = tf.train.latest_checkpoint(str(stage_folder(run_dir, "teacher") / "checkpoint"))
    assert latest is None or tf.train.list_variables(latest)


# Damaged state


def test_a_corrupt_checkpoint_is_one_clear_error(inputs, finished, tmp_path):
    data, run_dir = recipe(inputs, **only("teacher")), tmp_path / "run"
    assert start(data, run_dir, kill_at=BeforeStep("teacher", 14)).was_killed()
    folder = stage_folder(run_dir, "teacher") / "checkpoint"
    latest = tf.train.latest_checkpoint(str(folder))
    [file] = folder.glob(Path(latest).name + ".data*")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    code, output = run(data, run_dir)
    assert code == 1
    message = one_error(output)
    assert f"the checkpoint {latest} cannot be read" in message
    assert f"Delete the folder {folder} to start this stage from its inputs" in message
    assert not (folder.parent / "model").exists()
    # Doing as told helps.
    shutil.rmtree(folder)
    run_well(data, run_dir)
    ours, unbroken = (
        stage_folder(one, "teacher") / "model" / "model.safetensors"
        for one in (run_dir, finished[1])
    )
    assert ours.read_bytes() == unbroken.read_bytes()


def test_revived_weights_of_an_earlier_stage_are_refused(copied, inputs):
    """A stage is not done before if its files are not those that it left."""
    run_dir = copied[1]
    path = stage_folder(run_dir, "prune") / "model" / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    name = "bert.encoder.layer.0.output.dense.weight"
    tensors[name][tensors[name] == 0] = 0.5
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    code, output = run(recipe(inputs, transfer=SHORT), run_dir)
    assert code == 1
    assert "'prune' was done before, but its files are not those that it left: " in output
    assert "model/model.safetensors was changed" in one_error(output)


def test_damaged_masks_of_an_earlier_stage_are_refused(copied, inputs):
    path = stage_folder(copied[1], "prune") / "masks.npz"
    path.write_bytes(path.read_bytes()[:-100])
    code, output = run(recipe(inputs, transfer=SHORT), copied[1])
    assert code == 1
    assert "masks.npz was changed" in one_error(output)


# Bad input


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_vocabulary(inputs):
    (inputs / "encoder" / "vocab.txt").unlink()


def truncated_weights(inputs):
    cut(inputs / "encoder" / "model.safetensors")


def empty_dataset(inputs):
    (inputs / "train.tsv").write_text("text\tlabel\n")


def empty_file(inputs):
    (inputs / "dev.tsv").write_text("")


def unknown_label(inputs):
    path = inputs / "train.tsv"
    path.write_text(path.read_text() + "the film\tgodo\n")


def no_data(inputs):
    (inputs / "dev.tsv").unlink()


def nothing(inputs):
    pass


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (no_vocabulary, {}, "No vocabulary in "),
        (truncated_weights, {}, "model.safetensors"),
        (empty_dataset, {}, "train.tsv has no examples"),
        (empty_file, {}, "dev.tsv is empty"),
        (unknown_label, {}, "the label 'godo' is not one of 'bad', 'good'; the nearest is 'good'"),
        (no_data, {}, "dev.tsv"),
        (nothing, {"task": {"label": "lable"}}, "no column 'lable'; the nearest is 'label'"),
        (nothing, {"task": {"dev": ""}}, "name the files with task.train and task.dev"),
        (nothing, {"task": {"source": "file"}}, "No task source 'file'"),
        (nothing, {"task": {"labels": []}}, "is not a finite number"),
        (nothing, {"task": {"corpus": ["/nowhere.txt"]}}, "/nowhere.txt"),
        (
            nothing,
            {"task": {"max_length": 17}},
            "task.max_length is 17, but the encoder has only 16 positions",
        ),
        (nothing, {"task": {"max_length": 2}}, "sequence length of 2 leaves no room for text"),
        (nothing, {"model": {"weights": "minilm"}}, "Did you mean minilm_l6?"),
        (nothing, {"model": {"weights": "./nowhere"}}, "There is no folder ./nowhere"),
        (nothing, {"teacher": {"length": 0}}, "teacher.length is 0: not even one step"),
        (
            nothing,
            {"prune": {"start": "model", "sparsity": {"rules": {"encodr_.*": 0.9}}}},
            "rule 'encodr_.*' matches no layer",
        ),
        (
            nothing,
            {"prune": {"start": "model", "sparsity": {"ramp_end": 40}}},
            "prune.sparsity.ramp_end is 40, step 40, but the run has only 30 steps",
        ),
        (
            nothing,
            {"prune": {"start": "model", "sparsity": {"ramp_end": 21, "frequency": 20}}},
            "no mask update falls between ramp_end 21 and mask_end 24",
        ),
        (
            nothing,
            {"quantize": {"start": "model", "float_layers": ["pooller"]}},
            "rule 'pooller' matches no layer",
        ),
        (
            nothing,
            {"transfer": {"start": "model"}},
            "no sparsity pattern to lock in 8 of 8 layers",
        ),
        (nothing, {"corpus": {"length": 17}}, "corpus.length is 17, but the encoder has only 16"),
        (nothing, {"teacher": {"frozen": ["embedding"]}}, "rule 'embedding' matches no layer"),
        (
            nothing,
            {"model": {"weights": "random", "sizes": {"hidden": 8}}},
            "unknown key 'model.sizes.hidden'",
        ),
    ],
)
def test_bad_input_is_one_clear_error_before_anything_is_trained(
    own_inputs, tmp_path, spoil, changes, message
):
    spoil(own_inputs)
    changes = copy.deepcopy(changes)
    # Only the stage in question, without a teacher: what it needs is there.
    stage = next((name for name in changes if name in STAGES), "teacher")
    if changes.get("model", {}).get("weights") == "random":
        changes["model"]["vocabulary"] = str(own_inputs / "encoder")
    data = recipe(own_inputs, **{**only(stage), **changes})
    data["stages"][stage] |= {"teacher": "", "loss": {"hard": 1.0}}
    with pytest.raises(UserError) as error:
        run_recipe(build(data), tmp_path / "run")
    assert message in str(error.value)
    assert whole(tmp_path / "run") and not list((tmp_path / "run").glob("*/model"))


def test_the_labels_are_read_before_a_stage_that_needs_none(own_inputs, tmp_path):
    """They would be found wrong after the hours of the first stage."""
    unknown_label(own_inputs)
    corpus = {"files": [__file__], "length": 8}
    data = recipe(own_inputs, corpus=corpus, **only("teacher", "task_teacher"))
    with pytest.raises(UserError, match="the label 'godo' is not one of"):
        run_recipe(build(data), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*_teacher-*"))


def test_what_is_odd_about_the_data_is_told_once(own_inputs, tmp_path, capsys):
    path = own_inputs / "train.tsv"
    path.write_text(path.read_text().replace("\tbad\n", "\tgood\n"))
    data = recipe(own_inputs, **only("task_teacher"))
    data["stages"]["task_teacher"]["length"] = 1
    run_recipe(build(data), tmp_path / "run")
    output = capsys.readouterr().out
    assert output.count("Warning: all 90 examples to learn from have the label 'good'") == 1


@pytest.mark.parametrize(("length", "is_told"), [("1 epochs", True), (12, True), (40, False)])
def test_a_teacher_that_sees_its_examples_too_rarely_is_told(inputs, capsys, length, is_told):
    """90 examples, 8 at a time."""
    data = recipe(inputs, task_teacher={"length": length})
    check_inputs(build(data), RecipeInputs(build(data)))
    output = capsys.readouterr().out
    assert ("task_teacher sees each of 90 examples 1.1 times; on a task" in output) == is_told


def test_a_bad_run_ends_with_code_1_and_one_message(own_inputs, tmp_path):
    truncated_weights(own_inputs)
    code, output = run(recipe(own_inputs), tmp_path / "run")
    assert code == 1 and "model.safetensors" in one_error(output)


def test_a_rate_that_is_too_high_ends_with_advice(inputs, tmp_path):
    changes = {"teacher": {"learning_rate": 1e6, "warmup": 0, "decay": "constant"}}
    code, output = run(recipe(inputs, **{**only("teacher"), **changes}), tmp_path / "run")
    assert code == 1
    assert "the loss is no longer a finite number. Lower the learning rate" in one_error(output)
    assert whole(tmp_path / "run")
