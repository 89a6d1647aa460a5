"""Where to clip an activation: ranges from a histogram of the values that it took.

The smallest and the largest value make a range that clips nothing, and one outlying value makes its
steps coarse for all others. A narrower range errs by what it clips, and less by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.conversion.attention import symmetric
from tf_prune_ofa.conversion.integers import INT8_MAX, INT8_MIN, activation_params

Range = tuple[float, float]

BINS = 8192
# Shares of an end that the search tries, in steps of about a tenth.
_SHARES = np.geomspace(1.0, 0.01, 45)
_MOST_ROUNDS = 4


@dataclass
class Histogram:
    """How often a tensor's values fell into each of `BINS` equal parts of their range.

    Attributes:
        low: smallest value.
        high: largest value.
        counts: [BINS].
    """

    low: float
    high: float
    counts: np.ndarray

    @classmethod
    def between(cls, low: float, high: float) -> Histogram:
        """Return an empty one for values from `low` to `high`."""
        return cls(low, high, np.zeros(BINS, np.int64))

    def add(self, values: np.ndarray) -> None:
        """Count values of any shape; those of a tensor of one value are all in the first part."""
        if self.low == self.high:
            self.counts[0] += values.size
            return
        self.counts += np.histogram(values, BINS, (self.low, self.high))[0]

    @property
    def centers(self) -> np.ndarray:
        """The value in the middle of each part, [BINS]."""
        width = (self.high - self.low) / BINS
        return self.low + (np.arange(BINS) + 0.5) * width

    def percentiles(self, share: float) -> Range:
        """Return the range that holds this share of the values, with as many below as above."""
        if self.low == self.high:
            return self.low, self.high
        total = np.cumsum(self.counts)
        outside = (1 - share) / 2 * total[-1]
        width = (self.high - self.low) / BINS
        below = int(np.searchsorted(total, outside, side="right"))
        above = int(np.searchsorted(total, total[-1] - outside, side="left"))
        return self.low + below * width, self.low + (above + 1) * width

    def least_squares(self, *, is_symmetric: bool = False) -> Range:
        """Return the range of the smallest mean square error that the search finds.

        Args:
            is_symmetric: of a tensor whose zero point is 0 in the file.
        """
        best = (self.low, self.high)
        least = self.error(best, is_symmetric=is_symmetric)
        for _ in range(_MOST_ROUNDS):
            before = best
            for share in _SHARES:
                for tried in ((self.low * share, best[1]), (best[0], self.high * share)):
                    error = self.error(tried, is_symmetric=is_symmetric)
                    if error < least:
                        best, least = tried, error
            if best == before:
                break
        return best

    def error(self, bounds: Range, *, is_symmetric: bool = False) -> float:
        """Return the mean square error of values as INT8 with a range.

        Rounding errs by a twelfth of a squared step on average, but never by more than a value
        itself, because 0 is an integer.

        Args:
            bounds: the range; it is widened to hold 0.
            is_symmetric: see `least_squares`.
        """
        low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
        if not low < high:
            return float("inf")
        if is_symmetric:
            low, high = symmetric((low, high))
        step, zero_point = activation_params(low, high)
        # The ends as the file has them: 0 is an integer, so they are whole steps away.
        low, high = (step * (end - zero_point) for end in (INT8_MIN, INT8_MAX))
        values = self.centers
        clipped = values - np.clip(values, low, high)
        rounding = np.minimum(step**2 / 12, np.square(values))
        errors = np.where(clipped != 0, np.square(clipped), rounding)
        return float(errors @ self.counts) / max(int(self.counts.sum()), 1)
