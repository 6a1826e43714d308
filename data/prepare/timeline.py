"""Recognise the column that tells when each row was, several series in one table, and what is irregular about them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data.arrow import decode_array, to_numpy, to_strings
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare.time_steps import DAY, MIN_ROWS, Steps, describe_irregularities
from evergreen.data.prepare.times import read_times
from evergreen.data.prepare.windows import MAX_REPEATED

WORDS = {  # of the names of columns whose numbers may be times
    *("date", "day", "time", "timestamp", "datetime", "week", "month", "quarter", "year", "hour", "minute", "second"),
    *("period", "step", "epoch", "ts", "t", "when", "yr", "mnth", "hr"),
}
PARTS = {"year", "quarter", "month", "week", "day", "hour", "minute", "yr", "mnth", "hr"}  # names of parts of a date
ORIGINS = {"birth", "birthday", "birthdate", "born", "dob", "founded", "built"}  # a time long before that of a row
YEARS = (1700, 2100)  # whole numbers between them may be years
EPOCH = (3e14, 4e15)  # microseconds: numbers between them, of 1979 to 2096, may count from 1970
MIN_READABLE = 0.95  # share of a column's values that must be times
MIN_TIMES = 3  # different ones, for a column to order rows
MIN_ORDERED = 0.98  # share of the neighbours that must be in order for the rows to be
MIN_DISTINCT = 0.3  # share of the rows that must have a number of their own for it to be their time
MAX_KEYS = 8  # columns that are tried as the name of a series
MIN_LENGTH = 5  # rows a series, in the mean


@dataclass(frozen=True)
class Timeline:
    """Hold a column of the rows' times, and what is known about them."""

    column: str
    key: tuple[str, ...]  # the columns that tell several series apart, one or two of them; none where there is one
    step: str  # day, month …; "step" of any other length
    rows: int  # of a series, in the mean
    is_series: bool  # whether most steps are alike
    is_ordered: bool  # whether the table's rows are in order of time, or all in the opposite order
    is_dated: bool  # whether each row has another date, nearly
    notes: list[str]  # what is irregular

    @property
    def series_column(self) -> str:
        """Return the column that tells several series apart; "" where there is none."""
        return self.key[0] if len(self.key) == 1 else ""


def name_words(name: str) -> list[str]:
    """Return the words of a column's name in lower case: ArrTime, arr_time and "arr time" are arr and time."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower())


def is_called_time(name: str) -> bool:
    """Tell whether a column is called like a time, or like a unit of one."""
    return any(word in WORDS or word.removesuffix("s") in WORDS for word in name_words(name))


def find_timeline(table: pa.Table, names: Sequence[str]) -> Timeline | None:
    """Return the timeline that is most like one among some columns; None where there is none.

    Even steps count most, then rows in order of time, then that the column holds dates.
    """
    found: list[tuple[tuple[bool, bool, bool], Timeline]] = []
    for name in names:
        column = decode_array(table.column(name))
        is_named = is_called_time(name)
        if ORIGINS & {*name_words(name)}:
            continue
        times, is_date = _times(column, may_be_number=is_named or len(names) == 1)
        known = np.flatnonzero(~np.isnan(times))
        if len(known) < MIN_READABLE * len(table) or len(np.unique(times[known])) < MIN_TIMES:
            continue
        others = [other for other in names if other != name]
        line = _describe(table, name, times[known], known, others, is_date=is_date)
        is_own = is_named and line.is_ordered and len(np.unique(times[known])) >= MIN_DISTINCT * len(known)
        if not (is_date or line.is_series or is_own):
            continue
        if not (is_date or line.is_series):  # as likely how long something took
            line = replace(line, is_ordered=False)
        found.append(((line.is_series, line.is_ordered, is_date), line))
    return max(found, key=lambda pair: pair[0])[1] if found else None  # of equals the first


def _times(column: pa.Array, *, may_be_number: bool) -> tuple[np.ndarray, bool]:
    """Return ((N,) float64 microseconds of dates, or plain numbers, NaN where there is no time; is it dates)."""
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_string(kind):
        may_be = may_be_number or bool(dates.matching_formats(column))
    elif is_number:
        may_be = may_be_number or _are_years(column)
    else:
        may_be = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if not may_be or column.null_count == len(column):
        return np.full(len(column), np.nan), False
    read, _ = read_times(column)
    known, values = to_numpy(read.is_valid()), to_numpy(read)
    if values.dtype.kind != "M":
        return _dates_of_numbers(values)
    return np.where(known, values.astype("datetime64[us]").astype(np.int64).astype(np.float64), np.nan), True


def _are_years(column: pa.Array) -> bool:
    if not pa.types.is_integer(column.type):
        return False
    ends = pc.min_max(column)
    is_within = YEARS[0] <= (ends["min"].as_py() or 0) <= (ends["max"].as_py() or 0) <= YEARS[1]
    return bool(is_within and pc.count_distinct(column).as_py() == len(column))


def _dates_of_numbers(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return numbers such as 20240131 or 202401, and seconds or milliseconds since 1970, as microseconds; are they."""
    if np.isnan(values).all():
        return values, False
    whole = np.where(np.isnan(values), np.nanmin(values), values)
    for unit in (1e6, 1e3):
        if (whole * unit >= EPOCH[0]).all() and (whole * unit <= EPOCH[1]).all():
            return values * unit, True
    for number in (whole, whole * 100 + 1):  # 20240131, 202401
        year, month, day = number // 10_000, number // 100 % 100, number % 100
        ends = ((year, YEARS), (month, (1, 12)), (day, (1, 31)))
        if all(((value >= low) & (value <= high)).all() for value, (low, high) in ends):
            months = ((year - 1970) * 12 + month - 1).astype(np.int64).astype("datetime64[M]")
            days = months.astype("datetime64[D]").astype(np.int64) + day - 1
            return np.where(np.isnan(values), np.nan, days * float(DAY)), True
    return values, False


def _describe(
    table: pa.Table, name: str, times: np.ndarray, rows: np.ndarray, others: Sequence[str], *, is_date: bool
) -> Timeline:
    """Return the timeline of a column from the known times (N,) of some rows (N,).

    It says which of the `others` tells its series apart, where several rows have one time.
    """
    steps, key = Steps(times, np.zeros(len(times), np.int64), is_date=is_date), tuple[str, ...]()
    is_distinct = steps.repeated <= MAX_REPEATED
    if not is_distinct:
        steps, key = _separate(times, dict(_keys(table, others, rows)), is_date=is_date) or (steps, key)
    rising, falling = np.diff(times) >= 0, np.diff(times) <= 0
    is_ordered = len(np.unique(times)) >= MIN_ROWS and max(rising.mean(), falling.mean()) >= MIN_ORDERED
    n_series = len(np.unique(steps.series))
    notes = []
    if n_series == 1 and not rising.all():
        how = "newest first" if falling.all() else f"not in order of '{name}'"
        notes.append(f"rows are {how}: they are put in order")
    uneven = [f"the steps of '{name}' differ: a step is a row"]
    notes += describe_irregularities(name, steps) if steps.are_even else uneven
    is_series, n_rows = steps.are_even and len(key) < 2, len(times) // n_series
    return Timeline(name, key, steps.name, n_rows, is_series, bool(is_ordered), is_date and is_distinct, notes)


def _separate(
    times: np.ndarray, codes: Mapping[str, np.ndarray], *, is_date: bool
) -> tuple[Steps, tuple[str, ...]] | None:
    """Return the even series that one column, or two, tell apart; `codes` is column → (N,) code of its value."""
    for columns in (*((name,) for name in codes), *combinations(codes, 2)):
        series = codes[columns[0]]
        if len(columns) > 1:
            series = series * (codes[columns[1]].max() + 1) + codes[columns[1]]
        steps = Steps(times, series, is_date=is_date)
        if steps.are_even and len(times) >= MIN_LENGTH * len(np.unique(series)):
            return steps, columns
    return None


def _keys(table: pa.Table, names: Sequence[str], rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (column, (N,) code of its value) of columns that may tell series apart, those of words first."""
    columns = {name: decode_array(table.column(name)) for name in names if not is_called_time(name)}
    texts = {name: column for name, column in columns.items() if pa.types.is_string(column.type)}
    words = [name for name, column in texts.items() if not dates.matching_formats(column)]
    numbers = [name for name, column in columns.items() if pa.types.is_integer(column.type)]
    count = 0
    for name in (*words, *numbers):
        codes = to_numpy(to_strings(columns[name]).dictionary_encode().indices.fill_null(-1))[rows]
        if 2 <= codes.max(initial=0) + 1 <= len(rows) // MIN_LENGTH and count < MAX_KEYS:
            count += 1
            yield name, codes.astype(np.int64) + 1
