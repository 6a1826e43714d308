"""Test the mean of a stream of numbers from 0 to 1 while it comes: whenever one looks, the error is as stated.

The test by betting of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B (2023), section 4: whoever bets on each number against "the mean is at most m" holds
the capital K_t = (1 + l_1 (x_1 - m)) … (1 + l_t (x_t - m)), where l_i follows from the numbers before. While the
hypothesis is true that is a supermartingale that is never negative, so it ever reaches 1/a with a probability of at
most a (Ville's inequality). The bets are those of aGRAPA, appendix B.3 there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_STAKE = 0.75  # of the capital that one number may cost


def log_evidence(numbers: Sequence[float], bound: float, *, is_above: bool) -> float:
    """Return the logarithm of the largest capital of betting that the mean is above the bound, or else below it."""
    x = np.asarray(numbers, np.float64)
    if not len(x):
        return 0.0
    if not is_above:
        x, bound = 1 - x, 1 - bound
    n = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (n + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (n + 1)
    mean, variance = np.r_[0.5, means[:-1]], np.r_[0.25, variances[:-1]]  # of the numbers before
    gain = mean - bound
    stakes = np.clip(gain / (variance + gain**2), 0, MAX_STAKE / bound)
    return float(np.cumsum(np.log1p(stakes * (x - bound))).max(initial=0.0))


def compare(first: float, second: float) -> float:
    """Return 1 where the first is larger, 0 where it is smaller, and 1/2 where they are equal."""
    return 0.5 + 0.5 * ((first > second) - (first < second))
