import numpy as np
import pytest
from small_runs import VOCABULARY, recipe

from tf_prune_ofa.config import AugmentSettings
from tf_prune_ofa.data.augment import Vocabulary
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs import augmentation
from tf_prune_ofa.jobs.augmentation import augmented_split
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.bert import MaskedLM
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.text.wordpiece import Encoded


@pytest.fixture
def context(inputs, tmp_path):
    """Of a stage behind both teachers, whose folders are empty."""
    settings = recipe_from_dict(recipe(inputs), name="small")
    results = {
        name: StageResult(name, "teacher", tmp_path / name, name, {}, 0.0)
        for name in ("teacher", "task_teacher")
    }
    return Context("transfer", tmp_path / "run" / "transfer", settings, results,
                   RecipeInputs(settings))  # fmt: skip


@pytest.fixture
def with_model(context, monkeypatch):
    """The same, with an untrained masked language model; counts how often it is made."""
    made = []

    def model(name, of):
        made.append(name)
        return bert.build_model(of.recipe_inputs.encoder.without_dropout(), MaskedLM(), seed=3)

    monkeypatch.setattr(augmentation, "_masked_language_model", model)
    (context.folder.parent).mkdir()
    return context, made


SMALL = AugmentSettings("teacher", copies=2, probability=0.5, candidates=3)


def test_copies_are_made_once_and_have_their_example_s_label(with_model):
    context, made = with_model
    first, second = (augmented_split(SMALL, context) for _ in range(2))
    assert made == ["teacher"]
    train = context.recipe_inputs.train
    assert len(first) == 3 * len(train) == 270
    np.testing.assert_array_equal(first.labels[:90], train.labels)
    np.testing.assert_array_equal(first.labels[90:], np.repeat(train.labels, 2))
    is_word = Vocabulary.of(context.recipe_inputs.wordpiece).is_word
    for index, (ids, again) in enumerate(zip(first.tokens.ids, second.tokens.ids, strict=True)):
        np.testing.assert_array_equal(ids, again)
        if index >= 90:
            original = train.tokens.ids[(index - 90) // 2]
            changed = ids != original
            assert (
                changed.any() and is_word[ids[changed]].all() and is_word[original[changed]].all()
            )


def test_other_settings_or_another_model_are_another_file(with_model):
    context, made = with_model
    augmented_split(SMALL, context)
    augmented_split(AugmentSettings("teacher", copies=1, probability=0.5, candidates=3), context)
    augmented_split(AugmentSettings("task_teacher", 2, 0.5, 3), context)
    assert len(made) == len(list(context.folder.parent.glob("augmented-*.npz"))) == 3


def test_a_damaged_file_is_refused(with_model):
    context, _ = with_model
    augmented_split(SMALL, context)
    [path] = context.folder.parent.glob("augmented-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged .*; delete it to compute it again"):
        augmented_split(SMALL, context)


def test_more_candidates_than_words_are_refused(with_model):
    words = [w for w in VOCABULARY if w.isalpha()]
    with pytest.raises(
        UserError, match="augment.candidates is 15, but the vocabulary has only"
    ) as e:
        augmented_split(AugmentSettings("teacher"), with_model[0])
    assert int(str(e.value).split("only ")[1].split()[0]) < len(words)  # without stop words


def test_the_model_has_to_be_a_masked_language_model(context):
    with pytest.raises(UserError, match="'task_teacher', which is not trained as a masked"):
        augmented_split(AugmentSettings("task_teacher"), context)


def test_arrays_of_one_piece_survive_the_file(tmp_path):
    tokens = Encoded(
        [np.int32([2, 5, 3]), np.int32([2, 3])], [np.int32([0, 0, 1]), np.int32([0, 0])]
    )
    augmentation._write(tmp_path / "a.npz", tokens, np.array([0, 0]))
    found, origins = augmentation._read(tmp_path / "a.npz")
    assert [ids.tolist() for ids in found.ids] == [[2, 5, 3], [2, 3]]
    assert [ids.tolist() for ids in found.type_ids] == [[0, 0, 1], [0, 0]]
    assert origins.tolist() == [0, 0]
