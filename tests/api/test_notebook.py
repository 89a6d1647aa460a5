"""The notebook's code on the small encoder of the tests, so that what it shows keeps running."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import BERT, TOKENIZER, write_inputs
from test_api import LABELS, SMALL, read

import tf_prune_ofa as ofa
from tf_prune_ofa.models import bert, huggingface

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_model.ipynb"


def write_sparse(inputs):
    """The encoder with three quarters of its dense weights zero."""
    model = bert.build_model(BERT)
    huggingface.load_weights(model, inputs / "encoder")
    for name, kernel in bert.dense_kernels(model).items():
        if name.startswith("encoder_"):
            values = kernel.numpy()
            kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), 0.75), 0, values))
    huggingface.write_folder(
        inputs / "sparse", model, BERT, None, inputs / "vocab.txt", tokenizer=TOKENIZER
    )
    return inputs / "sparse"


def test_its_cells_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict = {}
    # The first cell names encoders, task and sizes; here they are the tests'.
    exec(compile(code[0], "parameters", "exec"), names)
    inputs = write_inputs(tmp_path)
    names |= {
        "ENCODER": inputs / "encoder",
        "SPARSE": write_sparse(inputs),
        "TASK": ofa.Task(
            train=read(inputs / "train.tsv"), dev=read(inputs / "dev.tsv"), labels=LABELS,
            settings={"max_length": 12},
        ),
        "SETTINGS": {**SMALL, "learning_rate": 5e-3},
    }  # fmt: skip
    for number, cell in enumerate(code[1:], 1):
        cell = cell.replace("sequence_length=64", "sequence_length=12")
        exec(compile(cell, f"cell {number}", "exec"), names)
    assert 0.0 < names["teacher"].score < 1.0  # 60 steps of a tiny encoder teach it little
    assert names["student"].sparsity > 0.7
    said = capsys.readouterr().out
    for variant in ("dense_int8", "sparse_int8"):
        assert f"{variant} " in said
    assert said.count("of the labels are the model's") == 2
    for text in names["TEXTS"]:
        assert f": {text}\n" in said
    # What its last line shows, which a reader sees and exec() does not.
    again = ofa.open(tmp_path / "student")
    assert (again.score, again.sparsity) == (names["student"].score, names["student"].sparsity)
    # The zeros of the sparse encoder went through training, saving and opening.
    before = huggingface.read_weights(inputs / "sparse")
    after = huggingface.read_weights(again.folder / "model")
    kernels = [name for name in before if "encoder_" in name and name.endswith("kernel")]
    assert sum((before[name] == 0).mean() > 0.7 for name in kernels) == len(kernels) > 0
    for name in kernels:
        assert not after[name][before[name] == 0].any()
    assert names["answer"].label in LABELS
    assert sum(names["answer"].scores.values()) == pytest.approx(1.0)
