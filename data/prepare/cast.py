"""Cast columns to the four types that rules know: number, text, time, boolean. Missing values become null."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.arrow import (
    MISSING,
    RowErrors,
    combine_chunks,
    decode_array,
    is_mostly_numbers,
    missing_words,
    to_float64,
    to_numpy,
    to_strings,
)
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare.rules.grammar import BOOLEAN, NUMBER, TEXT, TIME
from evergreen.data.row_ids import hash_rows

WORDS = ["true", "false"]
LONGEST = max(map(len, MISSING))  # bytes of a word that means a missing value


def rule_type(column: pa.Array | pa.ChunkedArray) -> str:
    """Return the type that rules read a column as; "" for images, lists and the like."""
    column = decode_array(column)
    if pa.types.is_null(column.type):
        return TEXT
    if pa.types.is_boolean(column.type):
        return BOOLEAN
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return TIME
    if is_mostly_numbers(column):
        return NUMBER
    if not pa.types.is_string(column.type):
        return ""
    texts = to_strings(column).filter(pa.array(~is_missing(column)))
    if not len(texts):
        return TEXT
    if pc.all(pc.is_in(pc.utf8_lower(texts), pa.array(WORDS))).as_py():
        return BOOLEAN
    return TIME if dates.detect_format(texts) else TEXT


def cast_column(column: pa.Array, kind: str, options: Mapping[str, Any] | None = None) -> tuple[pa.Array, RowErrors]:
    """Return (the column in a type, null where missing or invalid; row → error).

    `options` say how times and fractions are written, as those of the kinds do.
    """
    if kind == NUMBER:
        numbers, faults = to_float64(column, (options or {}).get("format", ""))
        return pa.array(numbers, pa.float64(), from_pandas=True), faults
    if kind == TIME:
        if column.type == dates.TYPE:
            return column, {}
        said = (str((options or {}).get(key) or "") for key in ("format", "unit", "zone"))
        return dates.parse_datetimes(column, *said)
    if kind == TEXT:
        return to_strings(column), {}
    if pa.types.is_boolean(column.type):
        return column, {}
    words = pc.utf8_lower(to_strings(column))
    known = pc.is_in(words, pa.array(WORDS))
    return pc.if_else(known, pc.equal(words, "true"), None), _where(pc.invert(known), words, "neither true nor false")


def _where(odd: pa.Array, words: pa.Array, reason: str) -> RowErrors:
    rows = to_numpy(pc.and_(odd, words.is_valid()))
    return dict.fromkeys(np.flatnonzero(rows).tolist(), reason)


def is_missing(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return (N,) bool: null, NaN, or text that is blank or a word such as "n/a"."""
    column = combine_chunks(column)
    if pa.types.is_dictionary(column.type):
        is_missing_value = is_missing(column.dictionary)
        return np.append(is_missing_value, True).take(to_numpy(column.indices.fill_null(len(is_missing_value))))
    column = decode_array(column)
    if pa.types.is_string(column.type):
        return _unsaid(column)
    return to_numpy(column.is_null(nan_is_null=pa.types.is_floating(column.type)))


def is_constant(column: pa.Array) -> bool:
    """Tell whether a column holds no two different values; what is no plain value counts as different."""
    is_plain = pa.types.is_primitive(column.type) or pa.types.is_string(column.type)
    return bool(column.null_count == len(column) or (is_plain and pc.count_distinct(column).as_py() < 2))


def _unsaid(column: pa.Array) -> np.ndarray:
    words = pc.utf8_trim_whitespace(column)
    blank = to_numpy(words.is_null()).copy()
    short = pc.less_equal(pc.binary_length(words), LONGEST).fill_null(False)  # few are, so few are compared
    rows = np.flatnonzero(to_numpy(short))
    some = pc.utf8_lower(words.take(pa.array(rows)))
    blank[rows] = to_numpy(pc.is_in(some, missing_words()))
    return blank


def hash_values(column: pa.Array) -> np.ndarray:
    """Return (N,) uint64 of each value as it is written; two values collide once in 2^64 pairs."""
    words = column.cast(pa.string()) if pa.types.is_floating(column.type) else to_strings(column)
    return hash_rows([words], len(words))[:, 0]
