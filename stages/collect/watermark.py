"""Map watermarks to positions: numbers and times in one order, as float64; NaN where a row has neither."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from evergreen.core.durations import parse_duration

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Mark = str | int | float | None  # as a person writes it: a number, or a time in ISO 8601 (UTC where it names no zone)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_position(mark: str | int | float) -> float:
    """Return the position of a mark: a number itself, a time as microseconds since 1970."""
    if isinstance(mark, str):
        try:
            return float(mark)
        except ValueError:
            return parse_time(mark)
    return float(mark)


def parse_time(text: str) -> float:
    """Return microseconds since 1970. Raises ValueError for what is not a time."""
    moment = datetime.fromisoformat(text.strip())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) / timedelta(microseconds=1)


def parse_lateness(late: str | int | float) -> float:
    """Return how far back rows may come, as a position: 3 units of a number, or "6h", "2d" of time."""
    try:
        return parse_duration(late) if isinstance(late, str) else float(late)
    except ValueError as error:
        raise ValueError(f"allowed_lateness: {late!r} is no span") from error


def from_position(order: float, times: bool) -> str | int | float:
    """Return the mark of a position: the opposite of `to_position`."""
    if times:
        return (EPOCH + timedelta(microseconds=order)).isoformat()
    return int(order) if order == int(order) else order


def widen_bound(order: float, times: bool, days: int) -> str | int | float:
    """Return a mark for a source that compares values itself.

    Times that are text, in any zone and form, are asked for by whole days, so that none is lost.
    """
    if not times or not math.isfinite(order):
        return from_position(order, times)
    return (EPOCH + timedelta(microseconds=order, days=days)).date().isoformat()


def positions_of(column: pa.Array) -> tuple[np.ndarray, bool]:
    """Return (N,) positions of a column, and whether they are times."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from evergreen.data.arrow import decode_array, to_float64, to_numpy

    column = decode_array(column)
    if pa.types.is_temporal(column.type):
        kind = pa.timestamp("us", tz=column.type.tz) if pa.types.is_timestamp(column.type) else pa.timestamp("us")
        integers = column.cast(kind, safe=False).cast(pa.int64())
        return to_numpy(pc.fill_null(integers.cast(pa.float64()), float("nan"))), True
    values, faults = to_float64(column)
    if not pa.types.is_string(column.type) or len(faults) * 2 < len(column) - column.null_count:
        return values, False
    return np.array([_moment(text) for text in column.to_pylist()], np.float64), True


def _moment(value: str | date | None) -> float:
    try:
        return parse_time(value) if isinstance(value, str) else float("nan")
    except ValueError:
        return float("nan")
