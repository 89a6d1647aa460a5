"""The random encoder of a tiny recipe, with the tokenizer of its family."""

import dataclasses

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.preflight import check_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.recipe import load_recipe


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ("hf://FacebookAI/roberta-base", "BPE"),
        ("hf://FacebookAI/xlm-roberta-base", "Unigram"),
        ("hf://google/electra-small-discriminator", "WordPiece"),
    ],
)
def test_a_tiny_recipe_has_a_vocabulary_of_its_family(weights, kind):
    recipe = load_recipe("reconstruct_roberta_base", [f"model.weights={weights}"], tiny=True)
    inputs = RecipeInputs(recipe)
    assert inputs.wordpiece.kind == kind
    assert inputs.encoder.vocab_size == inputs.wordpiece.vocab_size
    [ids] = inputs.wordpiece.encode(["A good film, isn't it?"], max_length=32).ids
    assert inputs.wordpiece.unk_id not in ids


def test_a_random_encoder_with_a_vocabulary_of_another_family_is_refused_before_work():
    recipe = load_recipe("reconstruct_roberta_base", [], tiny=True)
    model = dataclasses.replace(recipe.model, vocabulary="minilm_l6")
    recipe = dataclasses.replace(recipe, model=model)
    with pytest.raises(UserError, match="of the kind WordPiece; RoBERTa has BPE"):
        check_inputs(recipe, RecipeInputs(recipe))
