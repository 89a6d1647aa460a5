import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.pruning.gradual import RampThenHold
from tf_prune_ofa.schedules import (
    LearningRateSchedule,
    SparsitySchedule,
    parse_duration,
    steps_of,
    zeros_of,
)
from tf_prune_ofa.train.optimizer import TabulatedRate

PAPER = SparsitySchedule(0.9, begin=0, ramp_end=50_000, mask_end=80_000, frequency=1_000)

# Durations


@pytest.mark.parametrize(
    ("duration", "parsed"),
    [
        (500, (500.0, "steps")),
        (0, (0.0, "steps")),
        ("1 step", (1.0, "steps")),
        ("500 steps", (500.0, "steps")),
        ("1 epoch", (1.0, "epochs")),
        (" 1.5  epochs ", (1.5, "epochs")),
        ("50%", (50.0, "%")),
        ("12.5 %", (12.5, "%")),
    ],
)
def test_parse_duration(duration, parsed):
    assert parse_duration(duration) == parsed


@pytest.mark.parametrize(
    "duration", [-1, True, 1.5, None, "", "500", "-1 steps", "2 epoks", "1e3 steps", "%", [1]]
)
def test_what_is_no_duration_is_refused(duration):
    with pytest.raises(UserError, match="is not a duration; write"):
        parse_duration(duration)


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (7, 7),
        ("7 steps", 7),
        ("3 epochs", 300),
        ("0.5 epochs", 50),
        ("0.29 epochs", 29),  # 0.29 * 100 is 28.999999999999996 in binary
        ("2.3 epochs", 230),
        ("0.299 epochs", 29),  # this one is rounded down
        ("50%", 500),
        ("0.15%", 1),
        ("57%", 570),
        ("0.7%", 7),
    ],
)
def test_steps_of(duration, steps):
    assert steps_of(duration, steps_per_epoch=100, total=1_000) == steps


def test_a_share_needs_a_whole():
    with pytest.raises(UserError, match="length of a run cannot be '50%' of itself"):
        steps_of("50%", steps_per_epoch=100)


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_whole_epochs_are_exact(epochs, steps_per_epoch):
    duration = f"{epochs} epochs"
    assert steps_of(duration, steps_per_epoch=steps_per_epoch) == epochs * steps_per_epoch


# Sparsity


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [
        (0, 0.0),
        (10_000, 0.9 - 0.9 * 0.8**3),  # 0.4392
        (25_000, 0.7875),  # half of the ramp: 0.9 · (1 - 1/8)
        (40_000, 0.8928),  # 0.9 · (1 - 0.2³)
        (50_000, 0.9),
        (100_000, 0.9),
    ],
)
def test_cubic_ramp(step, sparsity):
    assert PAPER.sparsity(step) == pytest.approx(sparsity, abs=1e-12)


def test_ramp_from_an_initial_sparsity_and_another_power():
    schedule = SparsitySchedule(0.9, 10, 30, 50, 10, initial=0.5, power=1)
    shown = [schedule.sparsity(step) for step in (0, 9, 10, 20, 30, 99)]
    assert shown == pytest.approx([0, 0, 0.5, 0.7, 0.9, 0.9], abs=1e-12)


def test_updates_come_from_begin_to_mask_end_inclusive():
    schedule = SparsitySchedule(0.9, begin=3, ramp_end=9, mask_end=14, frequency=4)
    assert [step for step in range(40) if schedule.is_update(step)] == [3, 7, 11]
    assert schedule.last_update == 11
    assert PAPER.last_update == 80_000


@pytest.mark.parametrize(
    "fields",
    [
        {"ramp_end": 10, "mask_end": 12, "frequency": 3},  # updates at 0, 3, 6, 9, 12: 12 is one
        {"ramp_end": 12, "mask_end": 12, "frequency": 3},
        {"begin": 5, "ramp_end": 5, "mask_end": 5, "frequency": 1},  # one shot
    ],
)
def test_an_update_at_or_after_ramp_end_is_enough(fields):
    schedule = SparsitySchedule(**{"final": 0.9, "begin": 0, **fields})
    assert schedule.sparsity(schedule.last_update) == 0.9


def test_a_ramp_that_no_update_completes_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="final sparsity would never be reached") as error:
        SparsitySchedule(0.9, begin=0, ramp_end=10, mask_end=11, frequency=3)
    assert "the last at 9" in str(error.value) and "set mask_end to 12" in str(error.value)
    SparsitySchedule(0.9, begin=0, ramp_end=10, mask_end=12, frequency=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"final": 1.0}, r"final sparsity must be in \[0, 1\), got 1.0"),
        ({"final": -0.1}, r"final sparsity must be in \[0, 1\)"),
        ({"final": float("nan")}, r"final sparsity must be in \[0, 1\)"),
        ({"initial": 0.95}, "initial sparsity 0.95 is above the final 0.9"),
        ({"frequency": 0}, "frequency must be at least 1 step, got 0"),
        ({"begin": 60}, "begin <= ramp_end <= mask_end, got 60, 50, 80"),
        ({"ramp_end": 90}, "begin <= ramp_end <= mask_end"),
        ({"begin": -1}, "begin <= ramp_end <= mask_end"),
    ],
)
def test_impossible_schedules_are_refused(fields, message):
    possible = {"final": 0.9, "begin": 0, "ramp_end": 50, "mask_end": 80, "frequency": 10}
    SparsitySchedule(**possible)
    with pytest.raises(UserError, match=message):
        SparsitySchedule(**{**possible, **fields})


@st.composite
def schedules(draw):
    begin, ramp, hold = (draw(st.integers(0, 40)) for _ in range(3))
    final = draw(st.floats(0, 0.99))
    frequency = draw(st.integers(1, 12))
    # Rounded up to an update at or after the end of the ramp.
    mask_end = begin + -(-(ramp + hold) // frequency) * frequency
    initial = draw(st.floats(0, final))
    power = draw(st.sampled_from([1.0, 2.0, 3.0]))
    return SparsitySchedule(final, begin, begin + ramp, mask_end, frequency, initial, power)


@given(schedules())
def test_sparsity_never_falls_and_ends_at_final(schedule):
    asked = [schedule.sparsity(step) for step in range(140)]
    # Rounding of the power may cost a last bit.
    assert all(later >= earlier - 1e-15 for earlier, later in zip(asked, asked[1:], strict=False))
    assert schedule.sparsity(schedule.last_update) == schedule.final


@settings(deadline=None)  # TensorFlow's first call is slow
@given(schedules())
def test_tfmot_class_is_the_plain_function_at_every_step(schedule):
    ramp = RampThenHold(schedule)
    steps = np.arange(140, dtype=np.int64)
    is_update, asked = ramp(tf.constant(steps))
    assert is_update.numpy().tolist() == [schedule.is_update(step) for step in steps]
    from_begin = steps >= schedule.begin  # before it there are no updates to ask anything
    expected = np.array([schedule.sparsity(int(step)) for step in steps])
    # Its arithmetic is float32: a few roundings of 6e-8.
    np.testing.assert_allclose(asked.numpy()[from_begin], expected[from_begin], rtol=0, atol=5e-7)


def test_tfmot_class_survives_its_config():
    config = RampThenHold(PAPER).get_config()
    assert RampThenHold.from_config(config["config"]).schedule == PAPER


# Counts


@pytest.mark.parametrize(
    ("size", "sparsity", "zeros"),
    [(16, 0.85, 14), (10, 0.85, 9), (15, 0.9, 14), (100, 0.0, 0), (1, 0.4, 0), (1, 0.5, 1)],
)
def test_zeros_are_rounded_half_up(size, sparsity, zeros):
    assert zeros_of(size, sparsity) == zeros


@given(st.integers(1, 10_000_000), st.integers(0, 99))
def test_zeros_of_whole_percents_equal_integer_arithmetic(size, percent):
    assert zeros_of(size, percent / 100) == (2 * size * percent + 100) // 200


# Learning rate


def reference_factor(t, total, warmup, t0, t1, interval):
    """The released code's factor, as in paper_spec.md, section 1.2; there it may exceed 1."""
    ramp = t1 - t0
    outside = total - ramp
    if t < warmup:
        return t / warmup
    if t0 <= t < t1:
        return max(0, (outside - t + (t - t0) // interval * interval) / (outside - warmup))
    return max(0, (total - (ramp if t < t0 else 0) - t) / (outside - warmup))


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.0),
        (999, 0.999),
        (1_000, 1.0),  # 1.0204 in the released code
        (1_999, 1.0),
        (49_999, 1.0),
        (50_000, 1.0),
        (60_000, 40 / 49),
        (75_000, 25 / 49),
        (99_000, 1 / 49),
        (100_000, 0.0),
    ],
)
def test_rewinding_at_the_published_settings(step, factor):
    schedule = LearningRateSchedule(5e-5, 100_000, 1_000, "linear", 0, 50_000, 1_000)
    assert schedule.factor(step) == pytest.approx(factor, abs=1e-12)
    assert schedule.rate(step) == pytest.approx(5e-5 * factor, abs=1e-16)


@pytest.mark.parametrize(
    ("total", "warmup", "t0", "t1", "interval"),
    [
        (1_000, 10, 0, 500, 10),
        (1_000, 10, 100, 500, 30),  # an interval that does not divide the ramp
        (1_000, 200, 100, 500, 50),  # the ramp begins during the warm-up
        (1_000, 0, 0, 900, 100),
        (97, 7, 11, 53, 5),
    ],
)
def test_rewinding_is_the_reference_clipped_at_one(total, warmup, t0, t1, interval):
    schedule = LearningRateSchedule(1.0, total, warmup, "linear", t0, t1, interval)
    expected = [reference_factor(t, total, warmup, t0, t1, interval) for t in range(total + 1)]
    actual = [schedule.factor(t) for t in range(total + 1)]
    np.testing.assert_allclose(actual, np.minimum(expected, 1), rtol=0, atol=1e-12)


def test_a_long_interval_saws():
    """Between two rewinds the rate falls as it does after the ramp."""
    schedule = LearningRateSchedule(1.0, 100, 0, "linear", 0, 40, 20)
    expected = [1, 50 / 60, 41 / 60, 1, 41 / 60, 1, 30 / 60, 0]
    steps = (0, 10, 19, 20, 39, 40, 70, 100)
    assert [schedule.factor(t) for t in steps] == pytest.approx(expected, abs=1e-12)


# oBERT upstream, in steps of a 1/20 of an epoch: 3 epochs, a cycle and a mask update each 0.25.
OBERT = LearningRateSchedule(5e-4, 60, 0, "linear", 0, 55, 5, cycle_floor=0.01)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 5e-4),
        (1, 4.01e-4),  # a fifth of the way to 5e-6
        (4, 1.04e-4),
        (5, 5e-4),
        (54, 1.04e-4),
        (55, 5e-4),  # the last mask update begins the last cycle
        (59, 1.04e-4),
        (60, 5e-6),
    ],
)
def test_cycles_at_the_published_settings(step, rate):
    assert OBERT.rate(step) == pytest.approx(rate, abs=1e-16)


def test_cycles_with_warm_up_late_begin_and_a_long_end():
    schedule = LearningRateSchedule(1.0, 40, 4, "constant", 10, 20, 5, cycle_floor=0.5)
    expected = {0: 0, 2: 0.5, 4: 1, 9: 1, 10: 1, 12: 0.8, 15: 1, 19: 0.6, 20: 1, 30: 0.75, 40: 0.5}
    assert {t: schedule.factor(t) for t in expected} == pytest.approx(expected, abs=1e-12)
    # Beyond the end, where the optimizer's table is not asked: no lower than the floor.
    assert schedule.factor(99) == 0.5


def test_cycles_are_off_without_an_interval():
    schedule = LearningRateSchedule(1.0, 10, 2, cycle_floor=0.01)
    assert [schedule.factor(t) for t in (0, 2, 6, 10)] == [0, 1, 0.5, 0]


def test_plain_schedules():
    linear = LearningRateSchedule(1.0, 10, 2)
    assert [linear.factor(t) for t in range(11)] == pytest.approx(
        [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]
    )
    constant = LearningRateSchedule(1.0, 10, 2, "constant")
    assert [constant.factor(t) for t in (0, 1, 2, 9, 10)] == [0, 0.5, 1, 1, 1]


def test_impossible_rates_are_refused():
    with pytest.raises(UserError, match="decay must be 'linear' or 'constant', got 'cosine'"):
        LearningRateSchedule(1.0, 10, decay="cosine")
    with pytest.raises(UserError, match="the run has 50 steps, the ramp 50"):
        LearningRateSchedule(1.0, 50, 0, "linear", 0, 50, 5)


def test_the_optimizer_s_table_is_the_schedule():
    schedule = LearningRateSchedule(3e-4, 100, 10, "linear", 0, 40, 10)
    table = TabulatedRate(schedule)
    for step in range(101):
        # The table is float32.
        assert float(table(tf.constant(step, tf.int64))) == np.float32(schedule.rate(step))
    assert float(table(tf.constant(500, tf.int64))) == 0.0  # beyond the end
