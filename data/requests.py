"""Values of JSON requests: arrays of numbers, and how a value is called in an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.field import DataError


def told(value: Any) -> str:
    """A JSON value in a person's words, shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"the number {str(value)[:40]}"


def numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A nested list of finite numbers of exactly this shape as float64; DataError otherwise."""
    wanted = (
        f"give nested lists of finite numbers of shape {shape}"
        if len(shape) > 1
        else f"give a list of {shape[0]} finite numbers"
    )
    if not isinstance(value, list):
        raise DataError(f"is {told(value)}, no list", fix=wanted)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError("is ragged: its rows differ in length", fix=wanted) from error
    if array.shape != shape:
        raise DataError(f"has the shape {array.shape} where {shape} belongs", fix=wanted)
    if array.dtype.kind not in "iuf" or _has_bool(value):
        raise DataError("holds something that is no number", fix=wanted)
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e30:
        raise DataError("holds NaN, Infinity or a number beyond 1e30", fix=wanted)
    return array


def _has_bool(value: Any) -> bool:
    return any(_has_bool(item) for item in value) if isinstance(value, list) else isinstance(value, bool)
