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
    slow = tuple(tuple(factor * x for x in row) for row in STEADY.samples_ms)
    half = dataclasses.replace(STEADY, samples_ms=slow, **later)
    return [STEADY] * (count // 2) + [half] * (count - count // 2)


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
    blind = [dataclasses.replace(one, clock_khz=()) for one in rounds(factor=1.3, **seen)]
    if not seen["temperature"]:
        blind = [dataclasses.replace(one, temperature=()) for one in blind]
    [why] = throttle.find(blind, 0)
    assert why.startswith("every file became 30% slower or more")
    one_row = ((10.0, 10.2), (6.5, 6.5))
    assert (
        throttle.find([STEADY] * 15 + [dataclasses.replace(STEADY, samples_ms=one_row)] * 15, 0)
        == []
    )


def test_a_few_rounds_tell_nothing():
    assert throttle.find(rounds(count=8, factor=2, clock_khz=(1.0e6,)), 0) == []
    assert throttle.find([], 0) == []
