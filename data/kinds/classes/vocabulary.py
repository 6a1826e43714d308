"""Know the values of a column of categories: as texts, as what they are in JSON, and by their hash.

A vocabulary is a list of values and the type of its words: "string", "integer" or "boolean".
"""

import hashlib
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.arrow import to_names
from evergreen.data.kinds.classes.class_checks import is_whole


@lru_cache(maxsize=256)
def known_words(values: tuple[Any, ...], kind: str) -> pa.Array:
    """Cache known values as texts for an endpoint; by `kind`, for Python takes 1 and true for equal."""
    return to_names(pa.array([None if value is None else _text(value) for value in values], pa.string()))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def typed_value(word: str, kind: str) -> Any:
    """Return a word as the value that it is in JSON. Raises ValueError where it is no whole number."""
    return int(word) if kind == "integer" else word.lower() == "true" if kind == "boolean" else word


def canonical_case(column: pa.Array, kind: str) -> pa.Array:
    """Return words as they are compared: True is true."""
    return pc.utf8_lower(column) if kind == "boolean" else column


def words_type(column: pa.Array) -> str:
    """Return what the words of a column are: "boolean", "integer" or "string"."""
    words = pc.unique(column.drop_null()).to_pylist()
    if words and {word.lower() for word in words} <= {"true", "false"}:
        return "boolean"
    return "integer" if words and all(map(is_whole, words)) else "string"


def bucket_of(word: str, buckets: int) -> int:
    """Return the place of a word among `buckets` of them, by its hash."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % buckets


def known_values(column: pa.Array, kind: str, fewest: int, most: int) -> list[Any]:
    """Return the values seen at least `fewest` times, the `most` most common ones, sorted; null comes first."""
    counts = pc.value_counts(canonical_case(column, kind))
    counts = counts.filter(pc.greater_equal(counts.field("counts"), fewest))
    if len(counts) > most:  # of equally common ones those that the alphabet has first
        keys = [("counts", "descending"), ("values", "ascending")]
        counts = counts.take(pc.sort_indices(pa.Table.from_struct_array(counts), keys)[:most])
    words = counts.field("values").to_pylist()
    return ([None] if None in words else []) + sorted(typed_value(word, kind) for word in words if word is not None)
