import dataclasses

import pytest

from tf_prune_ofa.device import throttle
from tf_prune_ofa.device.throttle import Round

STEADY = Round(
    rows=(0, 2),
    first_ms=(11.0, 6.0),
    samples_ms=((10.0, 10.2), (5.0, 5.1)),
    cpu_ms=((10.0, 10.0), (5.0, 5.0)),
    clock_khz=(2.8e6, 2.8e6),
    temperature=(41.0, 35.0),
    cooling=0,
)


def rounds(count=30, **later):
    """Rounds of which the second half is different; `factor` multiplies its times."""
    factor = later.pop("factor", 1)
    slow = {
        times: tuple(tuple(factor * x for x in row) for row in getattr(STEADY, times))
        for times in ("samples_ms", "cpu_ms")
    }
    half = dataclasses.replace(STEADY, **(slow | later))
    return [STEADY] * (count // 2) + [half] * (count - count // 2)


def blind(rounds):
    """The same on a device that shows neither its clock nor its temperature."""
    return [dataclasses.replace(one, clock_khz=(), temperature=()) for one in rounds]


def test_a_steady_run():
    assert throttle.find(rounds(), 0) == []
    # Warmer, but no slower; slower, but no warmer: somebody else was busy.
    assert throttle.find(rounds(temperature=(60.0, 35.0)), 0) == []
    assert throttle.find(rounds(factor=1.5), 0) == []
    assert throttle.hottest(rounds(temperature=(60.0, 35.0))) == 60


def test_a_clock_that_falls():
    [why] = throttle.find(rounds(clock_khz=(1.8e6, 1.8e6)), 0)
    assert why == "the clock fell from 2.80 to 1.80 GHz"
    # A governor that moves it a little does not matter.
    assert throttle.find(rounds(clock_khz=(2.6e6, 2.7e6)), 0) == []


def test_a_kernel_that_holds_the_processor_back():
    assert throttle.find(rounds(cooling=2), 0) == ["the kernel held the processor back (2 steps)"]
    assert throttle.find(rounds(cooling=2), 2) == []


@pytest.mark.parametrize("seen", [{"temperature": ()}, {"temperature": (52.0, 35.0)}])
def test_every_file_became_slower(seen):
    slower = [dataclasses.replace(one, clock_khz=()) for one in rounds(factor=1.3, **seen)]
    [why] = throttle.find(slower if seen["temperature"] else blind(slower), 0)
    assert why.startswith("every file became 30% slower or more")


def test_slower_for_another_reason():
    one_row = rounds(cpu_ms=((10.0, 10.2), (6.5, 6.5)))
    assert throttle.find(blind(one_row), 0) == []
    # Others had the processor: the same work, waiting for its turn.
    assert throttle.find(blind(rounds(samples_ms=((20.0, 20.4), (10.0, 10.2)))), 0) == []


def test_runs_that_are_shorter_than_the_clock_can_tell():
    short = dataclasses.replace(STEADY, cpu_ms=((0.001, 0.001), (0.001, 0.001)))
    longer = dataclasses.replace(short, cpu_ms=((0.002, 0.002), (0.002, 0.002)))
    assert throttle.find(blind([short] * 15 + [longer] * 15), 0) == []


def test_a_few_rounds_tell_nothing():
    assert throttle.find(rounds(count=8, factor=2, clock_khz=(1.0e6,)), 0) == []
    assert throttle.find([], 0) == []
