"""Pictures that are the same or nearly: encoded anew, made smaller or brighter, shifted by a pixel.

Hashes find them, the correlation of their grey values decides.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import stack_lists
from evergreen.data.kinds import _images as pixels
from evergreen.data.kinds import _minhash as similarity_hashes

LIKE = 0.985  # correlation of two pictures' grey values
LIKE_SMALL = 0.997  # of pictures of fewer than hashes.SIDE pixels a side, which look alike more often
HALF_LIKE = 0.5  # from there on a shift is tried
BITS = 20  # of 63 that two hashes may differ in: so much does a shift by one pixel of 32
CLOSE = 64  # pixels a side to which pictures are brought before one is shifted over the other
PART = 256  # pictures that are decoded at once, for that takes many times their memory
FLAT = 0.01  # of the range of grey values: pictures that vary less show nothing
Array = np.ndarray


def find_duplicate_images(column: pa.Array, other: pa.Array) -> tuple[Array, Array]:
    """(M, 2) rows of the one and of the other that look alike, (M,) how much: 1 is the same."""
    (one, one_small, mine), (two, two_small, theirs) = _grey(column), _grey(other)
    if not len(mine) or not len(theirs) or one.shape[1:] != two.shape[1:]:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    pairs = similarity_hashes.candidate_image_pairs(
        similarity_hashes.perceptual_hashes(one_small), similarity_hashes.perceptual_hashes(two_small), BITS
    )
    like = LIKE if min(one.shape[1:]) >= similarity_hashes.SIDE else LIKE_SMALL
    score = np.zeros(len(pairs))
    for start in range(0, len(pairs), PART):
        a, b = pairs[start : start + PART].T
        found = _correlation(one_small[a], two_small[b])
        maybe = (found < like) & (found > HALF_LIKE)
        found[maybe] = np.maximum(found[maybe], _shifted(one[a[maybe]], two[b[maybe]]))
        score[start : start + PART] = found
    rows = np.stack([mine[pairs[:, 0]], theirs[pairs[:, 1]]], axis=1)
    return rows[score >= like], score[score >= like]


def _grey(column: pa.Array) -> tuple[Array, Array, Array]:
    """(N, H, W) grey values of the pictures that show something, of at most CLOSE pixels a side, (N, SIDE, SIDE) those
    in their normal form, and (N,) their rows."""
    sides = _close(column.slice(0, 1)).shape[1:]
    values = np.empty((len(column), *sides), np.float32)
    small = np.empty((len(column), similarity_hashes.SIDE, similarity_hashes.SIDE), np.float32)
    for start in range(0, len(column), PART):
        part = _close(column.slice(start, PART))
        values[start : start + PART] = part
        small[start : start + PART] = pixels.resize_images(part[..., None], (similarity_hashes.SIDE,) * 2)[..., 0]
    shows = small.std(axis=(1, 2)) > FLAT * (float(small.max()) - float(small.min()))
    rows = np.flatnonzero(shows)
    return (values, small, rows) if shows.all() else (values[rows], small[rows], rows)


def _close(column: pa.Array) -> Array:
    if pa.types.is_binary(column.type):
        values = np.stack([pixels.decode_image(data.as_py(), (CLOSE, CLOSE), 1)[..., 0] for data in column])
        return values.astype(np.float32)
    values = stack_lists(column)[0]
    values = pixels.with_channels(values if values.ndim == 4 else values[..., None], 1)
    sides = [min(side, CLOSE) for side in values.shape[1:3]]
    return pixels.resize_images(values, sides)[..., 0].astype(np.float32)


def _correlation(one: Array, two: Array) -> Array:
    """(M,) of M pairs of arrays."""
    one, two = (side.reshape(len(side), math.prod(side.shape[1:])).astype(np.float32) for side in (one, two))
    one, two = (side - side.mean(axis=1, keepdims=True) for side in (one, two))
    size = np.sqrt((one * one).sum(1) * (two * two).sum(1))
    found: Array = (one * two).sum(1) / np.where(size > 0, size, 1)
    return found


def _shifted(one: Array, two: Array) -> Array:
    """(M,) the best correlation of M pairs of pictures (M, H, W), one of each shifted by at most a pixel."""
    height, width = one.shape[1:]
    cut = [(max(by, 0), min(by, 0)) for by in (-1, 0, 1)]
    scores = [
        _correlation(one[:, a : height + b, c : width + d], two[:, -b : height - a, -d : width - c])
        for a, b in cut
        for c, d in cut
    ]
    best: Array = np.max(scores, axis=0)
    return best
