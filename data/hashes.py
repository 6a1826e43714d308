"""Short forms of texts and pictures that stay nearly the same where these change little: they find what looks alike
without comparing everything with everything.

Texts: the set of all runs of 8 bytes (shingles), of which the smallest hashes are a sketch: two sets share as much of
their sketches as of themselves (Broder 1997). Pictures: which of the low frequencies of a cosine transform lie above
their median, 63 bits (Zauner 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHINGLE = 8  # bytes: a run of them is one whole number
SKETCH = 32  # hashes of a text
COMMON = 50  # texts: a hash that more of them share is a phrase of the trade and says nothing
SIDE = 16  # pixels of a picture in its normal form
WAVES = 8  # frequencies each way
BLOCK = 1000  # rows of one comparison: 8 MB for each thousand others
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two shingles become one (Knuth's multiplicative hashing)

Array = np.ndarray
Pairs = np.ndarray  # (M, 2) rows of the one and of the other


def shingles(text: str) -> Array:
    """The distinct runs of 8 bytes of a text, hashed and in order; case, spaces and signs do not count."""
    plain = " ".join("".join(one if one.isalnum() else " " for one in text.casefold()).split()).encode()
    if len(plain) < SHINGLE:
        return np.zeros(0, np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(np.frombuffer(plain, np.uint8), SHINGLE)
    hashed = np.ascontiguousarray(runs).view("<u8").ravel() * MIX
    found: Array = np.unique(hashed ^ (hashed >> np.uint64(29)))
    return found


def jaccard(one: Array, other: Array) -> float:
    """The share of all shingles of two texts that both have."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)


def alike_texts(one: Sequence[Array], other: Sequence[Array]) -> Pairs:
    """For each text of `one` that shares hashes of its sketch with some of `other`, the one it shares the most with."""
    values, rows = zip(*(_sketches(side) for side in (one, other)), strict=True)
    known, counts = np.unique(np.concatenate(values), return_counts=True)
    telling = known[counts <= COMMON]
    (mine, my_rows), (theirs, their_rows) = (
        (value[kept], row[kept]) for value, row in zip(values, rows, strict=True) for kept in [np.isin(value, telling)]
    )
    order = np.argsort(theirs, kind="stable")
    theirs, their_rows = theirs[order], their_rows[order]
    first, last = np.searchsorted(theirs, mine, "left"), np.searchsorted(theirs, mine, "right")
    reach = last - first
    places = np.arange(reach.sum()) - np.repeat(reach.cumsum() - reach, reach) + np.repeat(first, reach)
    pairs, shared = np.unique(np.stack([np.repeat(my_rows, reach), their_rows[places]], 1), axis=0, return_counts=True)
    best = np.lexsort((pairs[:, 1], -shared, pairs[:, 0]))
    return pairs[best][np.unique(pairs[best, 0], return_index=True)[1]]


def _sketches(sets: Sequence[Array]) -> tuple[Array, Array]:
    kept = [np.sort(one)[:SKETCH] for one in sets]
    rows = np.repeat(np.arange(len(kept)), [len(one) for one in kept])
    return np.concatenate([np.zeros(0, np.uint64), *kept]), rows


def picture_hashes(pictures: Array) -> Array:
    """(N,) uint64 of grey pictures (N, SIDE, SIDE)."""
    waves = np.cos(np.pi * (np.arange(SIDE) + 0.5)[None] * np.arange(WAVES)[:, None] / SIDE)
    found = (waves @ pictures @ waves.T).reshape(len(pictures), -1)[:, 1:]  # without the mean: how bright it is
    bits = found > np.median(found, axis=1, keepdims=True)
    packed: Array = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return packed


def alike_pictures(one: Array, other: Array, most: int) -> Pairs:
    """All pairs of hashes that differ in at most `most` bits."""
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(one), BLOCK):
        apart = np.bitwise_count(one[start : start + BLOCK, None] ^ other[None])
        found.append(np.argwhere(apart <= most) + np.array([start, 0]))
    return np.concatenate(found)
