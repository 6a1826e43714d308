"""Suggest what the times of rows are good for: a forecast, or a split by time; say what stands in the way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.core.messages import list_names
from evergreen.data.arrow import decode_array, is_mostly_numbers, to_float64, to_numpy, to_strings
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare import split
from evergreen.data.prepare.cast import is_constant, is_missing
from evergreen.data.prepare.infer import is_identifier
from evergreen.data.prepare.timeline import PARTS, Timeline, is_called_time, name_words
from evergreen.data.prepare.times import read_times

MAX_COVARIATES = 3  # with more columns than these a row is predicted from its own columns
MAX_MISSING = 0.02  # share of a covariate: with more, too few windows are whole
WINDOWS = {"hour": 48, "day": 28, "month": 24}  # rows back: their commonest cycle at least twice
WINDOW = 12
MANY = 10  # different texts in a column called like a time from which on it may be one
SHARE = 6  # a window takes at most one part in so many of a series
TEST, VALIDATION = 0.2, 0.2  # of the rows, as a pipeline has it by default


def suggest_forecast(table: pa.Table, target: str, line: Timeline, kind: Kind, others: Sequence[str]) -> dict[str, Any]:
    """Return the suggestion of a forecast; {} where rows are no series, or have too many `others` beside the time.

    `kind` is that of the numbers to forecast.
    """
    beside = _telling(table, [name for name in others if name not in (line.column, line.series_column)])
    is_event = any(_holds_times(decode_array(table.column(name))) for name in beside)
    if not (line.is_series or (line.is_dated and not beside)) or is_event or len(beside) > MAX_COVARIATES:
        return {}
    covariates = [name for name in beside if _is_covariate(decode_array(table.column(name)))]
    unused = [name for name in beside if name not in covariates]
    notes = [*line.notes, *([f"{list_names(unused)}: not used, a forecast sees numbers without gaps"] * bool(unused))]
    notes.append(f"rows are ordered by '{line.column}'; set validate_from and test_from to pin the split")
    hint = f"of {list_names(covariates)} a forecast sees the past, as of '{target}'; to predict a row from its own "
    hint += f"values: `task: {kind.TASK}` and `time: {line.column}`"
    return {
        **{"task": kind.TASK_OVER_TIME, "kinds": {}, "time": line.column, "series_column": line.series_column},
        **{"covariates": covariates, "window": max(2, min(WINDOWS.get(line.step, WINDOW), line.rows // SHARE))},
        "because": f"'{target}' holds numbers over evenly spaced times",
        **{"notes": notes, "unsure": [hint] if covariates else []},
    }


def suggest_time_split(
    table: pa.Table, target: str, line: Timeline, kind: Kind, others: Sequence[str]
) -> tuple[str, list[str]]:
    """Return (the column to split by, "" where rows are drawn at random; notes) for rows that are no forecast.

    `kind` is that of the target.
    """
    name, column = line.column, decode_array(table.column(target))
    if not (line.is_series or line.is_ordered or line.key):
        return "", [f"rows are drawn at random; to test on the latest, as in use: `time: {name}`"]
    read, _ = read_times(decode_array(table.column(name)))
    try:
        places, cuts = split.split_by_time(read.drop_null(), name, TEST, VALIDATION)
    except DataError:
        return "", [f"rows are drawn at random, though '{name}' orders them: it has too few different times"]
    if not _telling(table, [other for other in others if other != name]):
        fix = "for a forecast, keep one row for each time" if kind.TASK_OVER_TIME else "there is no other column"
        return "", [f"rows are drawn at random, though '{name}' orders them: {fix}"]
    how = "a row for each step" if line.is_series else "rows in its order"
    notes = [f"the latest rows by '{name}' test, for it has {how}; without `time` they are drawn at random"]
    if kind.HAS_CLASSES:
        notes += _missing_classes(to_strings(column.filter(read.is_valid())), target, places, cuts)
    elif kind.TASK_OVER_TIME:
        notes.append(f"no forecast is proposed: {_obstacle(line)}")
    return name, notes


def ask_about_times(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Return doubts where columns may tell the time of a row, and cannot be read as times."""
    fix = "for a split by time or a forecast"
    parts = [name for name in names if len(words := name_words(name)) == 1 and words[0] in PARTS]
    doubts = []
    for name in names:
        column = decode_array(table.column(name))
        values = column.drop_null() if pa.types.is_string(column.type) else []
        forms = dates.matching_formats(column) if len(values) else []
        if len(forms) > 1:
            doubts.append(f"'{name}' is {' or '.join(forms)}: write its dates as 2024-01-31 {fix}")
        elif len(values) and not forms and is_called_time(name) and _is_numbered(values):
            doubts.append(f"'{name}' may hold times, and '{values[0]}' is not read as one: write 2024-01-31 {fix}")
    if len(parts) > 1:
        doubts.append(f"{list_names(parts)} may tell when a row was: join them in a column of dates, 2024-01-31, {fix}")
    return [f"no column orders the rows in time; {doubt}" for doubt in doubts]


def _is_numbered(values: pa.Array) -> bool:
    """Tell whether most of many texts hold a digit, and none is a number: 2024Q1."""
    has_digit = to_numpy(pc.match_substring_regex(values, r"\d"))
    return bool(has_digit.mean() > 0.5 and len(to_float64(values)[1]) == len(values) and len(values.unique()) > MANY)


def _telling(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Return the columns that are neither constant nor the name of a row."""
    columns = {name: decode_array(table.column(name)) for name in names}
    return [name for name, column in columns.items() if not is_constant(column) and not is_identifier(name, column)]


def _holds_times(column: pa.Array) -> bool:
    if pa.types.is_string(column.type):
        return bool(dates.matching_formats(column))
    return bool(pa.types.is_date(column.type) or pa.types.is_timestamp(column.type))


def _is_covariate(column: pa.Array) -> bool:
    return is_mostly_numbers(column) and float(is_missing(column).mean()) <= MAX_MISSING


def _missing_classes(classes: pa.Array, target: str, places: np.ndarray, cuts: dict[str, Any]) -> list[str]:
    """Return a note on classes that come in the training rows and not in the later ones, or the other way round."""
    held = [set(classes.filter(pa.array(places == place)).drop_null().unique().to_pylist()) for place in range(3)]
    notes = []
    for place, word in ((split.TRAIN, "before"), (split.TEST, "after")):
        if lacking := sorted(set.union(*held) - held[place]):
            cut = str(cuts["validate_from" if place == split.TRAIN else "test_from"]).removesuffix("T00:00:00.000000")
            notes.append(f"'{target}' is never {list_names(lacking)} {word} {cut}, where the split is")
    return notes


def _obstacle(line: Timeline) -> str:
    if len(line.key) > 1:
        return f"{list_names(line.key)} tell series apart only together; join them in one column"
    if line.is_series:
        known = "are the others known at the time of their row? if not, leave them out"
        return f"there are other columns beside; {known} (`drop_columns`) to predict from the target's past alone"
    return f"the steps of '{line.column}' differ, or each time comes for several rows"
