"""Run things in turns, so that every one of them meets the same moods of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

# Fewer rounds give no percentiles worth printing, so these are run whatever the time limit is.
MINIMUM_ROUNDS = 5

Answer = TypeVar("Answer")


def interleave(
    turn: Callable[[int], Answer],
    count: int,
    rounds: int,
    seconds: float,
    progress: Callable[[range], Iterable[int]] = iter,
) -> list[list[Answer]]:
    """Give each of `count` things a turn in every round; the order moves on by one place a round.

    Args:
        turn: does what thing i does in one turn, and returns what it measured.
        count: how many things there are.
        rounds: how many rounds to run.
        seconds: stop after this long, but not before `MINIMUM_ROUNDS` rounds.
        progress: wraps the loop over rounds, to show how far it is.

    Returns:
        For each thing, what its turns returned.
    """
    answers: list[list[Answer]] = [[] for _ in range(count)]
    deadline = time.perf_counter() + seconds
    for number in progress(range(max(MINIMUM_ROUNDS, rounds))):
        if number >= MINIMUM_ROUNDS and time.perf_counter() > deadline:
            break
        for i in rotated(count, number):
            answers[i].append(turn(i))
    return answers


def rotated(count: int, turn: int) -> list[int]:
    """0 to count - 1, begun at `turn` and wrapped around.

    >>> rotated(3, 1)
    [1, 2, 0]
    """
    return [(turn + place) % count for place in range(count)]
