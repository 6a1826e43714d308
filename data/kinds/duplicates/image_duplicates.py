"""Find images that are equal or nearly: encoded anew, made smaller or brighter, shifted by a pixel.

Hashes find candidates, the correlation of their grey values decides.
"""

import math

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import stack_lists
from evergreen.data.kinds import _images as images
from evergreen.data.kinds.duplicates.image_hash import SIDE, candidate_image_pairs, perceptual_hashes
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, best_matches

SIMILAR = 0.985  # correlation of two images' grey values from which on they are near-duplicates
SIMILAR_SMALL = 0.997  # the same for images of fewer than SIDE pixels a side, which more often look alike
HALF_SIMILAR = 0.5  # from there on a shift is tried
MAX_BITS = 20  # of 63 that two hashes may differ in: so much does a shift by one pixel of 32
CLOSE = 64  # pixels a side to which images are brought before one is shifted over the other
CHUNK = 256  # images that are decoded at once, for that takes many times their memory
FLAT = 0.01  # of the range of grey values: images that vary less show nothing
Array = np.ndarray


def find_duplicate_images(column: pa.Array, other: pa.Array) -> list[NearDuplicate]:
    """Match images of two columns, of files or of matrices, that look alike."""
    (one, one_small, mine), (two, two_small, theirs) = _to_grey(column), _to_grey(other)
    if not len(mine) or not len(theirs) or one.shape[1:] != two.shape[1:]:
        return []
    pairs = candidate_image_pairs(perceptual_hashes(one_small), perceptual_hashes(two_small), MAX_BITS)
    limit = SIMILAR if min(one.shape[1:]) >= SIDE else SIMILAR_SMALL
    score = np.zeros(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        a, b = pairs[start : start + CHUNK].T
        chunk = _correlation(one_small[a], two_small[b])
        maybe = (chunk < limit) & (chunk > HALF_SIMILAR)
        chunk[maybe] = np.maximum(chunk[maybe], _shifted_correlation(one[a[maybe]], two[b[maybe]]))
        score[start : start + CHUNK] = chunk
    rows = np.stack([mine[pairs[:, 0]], theirs[pairs[:, 1]]], axis=1)
    return best_matches(rows[score >= limit], score[score >= limit])


def _to_grey(column: pa.Array) -> tuple[Array, Array, Array]:
    """Return the images that show something, of at most CLOSE pixels a side, and in their normal form.

    (N, H, W) grey values, (N, SIDE, SIDE) normal forms, and (N,) their rows.
    """
    sides = _downscaled(column.slice(0, 1)).shape[1:]
    values = np.empty((len(column), *sides), np.float32)
    small = np.empty((len(column), SIDE, SIDE), np.float32)
    for start in range(0, len(column), CHUNK):
        chunk = _downscaled(column.slice(start, CHUNK))
        values[start : start + CHUNK] = chunk
        small[start : start + CHUNK] = images.resize_images(chunk[..., None], (SIDE, SIDE))[..., 0]
    shows = small.std(axis=(1, 2)) > FLAT * (float(small.max()) - float(small.min()))
    rows = np.flatnonzero(shows)
    return (values, small, rows) if shows.all() else (values[rows], small[rows], rows)


def _downscaled(column: pa.Array) -> Array:
    if pa.types.is_binary(column.type):
        values = np.stack([images.decode_image(data.as_py(), (CLOSE, CLOSE), 1)[..., 0] for data in column])
        return values.astype(np.float32)
    values = stack_lists(column)[0]
    values = images.with_channels(values if values.ndim == 4 else values[..., None], 1)
    sides = [min(side, CLOSE) for side in values.shape[1:3]]
    return images.resize_images(values, sides)[..., 0].astype(np.float32)


def _correlation(one: Array, two: Array) -> Array:
    """Return (M,) of M pairs of arrays."""
    one, two = (side.reshape(len(side), math.prod(side.shape[1:])).astype(np.float32) for side in (one, two))
    one, two = (side - side.mean(axis=1, keepdims=True) for side in (one, two))
    size = np.sqrt((one * one).sum(1) * (two * two).sum(1))
    return np.asarray((one * two).sum(1) / np.where(size > 0, size, 1))


def _shifted_correlation(one: Array, two: Array) -> Array:
    """Return (M,) the best correlation of M pairs of images (M, H, W), one of each shifted by at most a pixel."""
    height, width = one.shape[1:]
    cuts = [(max(by, 0), min(by, 0)) for by in (-1, 0, 1)]
    scores = [
        _correlation(one[:, a : height + b, c : width + d], two[:, -b : height - a, -d : width - c])
        for a, b in cuts
        for c, d in cuts
    ]
    return np.asarray(np.max(scores, axis=0))
