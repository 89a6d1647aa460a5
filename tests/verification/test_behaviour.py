import numpy as np
import pytest

from tf_prune_ofa.verification import behaviour

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(3.0, 1.0, [200, 1])


def judged(outputs, agreement=1.0, *, limits=behaviour.INT8, count=200):
    relative = behaviour.relative_difference(outputs, REFERENCE)
    shares = {"label_agreement": agreement}
    return behaviour.find_problems(relative, shares, REFERENCE, limits, count=count)


def test_rounding_passes_and_a_wrong_result_does_not():
    noise = RNG.normal(0, 1, REFERENCE.shape)
    assert judged(REFERENCE + 0.1 * noise) == []
    assert "allowed is" in judged(REFERENCE + 0.5 * noise)[0]
    assert "allowed is" in judged(RNG.permutation(REFERENCE))[0]
    assert "allowed is" in judged(0 * REFERENCE)[0]
    assert judged(REFERENCE + 1e-5 * noise, limits=behaviour.FLOAT) == []
    assert judged(REFERENCE + 0.1 * noise, limits=behaviour.FLOAT)


def test_no_number_passes_no_limit():
    assert judged(np.full_like(REFERENCE, np.nan))
    assert judged(REFERENCE, np.nan)


@pytest.mark.parametrize(
    ("share", "count", "passes"),
    [(0.9, 200, True), (0.85, 200, False), (0.5, 2, True), (0.0, 2, False), (0.75, 4, True)],
)
def test_one_example_of_few_may_differ(share, count, passes):
    assert (judged(REFERENCE, share, count=count) == []) == passes


def test_outputs_without_any_spread():
    flat = np.full([10, 2], 2.0)
    limits = behaviour.INT8
    for other, passes in ((flat + 0.01, True), (flat + 1.0, False)):
        relative = behaviour.relative_difference(other, flat)
        found = behaviour.find_problems(relative, {}, flat, limits, count=10)
        assert (found == []) == passes
