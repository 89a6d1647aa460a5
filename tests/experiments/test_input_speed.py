import numpy as np
import pytest
from small_runs import only, recipe

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments.input_speed import _ways, measure
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.recipe import recipe_from_dict


def small(inputs):
    return recipe_from_dict(recipe(inputs, **only("teacher", "prune", "task_teacher")), name="s")


def test_every_way_gives_the_same_examples(inputs, tmp_path):
    settings = small(inputs)
    context = Context("task_teacher", tmp_path, settings, {}, RecipeInputs(settings))
    job = TrainingJob(settings.stages["task_teacher"], context)
    ways = {name: list(batches(1, 4)) for name, batches in _ways(job).items()}
    by_length = ["as the stages do", "not made ahead", "from text in every step"]
    for name in by_length[1:]:
        for (batch, targets), (same, labels) in zip(ways[by_length[0]], ways[name], strict=True):
            np.testing.assert_array_equal(targets["labels"], labels["labels"])
            for key, value in batch.items():
                np.testing.assert_array_equal(value, same[key])
    mixed, fixed = ways["not by length"], ways["all of the same length"]
    for (narrow, _), (wide, _) in zip(mixed, fixed, strict=True):
        size = narrow["input_word_ids"].shape[1]
        assert wide["input_mask"].shape == (8, 12)
        np.testing.assert_array_equal(narrow["input_word_ids"], wide["input_word_ids"][:, :size])
        assert not np.any(wide["input_mask"][:, size:])


def test_rows(inputs, tmp_path):
    rows = measure(small(inputs), "task_teacher", tmp_path, steps=2, rounds=1)
    assert len(rows) == 5
    for row in rows:
        assert row.examples_per_s > 0 and 0 <= row.input_share <= 1 and 0 < row.tokens <= 12
    assert rows[-1].tokens == 12


def test_other_stages(inputs, tmp_path):
    for stage in ("teacher", "prune", "nothing"):
        with pytest.raises(UserError, match=f"'{stage}' is not a stage that trains the task from"):
            measure(small(inputs), stage, tmp_path, steps=1, rounds=1)
