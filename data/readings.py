"""How rules read a column: as numbers, texts, times or booleans, whatever the file wrote. What is missing is null."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import kinds
from data.columns import MISSING, Faults, floats, plain, texts
from data.grammar import BOOLEAN, NUMBER, TEXT, TIME
from data.identity import identities
from data.kinds.number import READABLE

MOMENT = pa.timestamp("us")
WORDS = pa.array(["true", "false"])


def reading(column: pa.Array | pa.ChunkedArray) -> str:
    """What a column is read as; nothing where it holds pictures, lists and the like, or no value at all."""
    column = plain(column)
    if pa.types.is_null(column.type):
        return TEXT
    if pa.types.is_boolean(column.type):
        return BOOLEAN
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return TIME
    if kinds.find("number").recognise(column):
        return NUMBER
    if not pa.types.is_string(column.type):
        return ""
    held = texts(column).filter(pa.array(~missing(column)))
    if not len(held):
        return TEXT
    if pc.all(pc.is_in(pc.utf8_lower(held), WORDS)).as_py():
        return BOOLEAN
    _, faults = values(held, TIME)
    return TIME if len(faults) <= (1 - READABLE) * len(held) else TEXT


def values(column: pa.Array, kind: str) -> tuple[pa.Array, Faults]:
    """(the column in a type, null where missing or not of it; the faults of the latter)."""
    if kind == NUMBER:
        numbers, faults = floats(column)
        return pa.array(numbers, pa.float64(), from_pandas=True), faults
    if kind == TIME:
        return _times(column)
    if kind == TEXT:
        return texts(column), {}
    if pa.types.is_boolean(column.type):
        return column, {}
    words = pc.utf8_lower(texts(column))
    known = pc.is_in(words, WORDS)
    return pc.if_else(known, pc.equal(words, "true"), None), _where(pc.invert(known), words, "neither true nor false")


def _times(column: pa.Array) -> tuple[pa.Array, Faults]:
    if not pa.types.is_string(column.type):
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            return column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(MOMENT), {}
        return pa.nulls(len(column), MOMENT), dict.fromkeys(np.flatnonzero(~missing(column)).tolist(), "no time")
    words = texts(column)
    words = pc.if_else(pc.is_in(pc.utf8_lower(words), MISSING), pa.scalar(None, pa.string()), words)
    for zone in (None, "UTC"):
        with contextlib.suppress(pa.ArrowInvalid):
            return words.cast(pa.timestamp("us", zone)).cast(MOMENT), {}
    each = {word: _moment(word) for word in pc.unique(words).to_pylist()}
    found = pa.array([each[word] for word in words.to_pylist()], MOMENT)
    return found, _where(found.is_null(), words, "no time")


def _moment(word: str | None) -> int | None:
    for zone in (None, "UTC"):
        with contextlib.suppress(pa.ArrowInvalid):
            moment: int | None = pa.scalar(word, pa.string()).cast(pa.timestamp("us", zone)).cast(MOMENT).value
            return moment
    return None


def _where(odd: pa.Array, words: pa.Array, reason: str) -> Faults:
    rows = pc.and_(odd, words.is_valid()).to_numpy(zero_copy_only=False)
    return dict.fromkeys(np.flatnonzero(rows).tolist(), reason)


def missing(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) whether a row has no value: null, not-a-number, or a text that is blank or says so ("n/a")."""
    column = plain(column)
    if pa.types.is_string(column.type):
        words = texts(column)
        blank = pc.or_kleene(words.is_null(), pc.is_in(pc.utf8_lower(words), MISSING))
    else:
        blank = column.is_null(nan_is_null=pa.types.is_floating(column.type))
    held: np.ndarray = blank.to_numpy(zero_copy_only=False)
    return held


def hashed(column: pa.Array) -> np.ndarray:
    """(N,) uint64 of each value as it is written. Two different values share one once in 2^64 pairs."""
    words = column.cast(pa.string()) if pa.types.is_floating(column.type) else texts(column)
    found: np.ndarray = identities([words], len(words))[:, 0]
    return found
