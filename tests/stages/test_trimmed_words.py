"""Exports with a part of the vocabulary, or of its rows, in INT4, as a recipe asks for them."""

import json
import string
from dataclasses import replace

import numpy as np
import pytest
import small_runs
from small_runs import TRAINING, only, stage_folder

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs import file_words
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.stages.runner import open_run, run_recipe
from tf_prune_ofa.verification import shared_rows, vocabulary

SHORT = {**TRAINING, "length": "4 steps"}
SINGLE = [*string.ascii_lowercase, *(f"##{one}" for one in string.ascii_lowercase), ".", ","]
UNUSED = ["unseen", "##ness", "[unused3]"]
NEAREST = {"others": "nearest", "size": 20}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trimmed")
    words = [word for word in small_runs.WORDS if len(word) > 1]
    # The unused ones in front of the others: rows move.
    pieces = [*small_runs.VOCABULARY[:5], *UNUSED, *SINGLE, *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_runs, "VOCABULARY", pieces)
        config = small_runs.EncoderConfig("bert", vocab_size=len(pieces), **small_runs.SIZES)
        small_runs.write_inputs(folder, config)
    (folder / "more.txt").write_text("zany\n", encoding="utf-8")
    export = {
        "start": "quantize",
        "sequence_length": 12,
        "words": "int4",
        "vocabulary": {"keep": "task", "texts": [str(folder / "more.txt")]},
    }
    quantize = {**SHORT, "start": "task_teacher", "teacher": "", "loss": {"hard": 1.0}}
    data = small_runs.recipe(
        folder,
        **only("task_teacher", "quantize"),
        task_teacher={**SHORT, "kind": "finetune"},
        quantize=quantize,
        export=export,
        verify={"start": "export", "threads": 1},
        rows={**export, "kind": "export", "vocabulary": {**export["vocabulary"], **NEAREST}},
        verify_rows={"kind": "verify", "start": "rows", "threads": 1},
    )
    recipe = recipe_from_dict(data, name="trimmed")
    run_recipe(recipe, folder / "run")
    return recipe, folder / "run", pieces


def test_files_have_the_words_of_the_task(run):
    _, folder, pieces = run
    files = sorted(stage_folder(folder, "export").glob("*.tflite"))
    assert len(files) == 4
    for path in files:
        found = vocabulary.read_vocabulary(path.read_bytes())
        assert not set(found) & set(UNUSED)
        assert set(SINGLE) < set(found) and "film" in found and "the" in found
        assert [piece for piece in pieces if piece in found] == found


def test_verify_compares_numbers_and_says_what_the_words_cost(run):
    said = json.loads((stage_folder(run[1], "verify") / "verify.json").read_text())
    assert said["verdict"] == "pass"
    words = said["words"]
    assert words["texts_with_other_tokens"] == 0 and words["of"] - words["kept"] >= len(UNUSED)
    assert 0 <= words["keras_accuracy_with_all_words"] <= 1
    assert {entry["variant"] for entry in said["files"]} >= {"float32", "dense_int8"}


def test_files_have_rows_for_the_words_of_the_task(run):
    _, folder, pieces = run
    for path in sorted(stage_folder(folder, "rows").glob("*.tflite")):
        content = path.read_bytes()
        assert vocabulary.read_vocabulary(content) == pieces  # no text has other tokens
        assert (shared_rows.ROWS.encode() in content) == (path.name != "float32_s12.tflite")
    said = json.loads((stage_folder(folder, "verify_rows") / "verify.json").read_text())
    assert said["verdict"] == "pass"
    assert said["words"]["own_rows"] == 20 and said["words"]["of"] == len(pieces)
    assert 0 < said["words"]["texts_with_shared_rows"] <= said["words"]["texts"]
    assert 0 <= said["words"]["keras_accuracy_with_all_words"] <= 1
    exact = next(entry for entry in said["files"] if entry["variant"] == "float32")
    assert exact["max_logit_difference"] < 1e-4


def opened(run, stage):
    """Context, settings, model folder, table of words and static file of an export stage."""
    recipe, folder, _ = run
    context = open_run(recipe, folder, last=stage)
    model = context.results["quantize"].model_folder
    table = huggingface.read_weights(model)["embeddings/word/embeddings"]
    path = stage_folder(folder, stage) / "dense_int8_s12.tflite"
    return context, recipe.stages[stage], model, table, path


def test_a_choice_of_rows_that_is_not_asked_for_is_refused(run):
    context, settings, model, table, path = opened(run, "rows")

    def problems(path, **changes):
        asked = replace(settings, vocabulary=replace(settings.vocabulary, **changes))
        return file_words.find_words(context, asked, model, table, [path]).problems

    assert problems(path) == []
    assert any("20 rows of words instead of 19" in text for text in problems(path, size=19))
    assert any("are used up to" in text for text in problems(path, size=0))
    whole = path.with_name("float32_s12.tflite")
    assert problems(whole) == ["no file says which words share rows"]


def test_words_of_other_texts_fall_into_pieces(run):
    folder = stage_folder(run[1], "export")
    with TextClassifier(folder / "dense_int8_s12.tflite", delegate=None) as classify:
        assert np.all(np.isfinite(np.array(list(classify.logits(["unseen film", "zany unseen"])))))


def test_a_choice_of_words_that_leaves_texts_without_theirs_is_refused(run, monkeypatch):
    context, settings, model, table, path = opened(run, "export")
    right = vocabulary.read_vocabulary(path.read_bytes())

    def problems(words):
        monkeypatch.setattr(vocabulary, "read_vocabulary", lambda content: words)
        return file_words.find_words(context, settings, model, table, [path]).problems

    assert problems(right) == []
    assert problems([word for word in right if word != "##q"]) == [
        "1 single characters of the model's vocabulary are not in its own, first ##q"
    ]
    (problem,) = problems([word for word in right if word != "film"])
    assert "texts to learn from have other tokens" in problem
    assert problems(list(reversed(right))) == ["its words are no part of the model's"]
    assert problems(None) != []


@pytest.mark.parametrize(
    ("vocabulary", "variants", "said"),
    [
        ({"size": 100}, [], "export.vocabulary.size is for a vocabulary of what texts"),
        ({"others": "nearest"}, [], "export.vocabulary.others is for a vocabulary of what texts"),
        ({"keep": "task", "others": "nearest"}, ["float32"], "export.variants has float32 alone"),
    ],
)
def test_settings_that_would_be_passed_over_are_refused(vocabulary, variants, said):
    export = {"start": "quantize", "vocabulary": vocabulary}
    export |= {"variants": variants} if variants else {}
    with pytest.raises(UserError, match=said):
        recipe_from_dict({"stages": {"quantize": {}, "export": export}}, name="bad")
