"""Whether a series of samples grows: a statistical criterion, and how much growth is too much.

A series grows where two things hold of what is left after the warm-up: the Mann-Kendall test
(Kendall's tau against time, one-sided) finds an upward trend at SIGNIFICANT, and the slope of Theil
and Sen makes it rise by more than is allowed over the time of the samples. The test alone would
find a trend of a few KiB; the slope alone would take noise for one. Both look at ranks and medians,
so single outliers do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, theilslopes

WARM_UP = 0.25  # of the samples, from the first on
SIGNIFICANT = 0.01  # probability of such a trend in a series without one
FEWEST = 6  # samples after the warm-up: of fewer nothing is said


@dataclass(frozen=True)
class Allowed:
    """How much a series may rise over a run: the larger of an amount and a share of its median."""

    amount: float
    share: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What is said of one series."""

    first: float  # medians of the first and last quarter after the warm-up
    last: float
    rise: float  # by the line of Theil and Sen, from the first sample to the last
    allowed: float
    p: float  # of the Mann-Kendall test; 1 where nothing can be said

    @property
    def grows(self) -> bool:
        """Whether the series fails."""
        return self.p < SIGNIFICANT and self.rise > self.allowed


def reached(series: Sequence[float]) -> list[float]:
    """The highest value so far, of a series that jumps between levels.

    An allocator gives memory back at one time and keeps it at another: a process of one state then
    has two sizes, and a run that ends with the larger has a slope. Only what goes beyond all that
    there was before is growth; a leak does so again and again.
    """
    return [float(value) for value in np.maximum.accumulate(series)]


def judged(series: Sequence[float], allowed: Allowed) -> Verdict:
    """The verdict on samples that were taken at equal distances."""
    kept = np.asarray(series[round(WARM_UP * len(series)) :], float)
    quarter = max(1, len(kept) // 4)
    first, last = float(np.median(kept[:quarter])), float(np.median(kept[-quarter:]))
    most = max(allowed.amount, allowed.share * float(np.median(kept)))
    if len(kept) < FEWEST or np.ptp(kept) == 0:
        return Verdict(first, last, rise=last - first, allowed=most, p=1.0)
    times = np.arange(len(kept))
    slope = float(theilslopes(kept, times).slope)
    p = float(kendalltau(times, kept, alternative="greater").pvalue)
    return Verdict(first, last, rise=slope * (len(kept) - 1), allowed=most, p=p)
