"""Find texts that share most of their content, by MinHash sketches of their shingles.

A text is the set of all runs of 8 bytes (shingles). The smallest hashes are its sketch: two sets share as much of their
sketches as of themselves (Broder 1997).
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, equal_pairs

SIMILAR = 0.8  # Jaccard's index of the shingles of two texts from which on they are near-duplicates
MIN_SHINGLES = 40  # shorter texts are often equal by chance
SHINGLE = 8  # bytes: a run of them is one whole number
MAX_CHARACTERS = 20_000  # of a text that are read
MAX_HASHES = 512  # that stand for a text
SKETCH = 32  # of them, by which a text is found
SIGNS = re.compile(r"[\W_]+")
COMMON = 50  # texts: a hash that more of them share is a set phrase and proves nothing
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two shingles become one (Knuth's multiplicative hashing)

Array = np.ndarray


def join_words(value: str | list[str] | None) -> str:
    """Return a text, or a list of words, as one text."""
    return " ".join(value) if isinstance(value, list) else value or ""


def find_similar_texts(column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
    """Match texts of two columns; None where all texts of the first are too short to be told from others."""
    texts = list(map(join_words, column.to_pylist()))
    one = list(map(shingles, texts)) if any(map(_may_be_long, texts)) else []
    long = [row for row, hashes in enumerate(one) if len(hashes) >= MIN_SHINGLES]
    if not long:
        return None
    two = [shingles(join_words(row)) for row in other.to_pylist()]
    same = {hashes.tobytes(): row for row, hashes in reversed(list(enumerate(two)))}
    exact = {row: same[one[row].tobytes()] for row in long if one[row].tobytes() in same}
    matches = [NearDuplicate(row, match, 1.0) for row, match in exact.items()]
    rest = [row for row in long if row not in exact]
    for number, match in candidate_text_pairs([one[row] for row in rest], two).tolist():
        similarity = jaccard(one[rest[number]], two[match])
        matches += [NearDuplicate(rest[number], match, similarity)] if similarity >= SIMILAR else []
    return sorted(matches, key=lambda duplicate: duplicate.row)


def _may_be_long(text: str) -> bool:
    return len(text.casefold().encode()) >= MIN_SHINGLES + SHINGLE - 1


def shingles(text: str) -> Array:
    """Return the sorted hashes of a text's runs of 8 bytes, at most the MAX_HASHES smallest.

    Case, spaces and punctuation do not count.
    """
    plain = SIGNS.sub(" ", text[:MAX_CHARACTERS].casefold()).strip().encode()
    if len(plain) < SHINGLE:
        return np.zeros(0, np.uint64)
    runs = np.ndarray(len(plain) - SHINGLE + 1, "<u8", plain, strides=(1,))
    hashed = runs * MIX
    hashed = (hashed ^ (hashed >> np.uint64(29))) * MIX
    if len(hashed) > 4 * MAX_HASHES:  # sorting all to keep a few would be most of the work
        smallest = hashed[hashed < np.uint64(2.0**64 * 2 * MAX_HASHES / len(hashed))]
        hashed = smallest if len(smallest) > MAX_HASHES else hashed
    return np.unique(hashed)[:MAX_HASHES]


def jaccard(one: Array, other: Array) -> float:
    """Return the fraction of all shingles of two texts that both have; of long texts an estimate."""
    both = np.union1d(one, other)[:MAX_HASHES]
    return float((np.isin(both, one) & np.isin(both, other)).sum()) / max(1, len(both))


def candidate_text_pairs(one: Sequence[Array], other: Sequence[Array]) -> Array:
    """Return (M, 2): for each text that shares hashes of its sketch with others, the one it shares the most with."""
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


def _sketches(sets: Sequence[Array]) -> tuple[Array, Array]:
    kept = [np.sort(hashes)[:SKETCH] for hashes in sets]
    rows = np.repeat(np.arange(len(kept)), [len(hashes) for hashes in kept])
    return np.concatenate([np.zeros(0, np.uint64), *kept]), rows
