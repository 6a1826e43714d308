"""Count the words of a text, their pairs, and the 3 to 5 characters in a row within a word, hashed into buckets.

A row's code is the numbers of its buckets, 1 and up, then zeros; one that is found 2 to 3 times comes twice, 4 to 7
times three times, so that a repeated word says more, but not in proportion. The state holds how many training texts
each bucket was found in, which weighs the rare above the common (Spärck Jones 1972).
"""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from evergreen.data.kinds._tokenize import WORD

SPANS = (3, 4, 5)  # characters; a word begins and ends with a space
LONGEST = 2048  # numbers of a row; of longer texts the longest spans of characters are left out first
WORDS, PAIRS, PIECES = range(3)  # each hashes otherwise


def fit_ngrams(texts: Sequence[Any], buckets: int) -> dict[str, Any]:
    """Return the state of training texts, or of lists of words."""
    rows = [_codes(text, buckets) for text in texts]
    found = np.bincount([code for row in rows for code in set(row)], minlength=buckets + 1)
    length = max(1, min(LONGEST, max(map(len, rows), default=1)))
    dtype = "int16" if buckets < 1 << 15 else "int32"
    return {"shape": [length], "dtype": dtype, "rows": len(rows), "found": found[1:].tolist()}


def encode_ngrams(state: Mapping[str, Any], texts: Sequence[Any]) -> np.ndarray:
    """Return (N, *shape) of state["dtype"]."""
    (length,), buckets = state["shape"], len(state["found"])
    encoded = np.zeros((len(texts), length), state["dtype"])
    for place, text in enumerate(texts):
        row = _codes(text, buckets)[:length]
        encoded[place, : len(row)] = row
    return encoded


def _codes(text: Any, buckets: int) -> list[int]:
    counts = Counter(hashed % buckets + 1 for hashed in _hashes(text))
    return [code for code, count in counts.items() for _ in range(count.bit_length())]


def _hashes(text: Any) -> Iterator[int]:
    """Yield a number for each word, then for each pair of words, then for what is within words, the shortest first."""
    cleaned = [unicodedata.normalize("NFKC", part).casefold() for part in ([text] if isinstance(text, str) else text)]
    words = WORD.findall(cleaned[0]) if isinstance(text, str) else cleaned
    yield from (zlib.crc32(word.encode(), WORDS) for word in words)
    yield from (zlib.crc32(f"{first} {second}".encode(), PAIRS) for first, second in pairwise(words))
    yield from (hashed for span in SPANS for word in words for hashed in _pieces(word, span))


@lru_cache(1 << 17)
def _pieces(word: str, span: int) -> tuple[int, ...]:
    framed = f" {word} "
    return tuple(zlib.crc32(framed[at : at + span].encode(), PIECES) for at in range(len(framed) - span + 1))
