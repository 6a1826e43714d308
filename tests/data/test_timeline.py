"""A series is recognised as one though it is not perfect, and what is irregular about it is said."""

import datetime as dt
import math
import random

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare import suggest
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.series_reader import SeriesReader
from evergreen.data.prepare.timeline import find_timeline, name_words

DRAW = random.Random(1)
DAYS = [dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in range(400)]
HOURS = [dt.datetime(2023, 1, 1) + dt.timedelta(hours=i) for i in range(24 * 360)]


def sales(days, **columns) -> pa.Table:
    values = [round(100 + 20 * math.sin(i / 7 * 6.283) + i * 37 % 11, 1) for i in range(len(days))]
    return pa.table({"day": days, **columns, "sales": values, "_origin": [f"t#{i}" for i in range(len(days))]})


def several(*names: str, key: str = "shop") -> pa.Table:
    days = [day for day in DAYS for _ in names]
    return sales(days, **{key: list(names) * len(DAYS)})


LOCAL = [hour for hour in HOURS if hour != dt.datetime(2023, 3, 26, 2)]
LOCAL.insert(LOCAL.index(dt.datetime(2023, 10, 29, 2)), dt.datetime(2023, 10, 29, 2))
OFFICE = [hour + dt.timedelta(minutes=k) for hour in HOURS[:2400] if 8 <= hour.hour < 18 for k in (0, 15, 30, 45)]
HALVES = [dt.datetime(2023, 1, 1) + dt.timedelta(minutes=30 * i) for i in range(8640)]
HALVES = [time for time in HALVES if not dt.datetime(2023, 3, 26, 2) <= time < dt.datetime(2023, 3, 26, 3)]
UNIX = [1_600_000_000 + 3600 * i for i in range(400)]
SERIES = {
    "even": (sales(DAYS), {}, []),
    "a gap": (sales([*DAYS[:155], *DAYS[156:]]), {}, ["1 of 400 days is missing, the first after 2023-06-04"]),
    "gaps": (
        sales([*DAYS[:9], *DAYS[11:300], *DAYS[301:]]),
        {},
        ["3 of 400 days are missing, the first after"],
    ),
    "a day twice": (sales(sorted([*DAYS, DAYS[50]])), {}, ["1 day comes twice, such as 2023-02-20"]),
    "newest first": (sales(DAYS[::-1]), {}, ["rows are newest first"]),
    "shuffled": (sales(sorted(DAYS, key=lambda day: day.day)), {}, ["rows are not in order of 'day'"]),
    "workdays": (sales([day for day in DAYS if day.weekday() < 5]), {}, ["no Saturday or Sunday"]),
    "no Sundays": (sales([day for day in DAYS if day.weekday() < 6]), {}, ["no Sunday:"]),
    "Mondays, Wednesdays, Fridays": (sales([day for day in DAYS if day.weekday() in (0, 2, 4)]), {}, ["no Tuesday or"]),
    "uneven days": (sales([day for day in DAYS if DRAW.random() < 0.5]), {}, ["the steps of 'day' differ"]),
    "half hours in spring": (sales(HALVES), {}, ["2 of 8,640 steps are missing", "the clock changes there"]),
    "a column": (sales(DAYS, promo=[int(i % 9 == 0) for i in range(400)]), {"covariates": ["promo"]}, []),
    "a column of words": (sales(DAYS, note=["sun", "rain"] * 200), {"covariates": []}, ["'note': not used"]),
    "an identifier": (sales(DAYS, row_id=list(range(7, 407))), {"covariates": []}, []),
    "shops": (several("north", "south"), {"series_column": "shop"}, []),
    "shops by number": (several(1, 2, 3), {"series_column": "shop"}, []),
    "local hours": (sales(LOCAL), {}, ["1 of 8,640 hours is missing", "1 hour comes twice", "the clock changes there"]),
    "text": (sales([f"{day:%d.%m.%Y}" for day in DAYS]), {}, []),
    "numbers of days": (sales([int(f"{day:%Y%m%d}") for day in DAYS]), {}, []),
    "seconds since 1970": (sales(UNIX), {"window": 48}, []),
    "quarters of an hour by day": (sales(OFFICE), {}, ["'day' pauses"]),
    "months by number": (sales([(1990 + i // 12) * 100 + i % 12 + 1 for i in range(120)]), {"window": 20}, []),
    "months": (sales([dt.date(1990 + i // 12, i % 12 + 1, 1) for i in range(120)]), {"window": 20}, []),
}


@pytest.mark.parametrize("case", SERIES)
def test_a_series_is_recognised(case):
    table, wanted, words = SERIES[case]
    found = suggest.suggest_pipeline(table, "sales")
    assert (found["task"], found["time"]) == ("forecasting", "day")
    assert {name: found[name] for name in wanted} == wanted
    *notes, last = found["notes"]
    assert "rows are ordered by 'day'" in last
    assert all(word in "\n".join(notes) for word in words), notes
    assert len(notes) == len(words) - ("the clock changes there" in words), notes


@pytest.mark.parametrize("case", ["a day twice", "newest first", "shops by number", "local hours"])
def test_what_is_proposed_can_be_prepared(case):
    table, _, _ = SERIES[case]
    found = suggest.suggest_pipeline(table, "sales")
    named = {name: found[name] for name in ("time", "series_column", "covariates", "window")}
    rows = SeriesReader(PreprocessConfig(target="sales", **named), "series").prepare(table)
    reasons = rows.quarantine.column("reason").to_pylist()
    assert len(rows.table) > 300
    assert [reason for reason in reasons if "second time" in reason] == ["day: comes a second time"] * (
        case in ("a day twice", "local hours")
    )


def weather(**columns) -> pa.Table:
    rows = {"date": DAYS, "rain": [i * 7 % 13 / 2 for i in range(400)], **columns}
    return pa.table({**rows, "sky": [["sun", "fog", "rain"][i * i % 7 % 3] for i in range(400)]})


def test_a_row_a_day_is_split_by_time():
    found = suggest.suggest_pipeline(weather(), "sky")
    assert (found["task"], found["preprocess"]) == ("classification", {"time": "date"})
    assert "date" not in found["kinds"]
    assert "the latest rows by 'date' test" in found["notes"][0]


def test_many_columns_beside_a_series_are_used_and_the_split_is_by_time():
    columns = {f"c{i}": [float(k * (i + 3) % 17) for k in range(400)] for i in range(5)}
    found = suggest.suggest_pipeline(sales(DAYS, **columns), "sales")
    assert (found["task"], found["preprocess"]) == ("regression", {"time": "day"})
    assert "no forecast is proposed: there are other columns beside" in "\n".join(found["notes"])


def test_rows_in_order_of_uneven_times_are_split_by_time():
    moments = [dt.datetime(2023, 1, 1) + dt.timedelta(minutes=i * i % 977 + 60 * i) for i in range(300)]
    table = pa.table(
        {"seen": sorted(moments), "size": [i * 7 % 31 for i in range(300)], "price": [i * 1.7 % 9 for i in range(300)]}
    )
    found = suggest.suggest_pipeline(table, "price")
    assert (found["task"], found["preprocess"]) == ("regression", {"time": "seen"})
    assert "no forecast is proposed: the steps of 'seen' differ" in "\n".join(found["notes"])
    found = suggest.suggest_pipeline(table.take(pa.array([i * 7 % 300 for i in range(300)])), "price")
    assert "preprocess" not in found
    assert "rows are drawn at random; to test on the latest, as in use: `time: seen`" in found["notes"][0]


def test_two_columns_that_name_a_series_together_are_told():
    keys = [(shop, item) for shop in "ab" for item in "uvw"]
    table = sales([day for day in DAYS for _ in keys], shop=[s for s, _ in keys] * 400, item=[i for _, i in keys] * 400)
    found = suggest.suggest_pipeline(table, "sales")
    assert (found["task"], found["preprocess"]) == ("regression", {"time": "day"})
    assert "'shop', 'item' tell series apart only together" in "\n".join(found["notes"])


def test_numbers_in_order_may_be_a_duration_and_are_told():
    table = pa.table(
        {"time": [i * i for i in range(99)], "x": [i % 7 / 2 for i in range(99)], "y": ["a", "b", "b"] * 33}
    )
    found = suggest.suggest_pipeline(table, "y")
    assert "preprocess" not in found
    assert "rows are drawn at random; to test on the latest, as in use: `time: time`" in found["notes"][0]


@pytest.mark.parametrize(("n_values", "task"), [(2, "classification"), (4, "classification"), (15, "forecasting")])
def test_counts_are_forecast_and_codes_are_not(n_values, task):
    counts = [i * i % 37 % n_values for i in range(400)]
    found = suggest.suggest_pipeline(
        pa.table({"day": DAYS, "promo": [i % 9 / 2 for i in range(400)], "y": counts}), "y"
    )
    assert found["task"] == task
    assert found["time"] or found["preprocess"] == {"time": "day"}


def test_rows_with_two_times_are_events_and_no_series():
    left = [day + dt.timedelta(days=1 + i % 9) for i, day in enumerate(DAYS)]
    found = suggest.suggest_pipeline(sales(DAYS, left=left, age=[i * 7 % 60 for i in range(400)]), "sales")
    assert (found["task"], found["preprocess"], found["late"]) == ("regression", {"time": "day"}, ["left"])


def test_an_hour_beside_a_date_is_no_series_of_its_own():
    hours = HOURS[: 24 * 60]
    columns = {"dteday": [f"{hour:%Y-%m-%d}" for hour in hours], "hr": [hour.hour for hour in hours]}
    columns |= {"temp": [i * 7 % 31 / 2 for i in range(len(hours))], "cnt": [i * 1.7 % 97 for i in range(len(hours))]}
    found = suggest.suggest_pipeline(pa.table(columns), "cnt")
    assert (found["task"], found["preprocess"]) == ("regression", {"time": "dteday"})


def test_lists_beside_a_series_are_no_obstacle():
    table = sales(DAYS, shape=[[1.0, 2.0]] * 400)
    assert suggest.suggest_pipeline(table, "sales")["task"] == "forecasting"


def test_a_date_in_parts_is_told():
    parts = {"year": [1990 + i // 12 for i in range(240)], "month": [i % 12 + 1 for i in range(240)]}
    found = suggest.suggest_pipeline(pa.table({**parts, "y": [i * 1.7 % 9 for i in range(240)]}), "y")
    assert "no column orders the rows in time; 'year', 'month' may tell when a row was: join them" in found["unsure"][0]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("{0:02}/{1:02}/20{2}", "'day' is %d/%m/%Y or %m/%d/%Y: write"),
        ("week {0}, 20{2} no. {1}", "'day' may hold times, and 'week 1, 2010 no. 1' is not read as one"),
    ],
)
def test_times_that_cannot_be_read_are_asked_about(form, says):
    days = [form.format(1 + i % 12, 1 + i // 12 % 12, 10 + i // 144) for i in range(400)]
    found = suggest.suggest_pipeline(sales(days, promo=[i % 9 / 2 for i in range(400)]), "sales")
    assert found["task"] == "regression"
    assert f"no column orders the rows in time; {says}" in found["unsure"][0]
    with pytest.raises(DataError, match="no input column is left; no column orders the rows in time"):
        suggest.suggest_pipeline(sales(days), "sales")


def test_rows_of_one_patient_are_asked_about():
    table = pa.table({"patient_id": [i * i % 61 for i in range(300)], "bp": [i * 1.7 % 9 for i in range(300)]})
    table = table.append_column("ill", [["yes", "no"] * 150])
    assert (
        "several rows have one 'patient_id': `group: patient_id`" in suggest.suggest_pipeline(table, "ill")["unsure"][0]
    )


def test_a_class_that_comes_late_is_told():
    table = weather().set_column(2, "sky", [["sun"] * 250 + ["fog"] * 50 + ["sun", "snow"] * 50])
    said = "\n".join(suggest.suggest_pipeline(table, "sky")["notes"])
    assert "'sky' is never 'fog', 'snow' before 2023-08-29" in said
    assert "'sky' is never 'fog' after 2023-11-17" in said


@pytest.mark.parametrize(
    "columns",
    [
        {"size": list(range(5000, 5400, 1))},  # even, but nobody calls it a time
        {"age": [20 + i * 7 % 60 for i in range(400)]},
        {"year_built": [1900 + i * i % 120 for i in range(400)]},
        {"total_day_minutes": [i * 37 % 301 / 3 for i in range(400)]},
        {"model_year": sorted(70 + i % 13 for i in range(400))},
    ],
)
def test_what_is_no_time_is_not_taken_for_one(columns):
    table = pa.table({**columns, "x": [i * 3 % 7 / 2 for i in range(400)], "y": [i * 1.7 % 9 for i in range(400)]})
    found = suggest.suggest_pipeline(table, "y")
    assert (found["task"], found["time"], "preprocess" in found) == ("regression", "", False)


def test_one_unreadable_time_does_not_hide_a_series():
    days = [day.isoformat() for day in DAYS]
    days[7] = "unknown"
    line = find_timeline(sales(days), ["day"])
    assert line is not None
    assert line.is_series


@pytest.mark.parametrize(
    ("name", "words"),
    [("ArrTime", "arr time"), ("arr_time", "arr time"), ("CRSArrTime", "crs arr time"), ("Größe in m", "größe in m")],
)
def test_names_are_taken_apart(name, words):
    assert name_words(name) == words.split()
