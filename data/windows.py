"""A series as examples to learn from: for each point in time the values before it, and those from it on."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import kinds
from data.columns import Faults, floats, plain
from data.field import DataError, nearest
from data.kinds.series import fixed

HISTORY = "history"  # the input's name
LONGEST = 1_000_000  # rows of a window or a horizon


def history_table(
    table: pa.Table, time: str, value: str, window: int, horizon: int, *, targets: bool = True
) -> pa.Table:
    """One example for each row of a table of (time, value) that has `window` known values before it in time.

    `history` holds the values before the row, oldest first, (window,); `_time` the row's time, `_row` its number in
    `table`. With `targets` the column called `value` holds the row's own value and the next ones, (horizon,), `_until`
    the time of the last of them, and rows near the end or with an unknown value among them make no example. Without,
    the row's own value need not be known: to forecast the future, append a row with the next time and no value.
    Raises DataError where a time is missing or comes twice.
    """
    for name in (time, value):
        if name not in table.column_names:
            raise DataError(f"there is no column '{name}'", fix=nearest(name, table.column_names))
    if not (1 <= window <= LONGEST and 1 <= horizon <= LONGEST):
        fix = f"set both to 1 or more (in rows), and to {LONGEST:,} at most"
        raise DataError(f"window {window} and horizon {horizon}", place="preprocess", fix=fix)
    order = np.argsort(moments(table.column(time), time), kind="stable")
    values, faults = floats(plain(table.column(value)))
    values = values.copy()
    values[list(faults)] = np.nan
    values = np.where(np.isfinite(values), values, np.nan)[order]
    ahead = horizon if targets else 0
    first = np.arange(window, len(values) - max(ahead, 1) + 1)  # places, in order of time, that examples may start at
    if len(first):
        stretches = np.lib.stride_tricks.sliding_window_view(values, window + ahead)[: len(first)]
        first, stretches = _whole(first, stretches)
    else:
        stretches = np.empty((0, window + ahead))
    rows = order[first]
    columns = {HISTORY: fixed(stretches[:, :window])}
    when = plain(table.column(time))
    if targets:
        columns[value] = fixed(stretches[:, window:])
        columns["_until"] = when.take(pa.array(order[first + horizon - 1], pa.int64()))
    places = pa.array(rows, pa.int64())
    return pa.table({**columns, "_time": when.take(places), "_row": places})


def readable(table: pa.Table, time: str, value: str) -> tuple[pa.Table, Faults]:
    """(the rows that have a time, with the value null where it is unknown; the faults of the rows of `table`).

    A row without a value keeps its place in time, so that no window closes over the gap as if it were none.
    """
    _, found = kinds.find("number").check(table.column(value))
    values, unread = floats(plain(table.column(value)))
    values = values.copy()
    values[list({**found, **unread})] = np.nan
    faults = {int(row): f"{value}: missing" for row in np.flatnonzero(np.isnan(values))}
    faults |= {row: f"{value}: {reason}" for row, reason in found.items()}
    lost = times(plain(table.column(time)), time).is_null().to_numpy(zero_copy_only=False)
    faults |= {int(row): f"{time}: missing" for row in np.flatnonzero(lost)}
    if "_fault" in table.column_names:
        unread_rows = plain(table.column("_fault")).to_pylist()
        faults |= {row: reason for row, reason in enumerate(unread_rows) if reason}
    place = table.column_names.index(value)
    held = table.set_column(place, value, pa.array(values, from_pandas=True))
    return held.filter(pa.array(~lost)), faults


def _whole(first: np.ndarray, stretches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(stretches).any(axis=1)
    return first[known], stretches[known]


def moments(column: pa.Array | pa.ChunkedArray, name: str) -> np.ndarray:
    """(N,) times as int64 microseconds, or float64 where they are plain numbers (years); no two alike, none missing."""
    typed = times(plain(column), name)
    if typed.null_count:
        raise DataError("a time is missing", place=f"column '{name}'", fix="give every row its time")
    values = typed.to_numpy(zero_copy_only=False)
    values = values.astype("datetime64[us]").astype(np.int64) if values.dtype.kind == "M" else values.astype(np.float64)
    ordered = np.sort(values)
    if (ordered[1:] == ordered[:-1]).any():
        raise DataError(
            "the same time comes twice", place=f"column '{name}'", fix="keep one row for each point in time"
        )
    return values


def times(column: pa.Array, name: str) -> pa.Array:
    """A time column as timestamps, or as float64 where it holds plain numbers; DataError where it is neither."""
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)))
    values, faults = floats(column)
    if not faults:
        return pa.array(values, from_pandas=True)
    if pa.types.is_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        for zone in (None, "UTC"):  # all times carry a zone, or none does
            with contextlib.suppress(pa.ArrowInvalid):
                return text.cast(pa.timestamp("us", tz=zone))
    raise DataError(
        "holds something that is no time",
        place=f"column '{name}'",
        fix="write times as 2024-01-31 or 2024-01-31 12:00, or as numbers",
    )
