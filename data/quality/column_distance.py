"""Measure how far two columns of one kind are apart, by the kind's own features."""

import numpy as np
import pyarrow as pa

from evergreen.data import kinds


def distribution_distance(before: np.ndarray, now: np.ndarray) -> float:
    """Return the largest difference of two distribution functions (Kolmogorov and Smirnov), or of missing fractions."""
    missing_gap = abs(float(np.isnan(before).mean() - np.isnan(now).mean()))
    before, now = (np.sort(side[~np.isnan(side)]) for side in (before, now))
    if not len(before) or not len(now):
        return missing_gap
    places = np.concatenate([before, now])
    below = [np.searchsorted(side, places, "right") / len(side) for side in (before, now)]
    return max(missing_gap, float(np.abs(below[0] - below[1]).max()))


def distance(before: pa.Array, now: pa.Array, kind: str) -> float:
    """Return how far the values of two columns of one kind are apart, 0 to 1; 0 if they have no features."""
    values = kinds.find(kind).drift_features(before, now)
    return max(
        (distribution_distance(column[: len(before)], column[len(before) :]) for column in values.T), default=0.0
    )
