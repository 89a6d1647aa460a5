"""A dry run: what a recipe would do, and what it takes."""

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments.dry_run import as_text, dry_run
from tf_prune_ofa.recipe import load_recipe


def recipe(*changes):
    return load_recipe("gmp_minilm", ["task=reviews", *changes], tiny=True)


@pytest.fixture(scope="module")
def forecasts():
    return {one.name: one for one in dry_run(recipe())}


def test_it_has_each_training_stage_with_its_schedule(forecasts):
    assert list(forecasts) == ["task_teacher", "prune"]
    prune = forecasts["prune"]
    assert (prune.steps, prune.batch_size) == (12, 8)  # what --tiny makes of any length
    assert prune.epochs == pytest.approx(12 * 8 / prune.examples)
    assert prune.sparsity.final == 0.9
    assert forecasts["task_teacher"].sparsity is None


def test_it_measures(forecasts):
    for one in forecasts.values():
        assert one.step_seconds > 0
        assert one.hours == pytest.approx(one.steps * one.step_seconds / 3600)
        assert one.memory > 50e6
        assert one.disk > 10e3


def test_the_text_tells_it(forecasts):
    text = as_text(list(forecasts.values()))
    assert "hours of training, at the speed of this machine" in text
    sparsity = forecasts["prune"].sparsity
    assert f"90 % from step {sparsity.ramp_end}" in text
    assert f"to {sparsity.last_update}; then the pattern is fixed" in text
    curve = next(line for line in text.splitlines() if line.startswith("  sparsity"))
    assert curve.count("▇") + curve.count("█") >= 20  # 90 % for half of the run


def test_nothing_is_tried_where_only_the_schedule_is_asked_for():
    text = as_text(dry_run(recipe(), measure=False))
    assert "90 % from step" in text
    assert "hours of training" not in text


def test_a_share_of_what_was_kept_is_named():
    text = as_text(dry_run(recipe("prune.sparsity.share_of=kept"), measure=False))
    assert "90 % of what was kept before from step" in text


def test_copies_of_an_augmentation_are_examples():
    """Without them an epoch would be too short."""
    settings = load_recipe("sparsebert_minilm", ["task=reviews"], tiny=True)
    copies = settings.stages["prune"].augment.copies
    forecasts = {one.name: one for one in dry_run(settings, measure=False)}
    own = forecasts["task_teacher"].examples
    assert copies > 0
    assert forecasts["prune"].examples == (1 + copies) * own
    assert forecasts["prune"].epochs == pytest.approx(12 * 8 / ((1 + copies) * own))


def test_what_a_run_refuses_is_refused():
    change = "prune.sparsity.rules={encoder_99.*: 0.5}"
    with pytest.raises(UserError, match="encoder_99"):
        dry_run(recipe(change), measure=False)
