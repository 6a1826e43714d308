"""Stretches of a series: what a model sees never reaches into what it is to say."""

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare import windows


def series(values=range(8), years=None) -> pa.Table:
    values = list(values)
    return pa.table({"year": years or [2000 + i for i in range(len(values))], "v": pa.array(values, pa.float64())})


def test_history_comes_before_and_targets_from_the_row_on():
    found = windows.make_windows(series(), "year", "v", window=3, horizon=2)
    assert found["_time"].to_pylist() == [2003, 2004, 2005, 2006]
    assert found["history"].to_pylist()[0] == [0, 1, 2]
    assert found["v"].to_pylist() == [[3, 4], [4, 5], [5, 6], [6, 7]]
    assert found["_until"].to_pylist() == [2004, 2005, 2006, 2007]


def test_rows_in_any_order_make_the_same_examples():
    rows = series()
    stirred = rows.take([3, 1, 7, 0, 5, 2, 6, 4])
    one, other = (windows.make_windows(table, "year", "v", 3, 1) for table in (rows, stirred))
    assert one.drop_columns("_row").equals(other.drop_columns("_row"))
    assert stirred["year"].take(other["_row"]).to_pylist() == other["_time"].to_pylist()


def test_no_window_closes_over_an_unknown_value():
    found = windows.make_windows(series([0, 1, None, 3, 4, 5, 6]), "year", "v", 2, 1)
    assert found["history"].to_pylist() == [[0, 1], [3, 4], [4, 5]][1:]


def test_the_future_is_a_row_without_a_value():
    rows = series([0, 1, 2, 3, None])
    found = windows.make_windows(rows, "year", "v", 3, 2, targets=False)
    assert found.column_names == ["history", "_time", "_row"]
    assert found["_row"].to_pylist() == [3, 4]
    assert found["history"].to_pylist() == [[0, 1, 2], [1, 2, 3]]


def test_too_short_a_series_makes_none():
    assert windows.make_windows(series(range(3)), "year", "v", 3, 1).num_rows == 0
    assert windows.make_windows(series(range(0)), "year", "v", 3, 1).num_rows == 0


def test_text_as_it_comes_from_a_file():
    rows = pa.table({"day": [f"2024-01-0{i}" for i in range(1, 7)], "v": ["1", "2", "3", "4", "?", "6"]})
    found = windows.make_windows(rows, "day", "v", 2, 1)
    assert found["history"].to_pylist() == [[1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (series(years=[2000, 2000, *range(2001, 2007)]), "a time occurs twice"),
        (series(years=[2000, None, *range(2001, 2007)]), "a time is missing"),
        (series(years=["soon"] * 8), "not a time"),
        (series().rename_columns(["years", "v"]), "no column 'year'; did you mean 'years'"),
    ],
)
def test_series_that_cannot_be(table, says):
    with pytest.raises(DataError, match=says):
        windows.make_windows(table, "year", "v", 2, 1)


@pytest.mark.parametrize("window", [0, -3, 10**11])
def test_a_window_of_nothing_or_of_everything(window):
    with pytest.raises(DataError, match=f"window and horizon are not valid .got {window} "):
        windows.make_windows(series(), "year", "v", window, 1)


def test_unreadable_points_are_named_and_keep_their_place():
    rows = pa.table({"year": ["2000", "2001", "", "2003"], "v": ["1", "x", "3", "inf"]})
    points, faults = windows.drop_rows_without_time(rows, "year", "v")
    assert faults == {1: "v: not a number", 2: "year: missing", 3: "v: infinite"}
    assert points["v"].to_pylist() == [1.0, None, None]
