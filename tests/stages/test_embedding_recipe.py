"""Sentence embeddings through all stages that they go through, and from Python."""

import json

import numpy as np
import pytest
import small_runs
from small_runs import results, stage_folder

import tf_prune_ofa as ofa
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.pruning.lock import assert_zeros, load_masks
from tf_prune_ofa.stages.export import export_folder
from tf_prune_ofa.tasks.embeddings import SentenceEmbedding

SHORT = {"length": "12 steps", "batch_size": 8, "learning_rate": 1e-3, "dropout": False,
         "teacher": "model", "loss": {"hard": 0, "soft": 1, "hidden": 0.1}}  # fmt: skip
TEXTS = ["the film is good .", "the plot was dull", "bad", "this cast is very fine , great film ."]
PAIRS = [(TEXTS[0], TEXTS[3]), (TEXTS[1], TEXTS[2]), (TEXTS[0], TEXTS[1]), (TEXTS[3], TEXTS[2])]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    folder = small_runs.write_inputs(tmp_path_factory.mktemp("embeddings"))
    rows = [f"{a}\t{b}\t{score}" for (a, b), score in zip(PAIRS, (4.5, 2, 1, 0), strict=True)]
    (folder / "pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "texts.txt").write_text("\n".join(TEXTS * 5) + "\n", encoding="utf-8")
    data = {
        "seed": 1,
        "model": {"weights": str(folder / "encoder")},
        "task": {
            "source": "embeddings", "train": str(folder / "texts.txt"),
            "dev": str(folder / "pairs.tsv"), "header": False,
            "text_a": "1", "text_b": "2", "label": "3", "max_length": 12,
        },
        "stages": {
            "prune": {**SHORT, "sparsity": {"rules": {"encoder_.*": 0.5}, "frequency": 2}},
            "quantize": {**SHORT, "start": "prune", "calibration_batches": 2},
            "export": {"start": "quantize", "sequence_length": 12,
                       "variants": ["float32", "dense_int8", "sparse_int8"]},
            "verify": {"start": "export"},
        },
    }  # fmt: skip
    small_runs.run_well(data, folder / "run")
    return folder / "run"


def test_they_are_judged_by_pairs(embedded):
    found = results(embedded)
    for name in ("prune", "quantize"):
        figures = found[name]["figures"]
        assert figures["main_metric"] == "spearman"
        assert (figures["dev_examples"], figures["train_examples"]) == (4, 4)
        assert -1 <= figures["spearman"] <= 1


def test_the_folder_is_an_encoders_own(embedded):
    folder = stage_folder(embedded, "quantize") / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertModel"] and "id2label" not in config
    weights = huggingface.read_weights(folder)
    masks = load_masks(stage_folder(embedded, "prune") / "masks.npz")
    assert_zeros({name: weights[f"{name}/kernel"] for name in masks}, masks, where="the embedder")


def test_files_give_the_models_vectors(embedded):
    for variant, entry in results(embedded)["verify"]["figures"].items():
        limit = 1 - 1e-6 if variant == "float32" else 0.97
        assert limit <= entry["smallest_cosine"] <= entry["cosine_similarity"] <= 1 + 1e-6
        assert "label_agreement" not in entry


def test_a_text_becomes_a_unit_vector(embedded):
    path = next(stage_folder(embedded, "export").glob("float32*.tflite"))
    text = "The film, is GOOD."
    with ofa.TextEmbedder(path) as embed:
        vectors = embed([text, "bad"])
        assert embed([]).shape == (0, 16)
        assert embed.similarity(text, text) == pytest.approx(1, abs=1e-6)
        assert embed.similarity([text, "bad"], "bad").shape == (2,)
        assert embed.similarity([text, "bad"], [text, "bad", "."]).shape == (2, 3)
        np.testing.assert_array_equal(embed(text), vectors[0])
        ids = embed.wordpiece.encode([text], None, max_length=12).ids[0]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
    # The mean over the tokens of what the encoder gives, by transformers' names and NumPy.
    expected = mean_of_tokens(stage_folder(embedded, "quantize") / "model", ids)
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)


def mean_of_tokens(folder, ids):
    from tf_prune_ofa.models import bert

    model = bert.build_model(huggingface.read_config(folder).without_dropout())
    huggingface.load_weights(model, folder, new_heads=["pooler"])
    inputs = {"input_word_ids": ids[None], "input_mask": np.ones_like(ids)[None],
              "input_type_ids": np.zeros_like(ids)[None]}  # fmt: skip
    mean = model(inputs)["sequence_output"].numpy()[0].mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_files_of_other_kinds_are_refused(embedded):
    path = next(stage_folder(embedded, "export").glob("float32*.tflite"))
    with pytest.raises(UserError, match=r"it gives embedding, not logits\. Use TextEmbedder"):
        ofa.TextClassifier(path)


def test_other_ways_of_pooling_are_refused(embedded, tmp_path):
    folder = stage_folder(embedded, "quantize") / "model"
    copy = tmp_path / "model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    pooling = copy / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    modules = [{"type": f"sentence_transformers.models.{name}", "path": path}
               for name, path in (("Transformer", ""), ("Pooling", "1_Pooling"))]  # fmt: skip
    (copy / "modules.json").write_text(json.dumps(modules))
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    with pytest.raises(UserError, match="made by pooling_mode_cls_token; here they are the mean"):
        export_folder(copy, tmp_path / "out", sequence_length=12)
    pooling.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    files = export_folder(copy, tmp_path / "out", sequence_length=12, variants=["float32"])["files"]
    assert [entry["variant"] for entry in files] == ["float32"]


@pytest.mark.parametrize("has_length", [True, False])
def test_what_sentence_transformers_says_of_lengths_and_capitals(tmp_path, capsys, has_length):
    folder = small_runs.write_inputs(tmp_path) / "encoder"
    names = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2"} if has_length else {})
    modules = [{"type": f"sentence_transformers.models.{n}", "path": p} for n, p in names.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    own = folder / "sentence_bert_config.json"
    own.write_text('{"max_seq_length": 12, "do_lower_case": true}')
    SentenceEmbedding().check_folder(folder)
    assert ("here they have length 1" in capsys.readouterr().out) is not has_length
    # The same folder with a tokenizer that keeps capitals.
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "do_lower_case": False}))
    with pytest.raises(UserError, match="do_lower_case is true, and the tokenizer beside it keeps"):
        SentenceEmbedding().check_folder(folder)


def test_labels_cannot_be_learned(tmp_path, capsys):
    folder = small_runs.write_inputs(tmp_path)
    task = ofa.Task(
        train=(TEXTS, None),
        dev=(PAIRS, [1, 2, 3, 4]),
        settings={"source": "embeddings", "max_length": 12},
    )
    with pytest.raises(UserError, match=r"finetune\.loss must distil a teacher's embeddings"):
        ofa.finetune(folder / "encoder", task)


def test_from_memory(embedded, tmp_path):
    """Queries and documents; a sparse model from the run before learns a little more."""
    task = ofa.Task(
        train=(TEXTS, None),
        dev=(PAIRS, None),
        settings={"source": "embeddings", "max_length": 12},
    )
    teacher = str(embedded.parent / "encoder")
    student = ofa.transfer(
        stage_folder(embedded, "prune") / "model", task, teacher=teacher, steps=2,
        run_dir=tmp_path, batch_size=4,
    )  # fmt: skip
    assert student.figures["main_metric"] == "recall_at_1" and 0 <= student.score <= 1
    assert 0.3 < student.sparsity < 1
