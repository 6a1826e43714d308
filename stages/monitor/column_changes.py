"""Find the columns that moved: far enough to matter, and not by chance, however many columns there are.

Distributions are compared by the largest difference of two distribution functions, over the features that each kind
gives of its columns (Kolmogorov 1933; Smirnov 1939; with many equal values the test is cautious). Of all columns
together Holm (1979) keeps the chance of one false alarm below SURE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.data import kinds
from evergreen.data.arrow import decode_array
from evergreen.data.quality.column_distance import distribution_distance
from evergreen.stages.monitor.reference import Reference
from evergreen.stages.monitor.row_scores import confidence, is_plain, to_arrays

SURE = 1e-3  # chance of a false alarm in one window
MATTERS_UNUSUAL = 0.05  # of the values: so many more that training rows do not have are told
SIDES = ("before", "now")
MAX_FEATURES = 64  # of a column, evenly chosen
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Change:
    """Say how far a column of the inputs, or of the answers, is from the reference."""

    column: str
    distance: float  # 0 to 1
    p: float  # of so large a distance by chance
    matters: bool  # whether it is large enough, and not by chance
    text: str
    is_answer: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the change as monitor.json stores it."""
        return {**vars(self), "distance": round(self.distance, 4), "p": float(f"{self.p:.2g}")}


def find_changes(
    reference: Reference, rows: pa.Table, answered: pa.Table, unusual: Mapping[str, float], groups: Array, floor: float
) -> list[Change]:
    """Compare the rows of a window with the reference; the farthest first.

    `unusual` is column → share of values that training rows do not have. `floor` is the distance from which a change
    matters. Rows of one of `groups` (N,) are one row repeated: they count as one.
    """
    n = len(groups) ** 2 / (np.bincount(groups) ** 2.0).sum()  # Kish's effective number of rows (1965)
    found = [*_inputs(reference, rows, n), *_answers(reference, answered, n)]
    for name, share in unusual.items():
        before = reference.unusual.get(name, 0.0)
        if share > before and name in rows.column_names:
            p = _p_of_shares(before, share, len(reference.answers), n)
            text = f"missing, or unlike all training rows, in {before:.1%} {SIDES[0]}, in {share:.1%} {SIDES[1]}"
            found.append((share - before, MATTERS_UNUSUAL, Change(name, share - before, p, False, text)))
    found = [(size, least or floor, change) for size, least, change in found]
    adjusted = adjust_holm([change.p for _, _, change in found])
    told = [
        Change(one.column, one.distance, one.p, size >= least and p < SURE, one.text, one.is_answer)
        for (size, least, one), p in zip(found, adjusted, strict=True)
    ]
    return sorted(told, key=lambda change: (not change.matters, -change.distance, change.column))


def p_value(distance: float, n: float, m: float) -> float:
    """Return the chance that samples of n and m rows of one distribution are so far apart (Stephens 1970)."""
    from scipy.special import kolmogorov

    root = np.sqrt(n * m / (n + m))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def adjust_holm(p: Sequence[float]) -> list[float]:
    """Return p-values that hold for all tests together (Holm 1979)."""
    order, adjusted, largest = np.argsort(p, kind="stable"), [1.0] * len(p), 0.0
    for rank, place in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def _p_of_shares(before: float, now: float, m: float, n: float) -> float:
    """Return the chance that a share of n rows is so much larger than that of m rows (a pooled z-test)."""
    pooled = (before * m + now * n) / (m + n)
    return NormalDist().cdf((before - now) / np.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / m + 1 / n)))


def _inputs(reference: Reference, rows: pa.Table, n: float) -> Iterator[tuple[float, float, Change]]:
    for name in rows.column_names:
        kind = reference.kinds[name]
        sides = [decode_array(side.column(name)) for side in (reference.rows, rows)]
        sides = [side if isinstance(side, pa.ExtensionArray) else kind.validate(side)[0] for side in sides]
        if pa.types.is_temporal(sides[0].type):
            continue  # time goes on by itself
        if kind.COMPARES_AS:
            sides, kind = [kind.to_comparable(side) for side in sides], kinds.find(kind.COMPARES_AS)
        yield from _compare(name, kind.drift_features(*sides), sides, n, kind)


def _answers(reference: Reference, answered: pa.Table, n: float) -> Iterator[tuple[float, float, Change]]:
    """Compare the predictions, as the target's kind sees them, and how sure the model is of them."""
    target = kinds.kind_of(reference.spec.target)
    if target.SCALAR and all(is_plain(side, "prediction") for side in (reference.answers, answered)):
        sides = [target.validate(decode_array(side.column("prediction")))[0] for side in (reference.answers, answered)]
        yield from _compare("prediction", target.drift_features(*sides), sides, n, target, is_answer=True)
    before, now = (confidence(to_arrays(side)) for side in (reference.answers, answered))
    if before is not None and now is not None:
        features, sides = np.concatenate([before, now])[:, None], [pa.array(before), pa.array(now)]
        yield from _compare("confidence", features, sides, n, None, is_answer=True)


def _compare(
    name: str, features: Array, sides: Sequence[pa.Array], n: float, kind: kinds.Kind | None, *, is_answer: bool = False
) -> Iterator[tuple[float, float, Change]]:
    """Yield (distance, 0 for the floor of all, change) of a column whose sides have (N + M, F) features."""
    features = features[:, :: 1 + features.shape[1] // MAX_FEATURES]
    m = len(sides[0])
    if not features.shape[1] or not m or not len(sides[1]):
        return
    far = max(distribution_distance(column[:m], column[m:]) for column in features.T)
    p = min(1.0, 2 * features.shape[1] * p_value(far, n, m))  # of values, and of missing ones
    text = kind.describe_drift(sides[0], sides[1], SIDES) if kind else _medians(features, m)
    text = text or f"its values are {far:.2f} of 1 apart"
    missing = [side.null_count / len(side) for side in sides]
    if abs(missing[0] - missing[1]) >= MATTERS_UNUSUAL:
        text = f"missing in {missing[0]:.0%} {SIDES[0]}, in {missing[1]:.0%} {SIDES[1]}"
    yield far, 0.0, Change(name, far, p, False, text, is_answer)


def _medians(features: Array, m: int) -> str:
    before, now = (f"{np.nanmedian(side):.4g}" for side in (features[:m], features[m:]))
    return f"median {before} {SIDES[0]}, {now} {SIDES[1]}"
