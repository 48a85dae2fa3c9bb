"""Intervals and paired differences over seeds.

Stage: numbers → [statistics] → summary. Knows nothing of activations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actium.train.extras import need

_RESAMPLES = 10_000


class Difference(NamedTuple):
    """A paired difference.

    Attributes:
        mean: Of the differences.
        low: Lower end of its 95 % interval; NaN of one pair.
        high: Upper end.
        p: Of the hypothesis that there is none; NaN of one pair.
        pairs: How many.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def bootstrap(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of a mean, expanded for small samples.

    The plain percentile interval is too narrow for few values: it has the spread of the sample, not of what the sample
    is from. Here the percentiles are those that give the width of a t-interval for normal data (T. Hesterberg, What
    Teachers Should Know About the Bootstrap, The American Statistician 69, 2015, section 5.3). The resamples are always
    the same, so equal numbers give equal intervals.

    Args:
        values: One for each seed.
        level: How often the mean lies in such an interval.

    Returns:
        Its ends; NaN of fewer than two values.

    Example:
        >>> bootstrap([0.5, 0.5, 0.5])
        (0.5, 0.5)
    """
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    stats = need("scipy.stats", "the interval of a mean")
    tail = float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf((1 + level) / 2, count - 1)))
    sample = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, count, size=(_RESAMPLES, count))
    low, high = np.quantile(sample[picks].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def paired(a: Sequence[float], b: Sequence[float]) -> Difference:
    """The mean of a − b over seeds that both have, its bootstrap interval, and the p of the paired t-test.

    Where all differences are equal the t-test has no spread to go by: then p is that of the sign test, 2^(1 − pairs),
    or 1 if they are all 0.

    Args:
        a: One number for each seed.
        b: The same seeds.

    Returns:
        The difference.

    Example:
        >>> paired([3.0, 5.0, 7.0], [1.0, 2.0, 3.0]).mean
        3.0
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    count = len(differences)
    if count < 2:
        return Difference(float(differences.mean()) if count else math.nan, math.nan, math.nan, math.nan, count)
    scale = max(np.abs(a).max(), np.abs(b).max(), 1e-300)
    if np.ptp(differences) <= 1e-12 * scale:
        p = 1.0 if np.abs(differences).max() <= 1e-12 * scale else 2.0 ** (1 - count)
    else:
        p = float(need("scipy.stats", "a paired test").ttest_1samp(differences, 0.0).pvalue)
    return Difference(float(differences.mean()), *bootstrap(differences.tolist()), p, count)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction: p values that keep the chance of any false finding among all of them.

    Args:
        ps: Uncorrected; NaN stays NaN and counts as no test.

    Returns:
        Corrected, in the same order (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    tests = [k for k, p in enumerate(ps) if not math.isnan(p)]
    corrected, highest = [math.nan] * len(ps), 0.0
    for rank, k in enumerate(sorted(tests, key=lambda k: ps[k])):
        highest = max(highest, min(1.0, (len(tests) - rank) * ps[k]))
        corrected[k] = highest
    return corrected
