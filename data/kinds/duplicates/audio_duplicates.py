"""Compare recordings: find those of one sound, whatever their loudness and where it begins, and sum them up."""

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import to_numpy
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, best_matches
from evergreen.data.kinds.sound.mel import resample

SIMILAR = 0.95  # correlation of two recordings, at their best shift, from which on they are near-duplicates
SIMILAR_LOUDNESS = 0.98  # correlation of how their loudness runs, which is compared first
NEAREST = 3  # recordings that each is compared with
RATE = 4000  # samples a second at which recordings are compared
Array = np.ndarray


def find_duplicate_sounds(column: pa.Array, other: pa.Array) -> list[NearDuplicate]:
    """Match recordings of two columns by the course of their loudness and, at the best shift, by their waves."""
    (one, mine), (two, theirs) = (_samples_and_loudness(side) for side in (column, other))
    similar = mine @ theirs.T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST]
    rows, places = np.nonzero(np.take_along_axis(similar, nearest, axis=1) >= SIMILAR_LOUDNESS)
    pairs = np.stack([rows, nearest[rows, places]], axis=1)
    score = np.array([_best_correlation(one[a], two[b]) for a, b in pairs.tolist()])
    return best_matches(pairs[score >= SIMILAR], score[score >= SIMILAR])


def _samples_and_loudness(column: pa.Array) -> tuple[list[Array], Array]:
    """Return each row's samples at RATE, and (N, 64) how its loudness runs."""
    samples, rates = column.field("samples"), column.field("rate").to_pylist()
    sounds = [resample(np.asarray(to_numpy(samples[row].values)), rate or 8000, RATE) for row, rate in enumerate(rates)]
    loudness = np.array([[abs(part).mean() if len(part) else 0 for part in np.array_split(s, 64)] for s in sounds])
    loudness = loudness - loudness.mean(axis=1, keepdims=True)
    return sounds, loudness / np.maximum(np.linalg.norm(loudness, axis=1, keepdims=True), 1e-12)


def _best_correlation(one: Array, two: Array) -> float:
    """Return the largest correlation of two sounds at any shift."""
    length = len(one) + len(two)
    crossed = np.fft.irfft(np.fft.rfft(one, length) * np.conj(np.fft.rfft(two, length)), length)
    return float(np.abs(crossed).max() / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-12))


def sound_features(column: pa.Array) -> Array:
    """Return (N, 3) number of samples, loudness, and how often the wave crosses zero."""
    rows = [np.asarray(to_numpy(row.values)) for row in column.field("samples")]
    return np.array([[len(row), float(np.abs(row).mean()), float((row[1:] * row[:-1] < 0).mean())] for row in rows])
