"""Compare two tables: match rows that are equal but for rounding, and join what a classifier sees of both."""

from dataclasses import dataclass

import numpy as np

MISSING = 20.0  # standard deviations from the mean: where a missing value lies, far from all others
ROUNDED = 0.01  # of a column's standard deviation: numbers this near are equal, rounded differently
COLUMNS = 64  # that tell rows apart best, by which candidates are found
CELLS = 4_000_000  # values of rows with equal categories, up to which such rows are compared one by one
CHANCE_PAIRS = 1000  # random pairs of rows behind the estimate of how often rows are equal by chance
BLOCK = 500  # rows of one comparison: 4 MB for each thousand others, several times
Array = np.ndarray


@dataclass(frozen=True)
class NearDuplicate:
    """A row of one table and its match in the other."""

    row: int
    match: int
    similarity: float  # 1 is equal


def best_matches(pairs: Array, similarity: Array) -> list[NearDuplicate]:
    """Return for each row its most similar match. `pairs` is (M, 2) rows of both tables, `similarity` (M,)."""
    order = np.lexsort((pairs[:, 1], -similarity, pairs[:, 0]))
    first = np.unique(pairs[order, 0], return_index=True)[1]
    return [NearDuplicate(int(pairs[at, 0]), int(pairs[at, 1]), float(similarity[at])) for at in order[first]]


def equal_pairs(one: Array, other: Array) -> Array:
    """Return (M, 2) all pairs of places that hold equal values."""
    order = np.argsort(other, kind="stable")
    first, last = (np.searchsorted(other[order], one, side) for side in ("left", "right"))
    reach = last - first
    places = np.arange(reach.sum()) - np.repeat(reach.cumsum() - reach, reach) + np.repeat(first, reach)
    return np.stack([np.repeat(np.arange(len(one)), reach), order[places]], axis=1)


def match_rounded(one: Array, two: Array, n_exact: int = 0) -> list[NearDuplicate] | None:
    """Match rows (N, F) and (M, F) that differ by rounding; the last `n_exact` columns must be equal.

    Returns None where rows may well be equal by chance.
    """
    if len(two) < 2:
        return None
    known = ~np.isnan(two)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, two, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, two - mean, 0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 0, spread, 1.0)
    one, two = (np.where(np.isnan(side), MISSING, (side - mean) / spread) for side in (one, two))
    allowed = np.full(one.shape[1], ROUNDED)
    allowed[one.shape[1] - n_exact :] = 1e-9
    bits = _chance_bits(two, allowed)
    if bits.sum() < 2 * np.log2(len(one) * len(two)):
        return None
    telling = np.argsort(-bits, kind="stable")
    pairs = _equal_rows(one, two, telling[telling >= one.shape[1] - n_exact][:COLUMNS]) if n_exact else None
    pairs = _close_rows(one, two, allowed, telling[:COLUMNS]) if pairs is None else pairs
    distance = np.abs(one[pairs[:, 0]] - two[pairs[:, 1]])
    near = (distance <= allowed).all(axis=1)
    return best_matches(pairs[near], 1 - distance[near].max(axis=1, initial=0))


def _equal_rows(one: Array, two: Array, columns: Array) -> Array | None:
    """Return (M, 2) rows that are equal in some columns; None where they are too many to compare one by one."""
    group = np.unique(np.concatenate([one[:, columns], two[:, columns]]), axis=0, return_inverse=True)[1].ravel()
    mine, theirs = group[: len(one)], group[len(one) :]
    often = (np.bincount(side, minlength=len(group)) for side in (mine, theirs))
    return equal_pairs(mine, theirs) if np.dot(*often) * one.shape[1] <= CELLS else None


def _close_rows(one: Array, two: Array, allowed: Array, telling: Array) -> Array:
    """Return (M, 2) rows that differ by no more than `allowed`, found by the columns that tell most."""
    a, b = (np.asarray(side[:, telling], np.float32) for side in (one, two))
    limit = float((allowed[telling] ** 2).sum()) + 1e-4 * float((b * b).sum(1).mean())  # room for the float32
    pairs_found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(a), BLOCK):
        block = a[start : start + BLOCK]
        distance = (block * block).sum(1)[:, None] - 2 * block @ b.T + (b * b).sum(1)[None]
        pairs = np.argwhere(distance <= limit) + np.array([start, 0])
        pairs_found.append(pairs[(np.abs(one[pairs[:, 0]] - two[pairs[:, 1]]) <= allowed).all(axis=1)])
    return np.concatenate(pairs_found)


def _chance_bits(rows: Array, allowed: Array) -> Array:
    """Return (F,) how unlikely it is that two rows are equal in a column by chance, in bits.

    Were the columns independent the bits would add up; they are not, so callers ask for twice as many as they need.
    """
    random = np.random.default_rng(0)
    a, b = random.integers(0, len(rows), (2, CHANCE_PAIRS))
    a, b = a[a != b], b[a != b]
    equal = (np.abs(rows[a] - rows[b]) <= allowed).mean(axis=0) if len(a) else np.ones(rows.shape[1])
    return -np.log2(np.maximum(equal, 1 / CHANCE_PAIRS))


def join_features(one: Array, two: Array) -> Array:
    """Return (N + M, F) the features of two columns; F is 0 where the columns differ in their number."""
    return np.concatenate([one, two]) if one.shape[1] == two.shape[1] else np.zeros((len(one) + len(two), 0))
