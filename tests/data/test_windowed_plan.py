import numpy as np
import pytest

from tf_prune_ofa.data.windowed_plan import WindowedPlan
from tf_prune_ofa.errors import UserError

LENGTHS = np.random.default_rng(0).integers(3, 30, 107)


def plan(seed=0, batch=4, window=40):
    return WindowedPlan(LENGTHS, batch, seed, window=window)


@pytest.mark.parametrize(("batch", "window"), [(4, 40), (7, 30), (50, 10), (200, 40), (1, 1)])
def test_an_epoch_has_every_example_and_a_window_at_a_time(batch, window):
    made = plan(batch=batch, window=window)
    for epoch in (0, 1):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        assert {made.epoch(step) for step in steps} == {epoch}
        batches = [made.indices(step) for step in steps]
        assert all(len(indices) == batch for indices in batches)
        assert set(np.concatenate(batches)) == set(range(107))
        # What fills a window's last batch up is seen twice, and nothing else.
        assert sum(map(len, batches)) < 107 + batch * len(range(0, 107, max(batch, window)))
        size = max(window, batch)
        assert all(len({index // size for index in indices}) == 1 for indices in batches)


def test_any_step_may_be_the_first():
    whole = plan()
    batches = [whole.indices(step).tolist() for step in range(90)]
    assert [plan().indices(step).tolist() for step in reversed(range(90))] == batches[::-1]
    assert [plan(seed=1).indices(step).tolist() for step in range(90)] != batches
    assert batches[:27] != batches[27:54]


def test_no_examples_are_refused():
    with pytest.raises(UserError, match="0 examples do not make a batch"):
        WindowedPlan(np.zeros(0, int), 4)
