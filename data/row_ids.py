"""Hash rows to 128-bit ids that depend on their values alone: not on library, machine, column order or storage.

Two streams of SplitMix64 (Steele, Lea and Flood 2014), each from its own seed, take in one column after another, all
rows at once. Ids tell rows apart; they do not resist somebody who wants two rows to collide.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import to_numpy

SEEDS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)  # of the two streams
MISSING = 0x2545F4914F6CDD1D  # the word of a missing value, or of NaN
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # the multipliers of SplitMix64
WORD = 8  # bytes taken in at once
LONG = 256  # bytes of a text from which on it is hashed by itself
ID = pa.binary(16)


def hash_rows(columns: Iterable[pa.Array | Sequence[bytes]], rows: int) -> np.ndarray:
    """Return (N, 2) uint64 ids of rows from their columns, in this order.

    A column holds numbers, texts, bytes, or a dictionary of those.
    """
    lanes = np.empty((2, rows), np.uint64)
    lanes[:] = np.array(SEEDS, np.uint64)[:, None]
    for column in columns:
        values = _values(column if isinstance(column, pa.Array) else pa.array(column, pa.binary()))
        for lane, value in zip(lanes, values, strict=True):
            lane ^= value
            _mix(lane)
    return np.ascontiguousarray(lanes.T)


def hash_to_unit_interval(ids: np.ndarray, *salts: np.ndarray | int) -> np.ndarray:
    """Return (N,) float64 in [0, 1), a function of each id and the salts alone."""
    lane = ids[:, 0].copy()
    for salt in (*salts, ids[:, 1]):
        lane ^= np.uint64(salt % 2**64) if isinstance(salt, int) else salt
        _mix(lane)
    return (lane >> np.uint64(11)) * 2.0**-53


def hash_strings(texts: pa.Array) -> np.ndarray:
    """Return (N,) uint64 of texts, for use as a salt; equal texts have equal hashes."""
    return np.asarray(_values(texts)[0])


def to_arrow(ids: np.ndarray) -> pa.Array:
    """Return (N, 2) uint64 ids as the column `_id`, 16 bytes a row."""
    words = np.ascontiguousarray(ids, "<u8")
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(words), [None, pa.py_buffer(words)])


def from_arrow(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return the column `_id` as (N, 2) uint64."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunk_words = [
        np.frombuffer(one.buffers()[1], "<u8").reshape(-1, 2)[one.offset : one.offset + len(one)] for one in chunks
    ]
    return np.concatenate(chunk_words) if chunk_words else np.empty((0, 2), np.uint64)


def to_hex(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the column `_id` as 32 hex digits a row."""
    return pa.array([one.hex() for one in column.to_pylist()], pa.string())


def _mix(lane: np.ndarray) -> None:
    """Apply the finalizer of SplitMix64 in place."""
    shifted = lane >> np.uint64(30)
    lane ^= shifted
    lane *= FIRST
    np.right_shift(lane, np.uint64(27), out=shifted)
    lane ^= shifted
    lane *= SECOND
    np.right_shift(lane, np.uint64(31), out=shifted)
    lane ^= shifted


def _values(column: pa.Array) -> np.ndarray:
    """Return (2, N) uint64, one for each stream; both are equal for numbers, which fit without a hash."""
    if pa.types.is_dictionary(column.type):
        known = _values(column.dictionary) if len(column.dictionary) else np.full((2, 1), MISSING, np.uint64)
        values = known[:, to_numpy(column.indices.fill_null(0))]
    elif pa.types.is_floating(column.type):
        numbers = to_numpy(column.cast(pa.float64()).fill_null(0.0)) + 0.0  # -0.0 becomes 0.0
        bits = np.where(np.isnan(numbers), np.uint64(MISSING), numbers.view(np.uint64))
        values = np.stack([bits, bits])
    else:
        values = _words(column)
    if column.null_count:
        values[:, to_numpy(column.is_null())] = MISSING
    return values


def _words(column: pa.Array) -> np.ndarray:
    """Return (2, N) hashes of texts or bytes: their length, then their bytes in words of eight, padded with zeros."""
    if not len(column):
        return np.empty((2, 0), np.uint64)
    column = column.cast(pa.large_binary())
    _, ends, data = column.buffers()
    offsets = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + WORD, np.uint8)
    padded[: last - first] = np.frombuffer(data, np.uint8)[first:last] if last > first else 0
    words = np.ndarray(last - first + 1, "<u8", padded, strides=(1,))  # the word that begins at each byte
    starts, lengths = offsets[:-1] - first, np.diff(offsets)
    lanes = np.stack([lengths.astype(np.uint64) ^ np.uint64(seed) for seed in SEEDS])
    for place in range(0, min(LONG, int(lengths.max(initial=0))), WORD):
        rows = np.flatnonzero((lengths > place) & (lengths <= LONG))
        left = np.minimum(lengths[rows] - place, WORD).astype(np.uint64)
        words_at = words[starts[rows] + place] & (np.uint64(2**64 - 1) >> (np.uint64(64) - np.uint64(8) * left))
        for lane in lanes:
            mixed = lane[rows] ^ words_at
            _mix(mixed)
            lane[rows] = mixed
    for row in np.flatnonzero(lengths > LONG):
        data_of = padded[starts[row] : starts[row] + lengths[row]].tobytes()
        lanes[:, row] = np.frombuffer(hashlib.blake2b(data_of, digest_size=16).digest(), "<u8")
    return lanes
