"""Rows that stand on both sides of a split, the same or nearly: a model that has learned one by heart knows the other.

What a row looks like decides: its pictures, texts and sounds where they are long enough to tell it from others, else
all its numbers and categories, short texts among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import decode_array, joint_codes, stack_lists
from evergreen.data.kinds import _image_duplicates as image_duplicates
from evergreen.data.kinds import _mel as spectra
from evergreen.data.kinds import _minhash as similarity_hashes

LIKE_TEXT = 0.8  # Jaccard's index of two texts' shingles
LEAST_TEXT = 40  # shingles: shorter texts are often the same by chance
MISSING = 20.0  # standard deviations from the mean: where a missing value stands, apart from all others
ROUNDED = 0.01  # of a column's standard deviation: numbers this near are the same, rounded differently
LIKE_SOUND = 0.95  # correlation of two recordings, at their best shift
LIKE_COURSE = 0.98  # of how their loudness runs, which is compared first
NEAREST = 3  # recordings that each is compared with
COLUMNS = 64  # that tell rows apart best, by which rows are found that may be equal
CELLS = 4_000_000  # values of rows with equal categories, up to which such rows are compared one by one
PLAIN = {"number", "category", "text"}  # kinds of a table
CHANCE_PAIRS = 1000  # random pairs of rows behind the estimate of how often rows are equal by chance
Array = np.ndarray


@dataclass(frozen=True)
class NearDuplicate:
    """A row of the one table and its like in the other."""

    row: int
    match: int
    similarity: float  # 1 is the same


def find_near_duplicates(table: pa.Table, other: pa.Table, kind_of: Mapping[str, str]) -> list[NearDuplicate] | None:
    """For each row of `table` that has a twin in `other` the one most like it, by the columns of `kind_of`; None where
    nothing can be said: the rows hold nothing by which they could be told from others, or overlap by design."""
    looked = {
        name: LOOKS[kind](decode_array(table.column(name)), decode_array(other.column(name)))
        for name, kind in kind_of.items()
        if kind in LOOKS
    }
    known = [one for one in looked.values() if one is not None]
    if not known and set(kind_of.values()) <= PLAIN:
        return _alike_rows(table, other, kind_of)
    if not known:
        return None
    shared = set.intersection(*({(twin.row, twin.match) for twin in one} for one in known))
    short = [name for name, one in looked.items() if one is None and kind_of[name] == "text"]
    return [
        twin
        for twin in known[0]
        if (twin.row, twin.match) in shared
        and all(table.column(name)[twin.row] == other.column(name)[twin.match] for name in short)
    ]


def _alike_texts(column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
    """None where all texts of the first are too short to be told from others."""
    words = list(map(_text, column.to_pylist()))
    one = list(map(similarity_hashes.shingles, words)) if any(map(_long, words)) else []
    long = [row for row, found in enumerate(one) if len(found) >= LEAST_TEXT]
    if not long:
        return None
    two = [similarity_hashes.shingles(_text(row)) for row in other.to_pylist()]
    same = {found.tobytes(): row for row, found in reversed(list(enumerate(two)))}
    exact = {row: same[one[row].tobytes()] for row in long if one[row].tobytes() in same}
    twin = [NearDuplicate(row, like, 1.0) for row, like in exact.items()]
    rest = [row for row in long if row not in exact]
    for number, like in similarity_hashes.candidate_text_pairs([one[row] for row in rest], two).tolist():
        likeness = similarity_hashes.jaccard(one[rest[number]], two[like])
        twin += [NearDuplicate(rest[number], like, likeness)] if likeness >= LIKE_TEXT else []
    return sorted(twin, key=lambda one: one.row)


def _text(value: str | list[str] | None) -> str:
    return " ".join(value) if isinstance(value, list) else value or ""


def _long(text: str) -> bool:
    """Whether it may have as many shingles as it takes."""
    return len(text.casefold().encode()) >= LEAST_TEXT + similarity_hashes.SHINGLE - 1


def _alike_pictures(column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
    return _best(*image_duplicates.find_duplicate_images(column, other))


def _best(pairs: Array, likeness: Array) -> list[NearDuplicate]:
    """For each row of the first the one of the second most like it."""
    order = np.lexsort((pairs[:, 1], -likeness, pairs[:, 0]))
    first = np.unique(pairs[order, 0], return_index=True)[1]
    return [NearDuplicate(int(pairs[at, 0]), int(pairs[at, 1]), float(likeness[at])) for at in order[first]]


def _alike_rows(table: pa.Table, other: pa.Table, kind_of: Mapping[str, str]) -> list[NearDuplicate] | None:
    """Rows whose categories and texts are equal, their numbers within rounding; None where that may well be chance."""
    words = [name for name, kind in kind_of.items() if kind != "number"]
    one, two = (_numbers(side, [name for name in kind_of if name not in words]) for side in (table, other))
    coded = [joint_codes(*(_words(side.column(name)) for side in (table, other))) for name in words]
    one = np.concatenate([one, *(code[: len(table), None] for code in coded)], axis=1)
    two = np.concatenate([two, *(code[len(table) :, None] for code in coded)], axis=1)
    return _near(one, two, exact=len(words))


def _words(column: pa.ChunkedArray) -> pa.Array:
    column = decode_array(column)
    return pa.array(list(map(_text, column.to_pylist()))) if pa.types.is_list(column.type) else column


def _near(one: Array, two: Array, exact: int = 0) -> list[NearDuplicate] | None:
    """Rows of numbers that differ by rounding alone; the last `exact` columns do not differ at all."""
    if len(two) < 2:
        return None
    known = ~np.isnan(two)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, two, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, two - mean, 0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 0, spread, 1.0)
    one, two = (np.where(np.isnan(side), MISSING, (side - mean) / spread) for side in (one, two))
    allowed = np.full(one.shape[1], ROUNDED)
    allowed[one.shape[1] - exact :] = 1e-9
    bits = _chance_bits(two, allowed)
    if bits.sum() < 2 * np.log2(len(one) * len(two)):
        return None
    telling = np.argsort(-bits, kind="stable")
    pairs = _equal(one, two, telling[telling >= one.shape[1] - exact][:COLUMNS]) if exact else None
    pairs = _close(one, two, allowed, telling[:COLUMNS]) if pairs is None else pairs
    apart = np.abs(one[pairs[:, 0]] - two[pairs[:, 1]])
    near = (apart <= allowed).all(axis=1)
    return _best(pairs[near], 1 - apart[near].max(axis=1, initial=0))


def _equal(one: Array, two: Array, columns: Array) -> Array | None:
    """(M, 2) rows of the one and of the other that are equal there; None where they are too many to look at each."""
    group = np.unique(np.concatenate([one[:, columns], two[:, columns]]), axis=0, return_inverse=True)[1].ravel()
    mine, theirs = group[: len(one)], group[len(one) :]
    often = (np.bincount(side, minlength=len(group)) for side in (mine, theirs))
    return similarity_hashes.equal_pairs(mine, theirs) if np.dot(*often) * one.shape[1] <= CELLS else None


def _close(one: Array, two: Array, allowed: Array, telling: Array) -> Array:
    """(M, 2) rows of the one and of the other that hardly differ, found by the columns that tell most."""
    a, b = (np.asarray(side[:, telling], np.float32) for side in (one, two))
    most = float((allowed[telling] ** 2).sum()) + 1e-4 * float((b * b).sum(1).mean())  # room for the float32
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(a), similarity_hashes.BLOCK):
        block = a[start : start + similarity_hashes.BLOCK]
        apart = (block * block).sum(1)[:, None] - 2 * block @ b.T + (b * b).sum(1)[None]
        pairs = np.argwhere(apart <= most) + np.array([start, 0])
        found.append(pairs[(np.abs(one[pairs[:, 0]] - two[pairs[:, 1]]) <= allowed).all(axis=1)])
    return np.concatenate(found)


def _chance_bits(rows: Array, allowed: Array) -> Array:
    """(F,) how unlikely it is that two rows are equal in a column by chance, in bits. Were the columns independent they
    would add up; they are not, so callers ask for twice as many as they need."""
    random = np.random.default_rng(0)
    a, b = random.integers(0, len(rows), (2, CHANCE_PAIRS))
    a, b = a[a != b], b[a != b]
    equal = (np.abs(rows[a] - rows[b]) <= allowed).mean(axis=0) if len(a) else np.ones(rows.shape[1])
    found: Array = -np.log2(np.maximum(equal, 1 / CHANCE_PAIRS))
    return found


def _numbers(table: pa.Table, names: list[str]) -> Array:
    columns = [decode_array(table.column(name)).to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def _alike_series(column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
    one, two = (stack_lists(side)[0].reshape(len(side), -1).astype(np.float64) for side in (column, other))
    return _near(one, two) if one.shape[1] == two.shape[1] else []


def _alike_sounds(column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
    """Recordings of one course of loudness and, at the best shift, of one wave."""
    (one, mine), (two, theirs) = (_sounds(side) for side in (column, other))
    alike = mine @ theirs.T
    best = np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]
    rows, places = np.nonzero(np.take_along_axis(alike, best, axis=1) >= LIKE_COURSE)
    pairs = np.stack([rows, best[rows, places]], axis=1)
    score = np.array([_wave(one[a], two[b]) for a, b in pairs.tolist()])
    return _best(pairs[score >= LIKE_SOUND], score[score >= LIKE_SOUND])


def _sounds(column: pa.Array) -> tuple[list[Array], Array]:
    """Each row's samples, 4000 a second, and (N, 64) how its loudness runs."""
    samples, rates = column.field("samples"), column.field("rate").to_pylist()
    found = [
        spectra.resample(np.asarray(samples[row].values.to_numpy(zero_copy_only=False)), rate or 8000, 4000)
        for row, rate in enumerate(rates)
    ]
    course = np.array([[abs(part).mean() if len(part) else 0 for part in np.array_split(one, 64)] for one in found])
    course = course - course.mean(axis=1, keepdims=True)
    return found, course / np.maximum(np.linalg.norm(course, axis=1, keepdims=True), 1e-12)


def _wave(one: Array, two: Array) -> float:
    """The largest correlation of two sounds at any shift."""
    length = len(one) + len(two)
    crossed = np.fft.irfft(np.fft.rfft(one, length) * np.conj(np.fft.rfft(two, length)), length)
    return float(np.abs(crossed).max() / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-12))


LOOKS: dict[str, Callable[[pa.Array, pa.Array], list[NearDuplicate] | None]] = {
    "image": _alike_pictures,
    "text": _alike_texts,
    "tokens": _alike_texts,
    "audio": _alike_sounds,
    "series": _alike_series,
}
