"""Hash grey images so that images that look alike have hashes that differ in few bits (pHash, Zauner 2010).

The 63 bits say which of the low frequencies of a cosine transform lie above their median.
"""

import numpy as np

from evergreen.data.kinds.duplicates.near_duplicates import BLOCK

SIDE = 16  # pixels of an image in its normal form
WAVES = 8  # frequencies each way
NEAREST = 20  # images that each is compared with
Array = np.ndarray


def perceptual_hashes(images: Array) -> Array:
    """Return (N,) uint64 of grey images (N, SIDE, SIDE)."""
    waves = np.cos(np.pi * (np.arange(SIDE) + 0.5)[None] * np.arange(WAVES)[:, None] / SIDE)
    spectrum = (waves @ images @ waves.T).reshape(len(images), -1)[:, 1:]  # without the mean: how bright it is
    bits = spectrum > np.median(spectrum, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def candidate_image_pairs(one: Array, other: Array, max_bits: int) -> Array:
    """Return (M, 2): for each hash of `one` the NEAREST of `other` that differ in at most `max_bits`."""
    pairs, nearest = [np.zeros((0, 2), np.int64)], min(NEAREST, len(other))
    for start in range(0, len(one), BLOCK):
        distance = np.bitwise_count(one[start : start + BLOCK, None] ^ other[None])
        near = np.argpartition(distance, nearest - 1, axis=1)[:, :nearest]
        rows, places = np.nonzero(np.take_along_axis(distance, near, axis=1) <= max_bits)
        pairs.append(np.stack([rows + start, near[rows, places]], axis=1))
    return np.concatenate(pairs)
