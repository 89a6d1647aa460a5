import numpy as np
import pytest

from tf_prune_ofa.bench.stats import latency_summary, ratio_to_reference


def test_summary_of_numbers_that_can_be_counted():
    summary = latency_summary(np.arange(11.0)[::-1])  # 10, 9, ..., 0
    assert summary == {
        "median": 5.0,
        "p10": 1.0,
        "p90": 9.0,
        "p99": pytest.approx(9.9),
        "min": 0.0,
        "mean": 5.0,
        "runs": 11,
    }


def test_a_file_twice_as_fast_has_the_ratio_one_half():
    reference = np.full((20, 2), 4.0)
    assert ratio_to_reference(reference / 2, reference) == {"ratio": 0.5, "low": 0.5, "high": 0.5}


def test_slow_phases_that_hit_both_files_leave_the_ratio_alone():
    # Half of the rounds run at half speed. Drawn together, both medians move together.
    pace = np.repeat([1.0, 2.0], 50)[:, None]
    found = ratio_to_reference(3 * pace, 4 * pace)
    assert (found["ratio"], found["low"], found["high"]) == (0.75, 0.75, 0.75)


def test_interval_covers_the_true_ratio_of_noisy_timings():
    noise = np.random.default_rng(0)
    samples = 3 + noise.exponential(0.3, (200, 2))
    reference = 4 + noise.exponential(0.3, (200, 2))
    true_ratio = (3 + 0.3 * np.log(2)) / (4 + 0.3 * np.log(2))  # medians of the distributions
    found = ratio_to_reference(samples, reference)
    assert found["low"] < true_ratio < found["high"]
    # 400 runs with this spread fix a median to about 0.015 of 3.2.
    assert found["high"] - found["low"] < 0.04


def test_refuses_files_that_were_not_run_in_the_same_rounds():
    with pytest.raises(ValueError, match="20 rounds of the file, 19 of the reference"):
        ratio_to_reference(np.ones((20, 2)), np.ones((19, 2)))
