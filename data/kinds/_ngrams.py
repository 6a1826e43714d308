"""Count the words of a text, their pairs, and the 3 to 5 characters in a row within a word, hashed into buckets.

A row's code is the numbers of its buckets, 1 and up, then zeros; one that is found 2 to 3 times comes twice, 4 to 7
times three times, so that a repeated word says more, but not in proportion. The state holds how many training texts
each bucket was found in, which weighs the rare above the common (Spärck Jones 1972).
"""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import numpy as np

from evergreen.data.kinds._tokenize import WORD

SPANS = (3, 4, 5)  # characters; a word begins and ends with a space
LONGEST = 2048  # numbers of a row; of longer texts the longest spans of characters are left out first
WORDS, PAIRS, PIECES = range(3)  # each hashes otherwise


def fit_ngrams(texts: Sequence[Any], buckets: int) -> dict[str, Any]:
    """Return the state of training texts, or of lists of words."""
    rows = [_codes(text, buckets, LONGEST) for text in texts]
    found = np.zeros(buckets + 1, np.int64)
    for row in rows:
        found[row] += 1  # once, however often a row has a number
    dtype = "int16" if buckets < 1 << 15 else "int32"
    return {"shape": [max([1, *map(len, rows)])], "dtype": dtype, "rows": len(rows), "found": found[1:].tolist()}


def encode_ngrams(state: Mapping[str, Any], texts: Sequence[Any]) -> np.ndarray:
    """Return (N, *shape) of state["dtype"]."""
    (length,), buckets = state["shape"], len(state["found"])
    encoded = np.zeros((len(texts), length), state["dtype"])
    for place, text in enumerate(texts):
        row = _codes(text, buckets, length)
        encoded[place, : len(row)] = row
    return encoded


def _codes(text: Any, buckets: int, length: int) -> np.ndarray:
    """Return at most `length` numbers; a longer span of characters is left out where the shorter ones fill them."""
    cleaned = [unicodedata.normalize("NFKC", part).casefold() for part in ([text] if isinstance(text, str) else text)]
    words = WORD.findall(cleaned[0]) if isinstance(text, str) else cleaned
    counts = Counter(_code(word, WORDS, buckets) for word in words)
    counts.update(_code(f"{first} {second}", PAIRS, buckets) for first, second in pairwise(words))
    for span in SPANS:
        if len(counts) >= length:
            break
        counts.update(chain.from_iterable([_pieces(word, span, buckets) for word in words]))
    codes, often = (np.fromiter(part, np.int64, len(counts)) for part in (counts.keys(), counts.values()))
    return codes.repeat(np.frexp(often)[1])[:length]  # the exponent of 2 is the number of bits


def _code(text: str, sort: int, buckets: int) -> int:
    return zlib.crc32(text.encode(), sort) % buckets + 1


@lru_cache(1 << 17)
def _pieces(word: str, span: int, buckets: int) -> tuple[int, ...]:
    framed = f" {word} "
    return tuple(_code(framed[at : at + span], PIECES, buckets) for at in range(len(framed) - span + 1))
