"""Short forms of texts and pictures that stay nearly the same where these change little: they find what looks alike
without comparing everything with everything.

Texts: the set of all runs of 8 bytes (shingles), of which the smallest hashes are a sketch: two sets share as much of
their sketches as of themselves (Broder 1997). Pictures: which of the low frequencies of a cosine transform lie above
their median, 63 bits (Zauner 2010).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

SHINGLE = 8  # bytes: a run of them is one whole number
LONGEST = 20_000  # characters of a text that are looked at
KEPT = 512  # hashes that stand for all of a text
SKETCH = 32  # of them, by which a text is found
SIGNS = re.compile(r"[\W_]+")
COMMON = 50  # texts: a hash that more of them share is a phrase of the trade and says nothing
SIDE = 16  # pixels of a picture in its normal form
WAVES = 8  # frequencies each way
NEAREST = 20  # pictures that each is compared with
BLOCK = 500  # rows of one comparison: 4 MB for each thousand others, several times
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two shingles become one (Knuth's multiplicative hashing)

Array = np.ndarray
Pairs = np.ndarray  # (M, 2) rows of the one and of the other


def shingles(text: str) -> Array:
    """The distinct runs of 8 bytes of a text, hashed and in order, of many the KEPT smallest; case, spaces and signs do
    not count."""
    plain = SIGNS.sub(" ", text[:LONGEST].casefold()).strip().encode()
    if len(plain) < SHINGLE:
        return np.zeros(0, np.uint64)
    runs = np.ndarray(len(plain) - SHINGLE + 1, "<u8", plain, strides=(1,))
    hashed = runs * MIX
    hashed = (hashed ^ (hashed >> np.uint64(29))) * MIX
    if len(hashed) > 4 * KEPT:  # sorting all to keep a few would be most of the work
        smallest = hashed[hashed < np.uint64(2.0**64 * 2 * KEPT / len(hashed))]
        hashed = smallest if len(smallest) > KEPT else hashed
    found: Array = np.unique(hashed)[:KEPT]
    return found


def jaccard(one: Array, other: Array) -> float:
    """The share of all shingles of two texts that both have; of long texts an estimate by the smallest of both."""
    both = np.union1d(one, other)[:KEPT]
    return float((np.isin(both, one) & np.isin(both, other)).sum()) / max(1, len(both))


def candidate_text_pairs(one: Sequence[Array], other: Sequence[Array]) -> Pairs:
    """For each text of `one` that shares hashes of its sketch with some of `other`, the one it shares the most with."""
    values, rows = zip(*(_sketches(side) for side in (one, other)), strict=True)
    known, counts = np.unique(np.concatenate(values), return_counts=True)
    telling = known[counts <= COMMON]
    (mine, my_rows), (theirs, their_rows) = (
        (value[kept], row[kept]) for value, row in zip(values, rows, strict=True) for kept in [np.isin(value, telling)]
    )
    same = equal_pairs(mine, theirs)
    pairs, shared = np.unique(np.stack([my_rows[same[:, 0]], their_rows[same[:, 1]]], 1), axis=0, return_counts=True)
    best = np.lexsort((pairs[:, 1], -shared, pairs[:, 0]))
    return pairs[best][np.unique(pairs[best, 0], return_index=True)[1]]


def equal_pairs(one: Array, other: Array) -> Pairs:
    """All pairs of equal values."""
    order = np.argsort(other, kind="stable")
    first, last = (np.searchsorted(other[order], one, side) for side in ("left", "right"))
    reach = last - first
    places = np.arange(reach.sum()) - np.repeat(reach.cumsum() - reach, reach) + np.repeat(first, reach)
    return np.stack([np.repeat(np.arange(len(one)), reach), order[places]], axis=1)


def _sketches(sets: Sequence[Array]) -> tuple[Array, Array]:
    kept = [np.sort(one)[:SKETCH] for one in sets]
    rows = np.repeat(np.arange(len(kept)), [len(one) for one in kept])
    return np.concatenate([np.zeros(0, np.uint64), *kept]), rows


def perceptual_hashes(pictures: Array) -> Array:
    """(N,) uint64 of grey pictures (N, SIDE, SIDE)."""
    waves = np.cos(np.pi * (np.arange(SIDE) + 0.5)[None] * np.arange(WAVES)[:, None] / SIDE)
    found = (waves @ pictures @ waves.T).reshape(len(pictures), -1)[:, 1:]  # without the mean: how bright it is
    bits = found > np.median(found, axis=1, keepdims=True)
    packed: Array = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return packed


def candidate_image_pairs(one: Array, other: Array, most: int) -> Pairs:
    """For each hash of `one` the NEAREST of `other` that differ in at most `most` bits."""
    found, nearest = [np.zeros((0, 2), np.int64)], min(NEAREST, len(other))
    for start in range(0, len(one), BLOCK):
        apart = np.bitwise_count(one[start : start + BLOCK, None] ^ other[None])
        near = np.argpartition(apart, nearest - 1, axis=1)[:, :nearest]
        rows, places = np.nonzero(np.take_along_axis(apart, near, axis=1) <= most)
        found.append(np.stack([rows + start, near[rows, places]], axis=1))
    return np.concatenate(found)
