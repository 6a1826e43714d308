"""Read columns of times: in any notation, as an axis, and whether their steps are even."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, to_float64, to_numpy
from evergreen.data.kinds import _datetime_parse as dates


def time_axis(column: pa.Array | pa.ChunkedArray, name: str, format: str = "") -> np.ndarray:
    """Return (N,) times as int64 microseconds, or float64 of plain numbers (years).

    Raises DataError where one is missing or comes twice.
    """
    typed = parse_times(decode_array(column), name, format)
    if typed.null_count:
        raise DataError("a time is missing", place=f"column '{name}'", fix="give every row its time")
    values = to_numpy(typed)
    values = values.astype("datetime64[us]").astype(np.int64) if values.dtype.kind == "M" else values.astype(np.float64)
    ordered = np.sort(values)
    if (ordered[1:] == ordered[:-1]).any():
        fix = "keep one row for each time, or say `series_column: COLUMN` where one table holds several series"
        raise DataError("a time occurs twice", place=f"column '{name}'", fix=fix)
    return values


def parse_times(column: pa.Array, name: str, format: str = "") -> pa.Array:
    """Parse times as `read_times` does. Raises DataError where a value is not a time."""
    read, faults = read_times(column, format)
    if faults:
        raise no_time_error(name)
    return read


def no_time_error(name: str) -> DataError:
    """Return the error for a column whose values are not times."""
    fix = "write times as 2024-01-31 or 2024-01-31 12:00, all in one format, or as numbers"
    return DataError("holds something that is not a time", place=f"column '{name}'", fix=fix)


def read_times(column: pa.Array, format: str = "") -> tuple[pa.Array, RowErrors]:
    """Return a time column as timestamps, or as float64 of plain numbers, and row → error.

    `format` is that of text (kinds/_datetime_parse.py); "" detects it.
    """
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None))), {}
    values, faults = to_float64(column)
    if pa.types.is_string(column.type) and (format or faults):
        text = pc.utf8_trim_whitespace(column)
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        for zone in (None, "UTC") if not format else ():  # all times carry a zone, or none does
            with contextlib.suppress(pa.ArrowInvalid):
                return text.cast(pa.timestamp("us", tz=zone)), {}
        if format := format or dates.detect_format(text):
            read, faults = dates.parse_datetimes(text, format)
            return read.cast(pa.timestamp("us")) if format == dates.ISO else read, faults
    return pa.array(values, from_pandas=True), faults


def is_evenly_spaced(column: pa.Array) -> bool:
    """Tell whether a column looks like the time of a series: rising in steps that differ no more than months do."""
    try:
        return not is_irregular(time_axis(column, "time"))
    except DataError:
        return False


def is_irregular(moment: np.ndarray) -> bool:
    """Tell whether the steps between times differ by more than those between months do."""
    steps = np.diff(moment.astype(np.float64))
    return not (len(steps) > 1 and bool(steps.min() > 0 and steps.max() <= 1.2 * steps.min()))
