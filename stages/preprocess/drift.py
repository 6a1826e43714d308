"""Whether training and test rows are of one world: a classifier that is to tell them apart (Lopez-Paz & Oquab 2017).

It learns on half of the rows; if on the other half it is right more often than a coin, they differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data import row_ids
from evergreen.data.arrow import decode_array, stack_lists, to_strings
from evergreen.data.kinds import _images as pixels

ROWS = 2000  # of each of the two, at most
FEWEST = 40  # rows of each: of fewer nothing can be said
SURE = 1e-3  # chance of being right so often by luck, below which there is drift
MATTERS = 0.55  # share of right answers from which on it matters
FEATURES = 256  # that the classifier sees, evenly chosen: more would only take longer
NAMED = 3  # columns named
SORTS = (r"\p{Lu}", r"\p{Nd}", r"[\s\p{Z}]", r"[^\p{L}\p{N}]")  # capitals, digits, spaces, signs
SIDES = ("of the training rows", "of the test rows")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drift:
    """How well training and test rows are told apart, and by which columns."""

    accuracy: float  # of half of the rows, a coin has 0.5
    p: float  # of a coin having as much (binomial test, one-sided)
    columns: dict[str, str]  # those that differ most, with how

    @property
    def found(self) -> bool:
        return self.p < SURE and self.accuracy >= MATTERS


def drift(train: pa.Table, test: pa.Table, kind_of: Mapping[str, str]) -> Drift | None:
    """None where there are too few rows, or no column that can be looked at."""
    from scipy.special import bdtrc
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    count = min(len(train), len(test), ROWS)
    if count < FEWEST:
        return None
    sides = [_thinned(side, count) for side in (train, test)]
    pairs = {name: [decode_array(side.column(name)) for side in sides] for name in kind_of}
    seen = {name: _features(one, two, kind_of[name]) for name, (one, two) in pairs.items()}
    seen = {name: values for name, values in seen.items() if values.shape[1]}
    if not seen:
        return None
    x, y = np.concatenate(list(seen.values()), axis=1), np.repeat([0, 1], count)
    x = x[:, :: 1 + x.shape[1] // FEATURES]
    ids = np.concatenate([row_ids.from_arrow(side.column("_id")) for side in sides])[:, 1]
    half = ids & np.uint64(1) == 0  # rows of one identity stay together
    if min(len(np.unique(y[one])) for one in (half, ~half)) < 2:
        return None
    small = {"max_iter": 30, "max_leaf_nodes": 8, "min_samples_leaf": 10}  # larger trees learn what is chance
    model = HistGradientBoostingClassifier(**small, early_stopping=False, random_state=0)
    with threadpool_limits(1, "openmp"):  # beside other work threads that wait for each other take many times as long
        accuracy = float((model.fit(x[half], y[half]).predict(x[~half]) == y[~half]).mean())
    tried = len(np.unique(ids[~half]))
    p = float(bdtrc(round(accuracy * tried) - 1, tried, 0.5))
    far = {name: max(_apart(column[:count], column[count:]) for column in values.T) for name, values in seen.items()}
    most = sorted(far, key=lambda name: -far[name])[:NAMED]
    return Drift(accuracy, p, {name: told(pairs[name][0], pairs[name][1], kind_of[name], SIDES) for name in most})


def _thinned(table: pa.Table, count: int) -> pa.Table:
    return table.take(np.linspace(0, len(table) - 1, count).round().astype(int))


def _features(one: pa.Array, two: pa.Array, kind: str) -> Array:
    """(N + M, F) what a classifier sees of a column; nothing of a kind that it cannot look at."""
    if kind == "number":
        return np.concatenate([side.to_numpy(zero_copy_only=False).astype(np.float64) for side in (one, two)])[:, None]
    if kind == "category":
        return _frequencies(one, two)
    sides = [SEEN[kind](side) for side in (one, two)] if kind in SEEN else []
    same = len({side.shape[1] for side in sides}) == 1
    return np.concatenate(sides) if same else np.zeros((len(one) + len(two), 0))


def _frequencies(one: pa.Array, two: pa.Array) -> Array:
    """Categories as places in the order of how common they are."""
    both = pa.concat_arrays([to_strings(one), to_strings(two)]).dictionary_encode()
    codes = both.indices.fill_null(len(both.dictionary)).to_numpy(zero_copy_only=False)
    place = np.argsort(np.argsort(-np.bincount(codes), kind="stable"), kind="stable")
    found: Array = place[codes].astype(np.float64)[:, None]
    return found


def _pictures(column: pa.Array) -> Array:
    """Brightness, contrast, and the picture itself in 4 × 4 pixels."""
    if pa.types.is_binary(column.type):
        values = np.stack([pixels.decode_image(data.as_py(), (16, 16), 3) for data in column]).astype(np.float32)
    else:
        values = stack_lists(column)[0].astype(np.float32)
        values = values if values.ndim == 4 else values[..., None]
    small = pixels.resize_images(values, (4, 4)).reshape(len(values), -1)
    return np.column_stack([values.mean(axis=(1, 2, 3)), values.std(axis=(1, 2, 3)), small])


def _words(column: pa.Array) -> Array:
    """How long a text is, and what it is made of: the share of capitals, digits, spaces and signs."""
    text = pc.binary_join(column, " ") if pa.types.is_list(column.type) else column
    text = text.fill_null("")
    length = pc.utf8_length(text).to_numpy(zero_copy_only=False)
    counts = [pc.count_substring_regex(text, sort).to_numpy(zero_copy_only=False) for sort in SORTS]
    return np.column_stack([length, *(count / np.maximum(1, length) for count in counts)]).astype(np.float64)


def _course(column: pa.Array) -> Array:
    """Mean, spread, first and last value of a stretch."""
    values = stack_lists(column)[0].reshape(len(column), -1).astype(np.float64)
    return np.column_stack([values.mean(1), values.std(1), values[:, 0], values[:, -1]])


def _sounds(column: pa.Array) -> Array:
    """Length, loudness, and how often the wave crosses zero."""
    rows = [np.asarray(row.values.to_numpy(zero_copy_only=False)) for row in column.field("samples")]
    return np.array([[len(row), float(np.abs(row).mean()), float((row[1:] * row[:-1] < 0).mean())] for row in rows])


def _counts(column: pa.Array) -> Array:
    return np.array([[len(row or ())] for row in column.to_pylist()], np.float64)


SEEN = {
    "image": _pictures,
    "text": _words,
    "tokens": _words,
    "series": _course,
    "audio": _sounds,
    "labels": _counts,
}


def _apart(one: Array, two: Array) -> float:
    """The largest difference of two distribution functions (Kolmogorov and Smirnov); of missing values' shares, too."""
    lacking = abs(float(np.isnan(one).mean() - np.isnan(two).mean()))
    one, two = (np.sort(side[~np.isnan(side)]) for side in (one, two))
    if not len(one) or not len(two):
        return lacking
    places = np.concatenate([one, two])
    below = [np.searchsorted(side, places, "right") / len(side) for side in (one, two)]
    return max(lacking, float(np.abs(below[0] - below[1]).max()))


def apart(one: pa.Array, two: pa.Array, kind: str) -> float:
    """How far the values of two columns of one kind are from each other, 0 to 1; 0 of what cannot be compared."""
    values = _features(one, two, kind)
    return max((_apart(column[: len(one)], column[len(one) :]) for column in values.T), default=0.0)


def told(one: pa.Array, two: pa.Array, kind: str, names: tuple[str, str]) -> str:
    """How a column differs between two tables of these names, in words; nothing of what words do not tell."""
    if kind == "number":
        held = [side.drop_null().to_numpy().astype(np.float64) for side in (one, two)]
        middles = [f"{np.median(side):.4g}" if len(side) else "unknown" for side in held]
        return f"median {middles[0]} {names[0]}, {middles[1]} {names[1]}"
    if kind != "category":
        return ""
    words = [Counter(to_strings(side).drop_null().to_pylist()) for side in (one, two)]
    shares = [{word: count / side.total() for word, count in side.items()} for side in words]
    word = max(
        sorted(set(words[0]) | set(words[1])), key=lambda name: abs(shares[0].get(name, 0) - shares[1].get(name, 0))
    )
    return f"'{word}' in {shares[0].get(word, 0):.0%} {names[0]}, in {shares[1].get(word, 0):.0%} {names[1]}"
