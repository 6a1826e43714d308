"""Compute confidence intervals, paired tests on the same rows, and the number of rows that a test needs.

Rows of a time series resemble their neighbours, so there whole blocks of rows are drawn instead of single ones
(circular block bootstrap; Politis and Romano 1992; block length n^(1/3), Hall, Horowitz and Jing 1995).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CELLS = 2_000_000  # numbers drawn at once: bounds the memory of a bootstrap at 16 MB


@dataclass(frozen=True)
class Estimate:
    """Hold a value and the bounds that contain it with the stated confidence; None where they are not known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Return both bounds. Raises ValueError where they are not known."""
        if self.low is None or self.high is None:
            raise ValueError("the interval of this value is not known")
        return self.low, self.high


@dataclass(frozen=True)
class Comparison:
    """Hold the result of a paired test: the mean of first minus second, and the standard deviation of one row's."""

    difference: Estimate
    p: float
    rows: int
    deviation: float
    test: str


def block_length(rows: int, *, ordered: bool, overlap: int = 1) -> int:
    """Return how many rows to draw together: 1 if they are independent, else n^(1/3), and at least `overlap`."""
    return min(rows, max(overlap, math.ceil(rows ** (1 / 3)))) if ordered else 1


def resamples(rows: int, times: int, *, block: int = 1, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Draw `rows` row numbers with replacement, `times` times; yield them in pieces (k, rows)."""
    random = np.random.default_rng(seed)
    blocks, piece = math.ceil(rows / block), max(1, CELLS // rows)
    for start in range(0, times, piece):
        first = random.integers(rows, size=(min(piece, times - start), blocks, 1))
        yield ((first + np.arange(block)) % rows).reshape(len(first), -1)[:, :rows]


def bootstrap(
    score: Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, float]],
    rows: int,
    *,
    times: int,
    confidence: float,
    block: int = 1,
    strays: float = 0.0,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute percentile intervals (Efron 1979) of all values that `score` returns for row numbers (n,) and (n,).

    The first say whose outputs, the second whose targets; they are the same but for `strays`: as if so many more rows
    had been seen on which the model knows nothing, whose targets are those of any row (a Dirichlet process, Ferguson
    1973). Without them an interval cannot reach a mistake that no row of a small test split shows. Bounds are widened
    as Student's quantile is (Hesterberg 2015).
    """
    whole, random = np.arange(rows), np.random.default_rng([seed, 1])
    values, drawn = score(whole, whole), []
    for piece in resamples(rows, times, block=block, seed=seed):
        is_stray = random.random(piece.shape) < strays / (rows + strays)
        others = np.where(is_stray, random.integers(rows, size=piece.shape), piece) if strays else piece
        drawn += [score(*pair) for pair in zip(piece, others, strict=True)]
    wide = _widened(confidence, rows // block)
    return {name: percentile_interval([d[name] for d in drawn], value, wide) for name, value in values.items()}


def _widened(confidence: float, rows: int) -> float:
    """Return the confidence whose percentiles are as far apart as Student's interval of few rows."""
    from scipy.special import stdtrit

    if rows < 2:
        return confidence
    return 2 * NormalDist().cdf(math.sqrt(rows / (rows - 1)) * float(stdtrit(rows - 1, (1 + confidence) / 2))) - 1


def percentile_interval(drawn: list[float] | Array, value: float, confidence: float) -> Estimate:
    """Take the central `confidence` of bootstrapped values, without undefined ones (a class never drawn)."""
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value))


def compare(
    first: Array, second: Array, *, confidence: float = 0.95, times: int = 2000, block: int = 1, seed: int = 0
) -> Comparison:
    """Test whether two scores (n,) of the same rows differ in the mean.

    Scores of 1 and 0 on independent rows take McNemar's exact test, others a paired bootstrap of the mean difference.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if block == 1 and set(np.unique(first)) | set(np.unique(second)) <= {0.0, 1.0}:
        return _mcnemar(differences, confidence)
    rows, mean = len(differences), float(differences.mean())
    pieces = [differences[piece].mean(1) for piece in resamples(rows, times, block=block, seed=seed)]
    means = np.concatenate(pieces)
    tail = min((means <= 0).mean(), (means >= 0).mean())
    p = min(1.0, 2 * max(float(tail), 1 / (times + 1)))  # never below what so many samples can show
    deviation = float(means.std() * math.sqrt(rows))  # of one row, blocks' correlation included
    return Comparison(percentile_interval(means, mean, confidence), p, rows, deviation, "paired bootstrap")


def _mcnemar(differences: Array, confidence: float) -> Comparison:
    """Run the exact sign test on the rows that one alone gets right (McNemar 1947), with Tango's interval (1998)."""
    from scipy.special import bdtr

    rows, won, lost = len(differences), int((differences > 0).sum()), int((differences < 0).sum())
    p = min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5))) if won + lost else 1.0
    bounds = tango_interval(won, lost, rows, confidence)
    return Comparison(bounds, p, rows, float(differences.std()), "exact McNemar")


def tango_interval(won: int, lost: int, rows: int, confidence: float) -> Estimate:
    """Compute the score interval of the difference of two fractions of the same rows.

    Tango 1998, Statistics in Medicine 17. Unlike Wald's it keeps its coverage when the two differ on few rows or none.
    """
    z, mean = NormalDist().inv_cdf((1 + confidence) / 2), (won - lost) / rows

    def score(difference: float) -> float:
        """Return the standard errors from a true `difference` to the observed one; they fall as it grows."""
        b = (2 * rows - won + lost) * difference - won - lost
        c = -lost * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 8 * rows * c)) - b) / (4 * rows)  # the likeliest fraction of rows lost
        variance = rows * (2 * share + difference * (1 - difference))
        gap = won - lost - rows * difference
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)

    def root(wanted: float, low: float, high: float) -> float:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > wanted else (low, middle)
        return (low + high) / 2

    return Estimate(mean, root(z, -1.0, mean), root(-z, mean, 1.0))


def rows_needed(difference: float, deviation: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Return how many rows a paired test needs to find a true mean `difference` with probability `power`.

    `deviation` is one row's. By the normal approximation; for rows right or wrong that is Connor's (1987) for McNemar's
    test. Raises ValueError for a difference of 0.
    """
    if difference == 0:
        raise ValueError("no number of rows tells a difference of zero")
    unequal, power_quantile = NormalDist().inv_cdf((1 + confidence) / 2), NormalDist().inv_cdf(power)
    root = unequal * math.sqrt(deviation**2 + difference**2) + power_quantile * deviation
    return math.ceil((root / difference) ** 2)
