"""Check JSON requests: the fields of a row, arrays of numbers, and how a value is named in an error."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from evergreen.core.errors import DataError, find_nearest

MAX_COMPARED = 100  # fields of a request among which a misspelt one is looked for


def format_value(value: Any) -> str:
    """Return a JSON value in a person's words, shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"the number {str(value)[:40]}"


def check_fields(row: Any, columns: Mapping[str, Any], place: str) -> list[str]:
    """Return the other fields of a row of a request. Raises DataError unless it is an object that has these fields."""
    if not isinstance(row, dict):
        fix = "send each row as an object of named fields"
        raise DataError(f"it is not an object (got {format_value(row)})", place=place, fix=fix)
    extra = [name for name in row if name not in columns]
    if lacking := [name for name in columns if name not in row]:
        near = find_nearest(lacking[0], [name[:80] for name in extra[:MAX_COMPARED]])
        fix = f"rename '{near}'" if near else "give every field, null where a value is missing"
        more = f" (and {len(lacking) - 1:,} more)" if len(lacking) > 1 else ""
        raise DataError(f"the field '{lacking[0]}' is missing{more}", place=place, fix=fix)
    return extra


def parse_numeric_array(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a nested list of finite numbers of exactly this shape as float64. Raises DataError otherwise."""
    wanted = f"give a list of {shape[0]} finite numbers"
    if len(shape) > 1:
        wanted = f"give nested lists of finite numbers of shape {shape}"
    if not isinstance(value, list):
        raise DataError(f"is not a list (got {format_value(value)})", fix=wanted)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError("is ragged: its rows differ in length", fix=wanted) from error
    if array.shape != shape:
        raise DataError(f"has the shape {array.shape} where {shape} is expected", fix=wanted)
    if array.dtype.kind not in "iuf" or _has_bool(value):
        raise DataError("holds something that is not a number", fix=wanted)
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e30:
        raise DataError("holds NaN, Infinity or a number beyond 1e30", fix=wanted)
    return array


def check_unicode(text: str) -> str:
    """Return a text. Raises DataError where it holds half of a character, as JSON can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError("is not Unicode text", fix="send whole characters") from error
    return text


def _has_bool(values: list[Any]) -> bool:
    """Tell whether lists nested evenly, as NumPy found them to be, hold true or false."""
    while values and isinstance(values[0], list):
        values = list(chain.from_iterable(values))
    return bool in set(map(type, values))
