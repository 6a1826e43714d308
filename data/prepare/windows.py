"""Cut a series into windows: for each point in time the values before it, and those from it on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import RowErrors, decode_array, stack_lists, to_float64, to_names, to_numpy
from evergreen.data.kinds.number import Number
from evergreen.data.kinds.series import to_fixed_lists
from evergreen.data.prepare.times import no_time_error, read_times, time_axis

HISTORY = "history"  # the input's name
LONGEST = 1_000_000  # rows of a window or a horizon
MAX_REPEATED = 0.05  # share of the rows whose time may come a second time: those are left out
NO_FORMATS: Mapping[str, str] = MappingProxyType({})  # how texts are written is found out


def make_windows(
    table: pa.Table,
    time: str,
    value: str,
    window: int,
    horizon: int,
    *,
    covariates: Sequence[str] = (),
    series: str = "",
    targets: bool = True,
    written: Mapping[str, str] = NO_FORMATS,
) -> pa.Table:
    """Return a row for each row of a table of (time, value) that has `window` known values before it in time.

    `history` holds the values before the row, oldest first, (window,), or with covariates (window, 1 + covariates);
    `_time` the row's time, `_row` its number in `table`. With `targets` the column named `value` holds the row's
    own value and the next ones, (horizon,), `_until` the time of the last of them, and rows near the end or with an
    unknown value among them are left out. Without, the row's own value need not be known: to forecast the future,
    append a row with the next time and no value. A column `series` says which of several series a row belongs to:
    it is kept, no window reaches from one into another, and rows come in the order of time. `written` is column →
    format.

    Raises DataError where a time is missing or comes twice.
    """
    for name in (time, value, *covariates, *([series] if series else [])):
        if name not in table.column_names:
            raise DataError(f"there is no column '{name}'", fix=suggest(name, table.column_names))
    if not (1 <= window <= LONGEST and 1 <= horizon <= LONGEST):
        fix = f"set both to 1 or more (in rows), and to {LONGEST:,} at most"
        raise DataError(f"window and horizon are not valid (got {window} and {horizon})", place="preprocess", fix=fix)
    values_NC = stack_channels(table, [value, *covariates], written)
    when, ahead = decode_array(table.column(time)), horizon if targets else 0
    series_in_order = order_by_time(table, time, series, written.get(time, ""))
    parts = [_stretches(values_NC[order], order, moment, window, ahead) for order, moment in series_in_order]
    rows, last, moment, history, future = (np.concatenate(part) for part in zip(*parts, strict=True))
    turn = np.argsort(moment, kind="stable")
    places = pa.array(rows[turn], pa.int64())
    columns = {HISTORY: to_fixed_lists(history[turn] if covariates else history[turn, :, 0])}
    if series:
        columns[series] = decode_array(table.column(series)).take(places)
    if targets:
        columns[value] = to_fixed_lists(future[turn])
        columns["_until"] = when.take(pa.array(last[turn], pa.int64()))
    return pa.table({**columns, "_time": when.take(places), "_row": places})


def own_history(examples: pa.Table) -> np.ndarray:
    """Return (N, T) of the series itself, without covariates."""
    values, _ = stack_lists(decode_array(examples.column(HISTORY)))
    return values[..., 0] if values.ndim == 3 else values


def mean_step(examples: pa.Table, value: str) -> float:
    """Return the mean absolute step from the last value of each history to the first of its targets."""
    targets, _ = stack_lists(decode_array(examples.column(value)))
    return float(np.abs(targets[:, 0] - own_history(examples)[:, -1]).mean())


def stack_channels(table: pa.Table, names: Sequence[str], written: Mapping[str, str] = NO_FORMATS) -> np.ndarray:
    """Return (N, C) columns side by side, NaN where a value is unknown; `written` is column → format of its numbers."""
    columns = []
    for name in names:
        values, faults = to_float64(decode_array(table.column(name)), written.get(name, ""))
        values = values.copy()
        values[list(faults)] = np.nan
        columns.append(np.where(np.isfinite(values), values, np.nan))
    return np.stack(columns, axis=1)


def order_by_time(
    table: pa.Table, time: str, series: str = "", format: str = ""
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (rows in order of time, their times) of each series; without a column `series` there is one."""
    groups = [np.arange(len(table))]
    if series:
        index = to_numpy(decode_array(table.column(series)).dictionary_encode().indices.fill_null(-1))
        groups = [np.flatnonzero(index == number) for number in range(index.max(initial=-1) + 1)] or groups
    orders = []
    for rows in groups:
        moment = time_axis(table.column(time).take(pa.array(rows, pa.int64())), time, format)
        order = np.argsort(moment, kind="stable")
        orders.append((rows[order], moment[order]))
    return orders


def drop_rows_without_time(
    table: pa.Table,
    time: str,
    value: str,
    *,
    covariates: Sequence[str] = (),
    series: str = "",
    written: Mapping[str, str] = NO_FORMATS,
) -> tuple[pa.Table, RowErrors]:
    """Return (rows that have a time, with unknown values null; row → error in `table`).

    A row without a value keeps its place in time, so that no window closes over the gap. Of rows of one time the first
    counts, if few times come twice.
    """
    faults: RowErrors = {}
    typed = table
    for name in (value, *covariates):
        _, errors = Number(written.get(name, "")).validate(table.column(name))
        values = stack_channels(table, [name], written)[:, 0]
        values[list(errors)] = np.nan
        missing = {int(row): f"{name}: missing" for row in np.flatnonzero(np.isnan(values))}
        faults = {**missing, **{row: f"{name}: {reason}" for row, reason in errors.items()}, **faults}
        typed = typed.set_column(table.column_names.index(name), name, pa.array(values, from_pandas=True))
    when, strange = read_times(decode_array(table.column(time)), written.get(time, ""))
    lost = to_numpy(when.is_null())
    if lost.all():
        raise no_time_error(time)
    faults |= {int(row): f"{time}: {strange.get(int(row), 'missing')}" for row in np.flatnonzero(lost)}
    if series:
        typed = typed.set_column(table.column_names.index(series), series, to_names(decode_array(table.column(series))))
        nameless = to_numpy(typed.column(series).combine_chunks().is_null())
        faults |= {int(row): f"{series}: missing" for row in np.flatnonzero(nameless)}
        lost = lost | nameless
    repeated = _repeated_rows(when, typed.column(series) if series else None, lost)
    faults |= dict.fromkeys(repeated.tolist(), f"{time}: comes a second time")
    lost = lost | np.isin(np.arange(len(lost)), repeated)
    if "_fault" in table.column_names:
        unread_rows = decode_array(table.column("_fault")).to_pylist()
        faults |= {row: reason for row, reason in enumerate(unread_rows) if reason}
    return typed.filter(pa.array(~lost)), faults


def _repeated_rows(when: pa.Array, series: pa.ChunkedArray | None, lost: np.ndarray) -> np.ndarray:
    """Return the rows whose time came before in their series; none where they are many: then something is wrong."""
    keys = [when.dictionary_encode().indices, *([decode_array(series).dictionary_encode().indices] if series else [])]
    codes = np.stack([to_numpy(key.fill_null(-1)) for key in keys], axis=1)
    rows = np.flatnonzero(~lost)
    _, first = np.unique(codes[rows], axis=0, return_index=True)
    repeated = np.setdiff1d(rows, rows[first])
    return repeated if len(repeated) <= MAX_REPEATED * len(rows) else repeated[:0]


def _stretches(
    values_NC: np.ndarray, order: np.ndarray, moment: np.ndarray, window: int, ahead: int
) -> tuple[np.ndarray, ...]:
    """Return (rows, last rows, times, histories (M, window, C), futures (M, ahead)) of the M windows of one series.

    Values, rows and times are given in order of time.
    """
    count, width = values_NC.shape
    first = np.arange(window, count - max(ahead, 1) + 1)  # places that examples may start at
    if not len(first):
        none = order[:0]
        return none, none, moment[:0], np.empty((0, window, width)), np.empty((0, ahead))
    slide = np.lib.stride_tricks.sliding_window_view
    history = slide(values_NC, window, axis=0)[: len(first)].transpose(0, 2, 1)
    future = slide(values_NC[window:, 0], ahead)[: len(first)] if ahead else np.empty((len(first), 0))
    known = ~(np.isnan(history).any(axis=(1, 2)) | np.isnan(future).any(axis=1))
    first, history, future = first[known], history[known], future[known]
    return order[first], order[first + max(ahead, 1) - 1], moment[first], history, future
