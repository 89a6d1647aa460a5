import numpy as np
import pytest
from small_runs import recipe

from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs, cut_note
from tf_prune_ofa.recipe import recipe_from_dict


@pytest.mark.parametrize(
    ("full", "note"),
    [(0, ""), (2, ""), (3, "3 of 200 texts fill all 12 tokens"), (200, "200 of 200 texts")],
)
def test_many_cut_texts_are_counted(full, note):
    lengths = np.where(np.arange(200) < full, 12, 11)
    assert cut_note(lengths, 12).startswith(note) and bool(note) == bool(cut_note(lengths, 12))


def test_a_run_says_it_once_for_each_length(inputs, capsys):
    found = RecipeInputs(recipe_from_dict(recipe(inputs, task={"max_length": 4}), name="test"))
    for _ in range(2):
        found.encode(found.task.dev)
    found.encode(found.task.dev, length=64)
    said = capsys.readouterr().out
    assert said.count("fill all 4 tokens") == 1 and "64 tokens" not in said
