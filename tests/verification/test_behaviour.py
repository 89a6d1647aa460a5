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


def least_of(reference, measure):
    """What a file of these outputs is judged by, and the note; `measure` compares two of them."""
    limits = behaviour.INT8
    blurred = behaviour.blur(reference, np.ones(reference.shape, bool), limits)
    least = behaviour.least_agreement(limits, {"it": 1.0}, {"it": measure(blurred, reference)})
    return least["it"], behaviour.describe_undecided(limits, least)


def correlation(ours, theirs):
    return float(np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1])


def labels(ours, theirs):
    return float(np.mean(ours.argmax(1) == theirs.argmax(1)))


def test_trained_models_are_judged_by_the_limit():
    assert least_of(REFERENCE, correlation) == (0.9, "")
    decided = RNG.choice([-2.0, 2.0], [200, 1]) + RNG.normal(0, 0.5, [200, 1])
    assert least_of(np.hstack([decided, -decided]), labels) == (0.9, "")


def test_a_regression_that_was_hardly_trained_is_judged_by_what_rounding_leaves_of_it():
    flat = 2.7 + RNG.normal(0, 0.02, [200, 1])
    least, note = least_of(flat, correlation)
    assert 0.2 < least < 0.6 and "Is it trained?" in note
    # A step of INT8 is half of its spread: an honest file passes, one that is 0.3 off does not.
    rounded = np.round(flat / 0.011) * 0.011 + RNG.normal(0, 0.01, flat.shape)
    for ours, passes in ((rounded, True), (flat + 0.3, False), (0 * flat, False)):
        relative = behaviour.relative_difference(ours, flat)
        share = correlation(ours, flat) if np.ptp(ours) else 0.0
        found = behaviour.find_problems(
            relative, {"it": share}, flat, behaviour.INT8, count=200, least={"it": least}
        )
        assert (found == []) == passes


def test_a_classifier_that_was_hardly_trained():
    undecided = RNG.normal(0, 0.01, [200, 2]) + RNG.choice([-1.0, 1.0], [200, 1])
    least, note = least_of(undecided, labels)
    assert 0.4 < least < 0.65 and "judged it by 0." in note
    # Labels at random are not what differences of that size give.
    spread = RNG.normal(0, 1, [200, 2])
    assert least_of(spread, labels)[0] > 0.8


def test_padding_is_not_blurred():
    is_real = np.arange(200)[:, None] < 50
    blurred = behaviour.blur(REFERENCE, is_real, behaviour.INT8)
    changed = blurred != REFERENCE
    assert changed[:50].all() and not changed[50:].any()
