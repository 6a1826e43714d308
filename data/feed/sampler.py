"""Draw the rows of an epoch by weight: by class, by a column, or those that may be learned from.

An epoch has as many rows as have a weight. The weights are laid end to end and cut into as many equal intervals as
there are rows; a random point of each interval picks a row (stratified resampling, Kitagawa 1996). With equal weights
each row comes once. What is drawn depends on seed and epoch and, row group by row group, on that group's rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.prepared import WEIGHT
from evergreen.data.spec import FeatureSpec

Weighed = tuple[np.ndarray, np.ndarray]  # (N,) weight, (N,) class; one class for all where they are not balanced
Learned = Callable[[np.ndarray], np.ndarray]  # (N, …) encoded targets → (N,) bool


@dataclass(frozen=True)
class RowWeights:
    """Weigh the rows of an epoch.

    `balance`: each class equally often. `weighted`: by the column WEIGHT. `learned`: only rows that it accepts.
    """

    spec: FeatureSpec
    balance: bool = False
    weighted: bool = False
    learned: Learned | None = None

    def __post_init__(self) -> None:
        if self.balance and (not kinds.kind_of(self.spec.target).HAS_CLASSES or self.spec.target.shape):
            fix = "leave it out: it needs a target with one class per row"
            problem = f"a target of kind {self.spec.target.kind} has no classes"
            raise DataError(problem, place="train.class_balanced", fix=fix)

    @property
    def needed(self) -> bool:
        """Tell whether rows have different weights at all."""
        return self.balance or self.weighted or self.learned is not None

    @property
    def columns(self) -> list[str]:
        """Return the columns that weighing reads."""
        return [*self.spec.target.columns, *([WEIGHT] if self.weighted else [])]

    def __call__(self, table: pa.Table) -> Weighed:
        """Return (N,) weights and (N,) classes of rows."""
        weights, classes = np.ones(len(table)), np.zeros(len(table), np.int64)
        if self.balance or self.learned is not None:
            target = replace(self.spec, inputs={}).encode(table, target=True)["target"]
            classes = target if self.balance else classes
            weights = weights * self.learned(target) if self.learned is not None else weights
        if self.weighted:
            weights = weights * table.column(WEIGHT).to_numpy()
        return weights, classes


class WeightedSampler:
    """Draw the rows of each epoch over row groups; `weighed` is what `RowWeights` returned for each."""

    def __init__(self, weighed: Iterable[Weighed]) -> None:
        sums: list[np.ndarray] = []  # per unit, (classes,) weight
        self.rows = 0  # of an epoch
        for weights, classes in weighed:
            sums.append(np.bincount(classes, weights))
            self.rows += int(np.count_nonzero(weights))
        if not self.rows:
            raise DataError("every row has the weight 0", place="train", fix="give some rows a weight above 0")
        by_class = np.zeros((len(sums), max(map(len, sums))))
        for unit, sums_of_group in enumerate(sums):
            by_class[unit, : len(sums_of_group)] = sums_of_group
        total = by_class.sum(0)
        several = np.count_nonzero(total) > 1
        self.share = (
            np.divide(1.0, total, out=np.zeros(len(total)), where=total > 0) if several else np.ones(len(total))
        )
        self.sums = by_class @ self.share  # (units,) weight of each

    @cached_property
    def ends(self) -> np.ndarray:
        """Return (groups + 1,) where each group's weights begin and end, scaled to the rows of an epoch."""
        ends = np.concatenate([[0.0], np.cumsum(self.sums)])
        return np.asarray(ends * (self.rows / ends[-1]))

    def counts(self, key: int) -> np.ndarray:
        """Return (groups + 1,) how many of an epoch's rows are drawn from the groups before each."""
        stretch = np.floor(self.ends).astype(np.int64)
        places = stretch + (_point(key, stretch) < self.ends - stretch)
        places[-1] = self.rows
        return np.asarray(np.minimum(places, self.rows))

    def chosen(self, unit: int, weighed: Weighed, key: int) -> np.ndarray:
        """Return the rows of a group that an epoch has, in order, with repeats."""
        first, last = self.counts(key)[unit : unit + 2]
        if first == last:
            return np.zeros(0, np.int64)
        weights = weighed[0] * self.share[weighed[1]]
        inner = np.cumsum(weights)
        low, high = self.ends[unit : unit + 2]
        stretch = np.arange(first, last)
        places = (stretch + _point(key, stretch) - low) * (inner[-1] / (high - low))
        return np.asarray(np.minimum(np.searchsorted(inner, places, side="right"), np.flatnonzero(weights)[-1]))


def weighted_epoch(weights: np.ndarray, seed: int) -> Callable[[int], np.ndarray]:
    """Return epoch → rows, for rows in memory with weights (N,)."""
    weighed = (weights, np.zeros(len(weights), np.int64))
    draws = WeightedSampler([weighed])
    return lambda epoch: draws.chosen(0, weighed, epoch_seed(seed, epoch))


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of the random points of an epoch."""
    return int(np.random.default_rng([seed, epoch, 0, 0, 1]).integers(2**63))


def _point(key: int, stretch: np.ndarray) -> np.ndarray:
    """Return a point in [0, 1) for each interval, from its number and the key: SplitMix64 (Steele et al. 2014)."""
    x = stretch.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return (x ^ (x >> np.uint64(31))) / 2.0**64
