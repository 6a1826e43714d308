"""Detect drift: train a classifier to tell training rows from test rows (Lopez-Paz & Oquab 2017).

It learns on half of the rows; if on the other half it is right more often than a coin, they differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.data import kinds, row_ids
from evergreen.data.arrow import decode_array, evenly_spaced_indices
from evergreen.data.quality.column_distance import distribution_distance

ROWS = 2000  # of each of the two, at most
FEWEST = 40  # rows of each that a test needs
SURE = 1e-3  # p-value below which there is drift
MATTERS = 0.55  # accuracy from which drift matters
FEATURES = 256  # features that the classifier sees, evenly chosen: more would only take longer
NAMED = 3  # columns named
SIDES = ("of the training rows", "of the test rows")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drift:
    """Hold how well a classifier separates training from test rows, and by which columns."""

    accuracy: float  # on the held-out half of the rows; chance has 0.5
    p: float  # of that accuracy by chance (binomial test, one-sided)
    columns: dict[str, str]  # column → how it differs, the most different ones

    @property
    def is_significant(self) -> bool:
        """Tell whether the drift is significant and large enough to matter."""
        return self.p < SURE and self.accuracy >= MATTERS


def detect_drift(train: pa.Table, test: pa.Table, kind_of: Mapping[str, str]) -> Drift | None:
    """Compare training and test rows; None where there are too few rows, or no column has features."""
    from scipy.special import bdtrc
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    count = min(len(train), len(test), ROWS)
    if count < FEWEST:
        return None
    sides = [side.take(evenly_spaced_indices(len(side), count)) for side in (train, test)]
    pairs = {name: [decode_array(side.column(name)) for side in sides] for name in kind_of}
    features = {name: kinds.find(kind_of[name]).drift_features(one, two) for name, (one, two) in pairs.items()}
    features = {name: values for name, values in features.items() if values.shape[1]}
    if not features:
        return None
    x, y = np.concatenate(list(features.values()), axis=1), np.repeat([0, 1], count)
    x = x[:, :: 1 + x.shape[1] // FEATURES]
    ids = np.concatenate([row_ids.from_arrow(side.column("_id")) for side in sides])[:, 1]
    half = ids & np.uint64(1) == 0  # rows with one id stay together
    if min(len(np.unique(y[one])) for one in (half, ~half)) < 2:
        return None
    small = {"max_iter": 30, "max_leaf_nodes": 8, "min_samples_leaf": 10}  # larger trees fit chance
    model = HistGradientBoostingClassifier(**small, early_stopping=False, random_state=0)
    with threadpool_limits(1, "openmp"):  # threads that wait for each other take many times as long on a busy machine
        accuracy = float((model.fit(x[half], y[half]).predict(x[~half]) == y[~half]).mean())
    tried = len(np.unique(ids[~half]))
    p = float(bdtrc(round(accuracy * tried) - 1, tried, 0.5))
    far = {
        name: max(distribution_distance(column[:count], column[count:]) for column in values.T)
        for name, values in features.items()
    }
    most_different = sorted(far, key=lambda name: -far[name])[:NAMED]
    return Drift(
        accuracy,
        p,
        {
            name: kinds.find(kind_of[name]).describe_drift(pairs[name][0], pairs[name][1], SIDES)
            for name in most_different
        },
    )
