"""The package from Python, from sentences in memory to files, on the small encoder of the tests."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import write_inputs

import tf_prune_ofa as ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import finding, presets, shipped
from tf_prune_ofa.models.packed import pack, write_packed
from tf_prune_ofa.pruning.lock import load_masks

SMALL = {"batch_size": 8, "checkpoint_every": "50 steps"}
LABELS = ["bad", "good"]


def read(path):
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows], [row["label"] for row in rows]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def task(inputs):
    return ofa.Task(
        train=read(inputs / "train.tsv"),
        dev=read(inputs / "dev.tsv"),
        labels=LABELS,
        settings={"max_length": 12},
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def teacher(inputs, task, run_dir):
    return ofa.finetune(
        inputs / "encoder", task, run_dir=run_dir, length=150, learning_rate=5e-3, **SMALL
    )


@pytest.fixture(scope="module")
def sparse(teacher, task):
    return ofa.reconstruct(teacher, task, sparsity=0.75, examples=64, batch_size=8)


@pytest.fixture(scope="module")
def student(sparse, task, teacher):
    return ofa.transfer(sparse, task, teacher=teacher, steps=20, **SMALL)


@pytest.fixture(scope="module")
def files(student, task, teacher, tmp_path_factory):
    quantized = ofa.quantize(
        student, task, teacher=teacher, steps=10, calibration_batches=2, **SMALL
    )
    return ofa.export(quantized, tmp_path_factory.mktemp("out"), sequence_length=12)


def test_a_dense_model_is_trained_and_judged(teacher):
    assert teacher.score > 0.8
    assert teacher.sparsity == 0
    assert set(teacher.keras.output) == {"logits"}


def test_the_same_call_finds_its_result_again(inputs, task, run_dir, teacher, capsys):
    again = ofa.finetune(
        inputs / "encoder", task, run_dir=run_dir, length=150, learning_rate=5e-3, **SMALL
    )
    assert again.folder == teacher.folder
    assert "done before" in capsys.readouterr().out


def test_the_pattern_is_kept_on_the_way(sparse, student):
    masks = load_masks(sparse.folder / "masks.npz")
    assert sparse.sparsity == pytest.approx(0.75, abs=0.01)
    for name, mask in masks.items():
        kernel = student.keras.get_layer(name).kernel.numpy()
        assert np.all(kernel[~mask] == 0)
        assert np.any(kernel[mask] != 0)


def test_an_encoder_that_was_pruned_once_takes_over_a_task(
    inputs, teacher, task, tmp_path, monkeypatch
):
    """By its name, though it is no stage; here one of the test's own stands for it."""
    name = "minilm_l6_sparse_90"
    base = presets.open_pretrained(inputs / "encoder").read_weights()
    kernels = {
        key: np.where(np.abs(value) > np.median(np.abs(value)), value, 0).astype(np.float32)
        for key, value in base.items()
        if key.startswith("encoder_") and key.endswith("/kernel")
    }
    path = tmp_path / "packed.npz"
    write_packed(path, pack(kernels, base, {"name": name, "base": "minilm_l6", "version": "1"}))
    monkeypatch.setattr(finding, "shipped_encoders", lambda: {name: path})
    monkeypatch.setattr(finding, "_find_default", lambda: inputs / "encoder")
    monkeypatch.setenv(shipped.CACHE, str(tmp_path / "cache"))
    taken = ofa.reconstruct(
        teacher, task, pattern_of=name, held_at="pattern_of", examples=32, batch_size=8
    )
    assert taken.sparsity == pytest.approx(0.5, abs=0.01)
    for key, kernel in kernels.items():
        found = taken.keras.get_layer(key.removesuffix("/kernel")).kernel.numpy()
        assert np.all(found[kernel == 0] == 0) and np.any(found[kernel != 0] != 0), key


def test_a_sparsity_beside_a_pattern_that_is_given_is_refused(teacher, task):
    with pytest.raises(UserError, match="sparsity is 0.8, but the pattern is that of 'minilm_l6_s"):
        ofa.reconstruct(teacher, task, sparsity=0.8, pattern_of="minilm_l6_sparse_90")


def test_files_are_written_verified_and_timed(files):
    assert set(files.paths) == {"float32", "dynamic_int8", "dense_int8", "sparse_int8"}
    assert all(path.is_file() for path in files.paths.values())
    assert set(ofa.verify(files, examples=8)) == set(files.paths)
    timed = ofa.benchmark(files, runs=3)
    assert {entry["file"] for entry in timed["files"]} == {p.name for p in files.paths.values()}
    card = (files.out_dir / "README.md").read_text(encoding="utf-8")
    assert "No score" not in card and "| latency ms |" in card and "bad, good" in card
    opened = ofa.open(files.out_dir)
    assert isinstance(opened, ofa.Exported) and opened.paths == files.paths


def test_a_file_that_was_changed_is_not_verified(files):
    path = files.paths["dynamic_int8"]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    try:
        with pytest.raises(UserError, match="is not the file that was exported"):
            ofa.verify(files)
    finally:
        path.write_bytes(content)


def test_a_saved_result_is_opened_and_used_elsewhere(sparse, student, task, teacher, tmp_path):
    sparse.save(tmp_path / "saved")
    opened = ofa.open(tmp_path / "saved")
    assert isinstance(opened, ofa.Model)
    assert opened.figures == sparse.figures
    again = ofa.transfer(
        opened, task, teacher=teacher, steps=20, run_dir=tmp_path / "elsewhere", **SMALL
    )
    # TensorFlow's threads may add in another order.
    for mine, theirs in zip(again.keras.weights, student.keras.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    with pytest.raises(UserError, match="is there already"):
        sparse.save(tmp_path / "saved")
    (tmp_path / "saved" / "result_index.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        ofa.open(tmp_path / "saved")
    with pytest.raises(UserError, match="holds no saved result"):
        ofa.open(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs data"),
        ({"train": (["a"], ["good"])}, "needs both train and dev"),
        ({"name": "sst2", "train": (["a"], [0]), "dev": (["a"], [0])}, "leave out one"),
    ],
)
def test_a_task_that_says_too_little_or_too_much_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        ofa.Task(**given)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((["a", "b"], ["good"]), "as many labels, at least one; got 2 and 1"),
        (([], []), "got 0 and 0"),
        ((["a"], [2]), "example 0: the label 2 is no index"),
        ((["a", ("b", "c")], [0, 1]), "example 1: single texts and pairs are mixed"),
        (([1], [0]), "example 0 must be a text or a pair of texts, got 1"),
        ((["a"], [None]), "a label must be a name or a number"),
        (("text", "labels"), "must be a list of texts"),
    ],
)
def test_wrong_data_in_memory_is_refused(train, message, tmp_path):
    task = ofa.Task(train=train, dev=(["a"], [0]), labels=LABELS)
    with pytest.raises(UserError, match=message):
        task.resolve(tmp_path)
    assert not list(tmp_path.iterdir())


def test_data_in_memory_is_read_as_it_is(tmp_path):
    texts = ['a "quoted"\ttext', "line\nbreak\u2028and more", "", "\U0001f600 é"]
    task = ofa.Task(train=(texts, [0, 1, 0, 1]), dev=(texts, LABELS * 2), labels=LABELS)
    from tf_prune_ofa.data.tasks import load_task

    data = load_task(task.resolve(tmp_path))
    assert data.train.text_a == texts
    assert data.train.label.tolist() == [0, 1, 0, 1] == data.dev.label.tolist()


def test_pairs_and_scores_are_read(tmp_path):
    from tf_prune_ofa.data.tasks import load_task

    pairs = [("a", "b"), ("c", "d")]
    data = load_task(ofa.Task(train=(pairs, [0.5, 3]), dev=(pairs, [1, 2])).resolve(tmp_path))
    assert data.train.text_b == ["b", "d"]
    assert data.train.label.tolist() == [0.5, 3.0]


def test_a_named_task_takes_settings(tmp_path):
    settings = ofa.Task("stsb", settings={"max_length": 96}).resolve(tmp_path)
    assert (settings.source, settings.max_length) == ("glue/stsb", 96)
    with pytest.raises(UserError, match="no task of that name"):
        ofa.Task("no_such_task").resolve(tmp_path)


def test_importing_the_package_loads_no_tensorflow():
    code = (
        "import sys, tf_prune_ofa as ofa; ofa.Task; ofa.finetune; "
        "assert not {'tensorflow', 'tf_keras', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "finetune" in dir(ofa)
    with pytest.raises(AttributeError, match="no attribute 'finetun'"):
        ofa.finetun  # noqa: B018


def test_no_module_hides_a_function():
    """Once `tf_prune_ofa.verify` were imported as a module, `ofa.verify` would be that module."""
    folder = Path(ofa.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.name for path in folder.iterdir() if path.is_dir()
    }
    assert not modules & set(ofa.__all__)
