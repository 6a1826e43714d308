"""Dates and times: however they are written the same moment is read, and what is no moment is set aside."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.field import TensorField
from evergreen.data.fitting import fit
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.table_reader import TableReader
from evergreen.models.registry import buildable

MOMENT = kinds.find("moment")
NOON = "2024-01-31T12:00:00Z"


def said(column: pa.Array) -> list[str | None]:
    field = TensorField("number", ("t",), (1,), "float32", {}, "moment")
    return [MOMENT.to_json(field, 0, value) for value in column]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("iso", "2024-01-31T12:00"),
        ("iso", " 2024-01-31 12:00:00.000000000 "),
        ("iso+zone", "2024-01-31T13:00:00+01:00"),
        ("iso+zone", "2024-01-31 06:30:00 -0530"),
        ("%d.%m.%Y %H:%M", "31.1.2024 12:00"),
        ("%m/%d/%Y %I:%M %p", "01/31/2024 12:00 PM"),
        ("%d %b %Y %H:%M:%S", "31 January 2024 12:00:00"),
        ("%a, %d %b %Y %H:%M:%S %z", "Wed, 31 Jan 2024 13:00:00 +0100"),
        ("%y%m%d-%H%M", "240131-1200"),
    ],
)
def test_one_moment_in_many_forms(form, text):
    column, faults = dates.parse_datetimes(pa.array([text, None, "", "soon"]), form)
    assert said(column) == [NOON, None, None, None]
    assert faults == {3: f"not a time written as {form}"}
    if form in dates.COMMON:
        assert dates.detect_format(pa.array([text] * 3)) == form


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("iso", "2024-02-30"),
        ("iso", "2024-01-31T24:00"),
        ("iso", "2024-01-31T12:00Z"),
        ("iso", "0000-01-01"),
        ("iso+zone", "2024-01-31T12:00"),
        ("%d.%m.%Y", "31.02.2024"),
        ("%d.%m.%Y", "2024-01-31"),
        ("%d/%m/%Y", "01/31/2024"),
        ("%b %d, %Y", "Winter 5, 2024"),
        ("%I:%M %p %d.%m.%Y", "13:00 PM 31.01.2024"),
    ],
)
def test_what_is_no_time_is_a_fault(form, text):
    column, faults = dates.parse_datetimes(pa.array([text]), form)
    assert (column.null_count, list(faults)) == (1, [0])


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        (pa.array([1706702400]), "s"),
        (pa.array([1706702400000.0]), "ms"),
        (pa.array(["1706702400"]), "s"),
        (pa.array([19753.5]), "d"),
        (pa.array([1706702400 * 10**9], pa.timestamp("ns")), ""),
        (pa.array([1706702400], pa.timestamp("s", "Asia/Tokyo")), ""),
    ],
)
def test_arrows_own_times_and_numbers_since_1970(column, unit):
    assert said(dates.parse_datetimes(column, unit=unit)[0]) == [NOON]


def test_numbers_are_no_times_unless_the_unit_is_said_and_none_is_beyond_the_calendar():
    assert "set `unit`" in dates.parse_datetimes(pa.array([1706702400]))[1][0]
    assert dates.parse_datetimes(pa.array([1e18, 0.0]), unit="s")[1] == {0: dates.BEYOND}
    assert dates.parse_datetimes(pa.array([2**40, 0], pa.timestamp("s")))[1] == {0: dates.BEYOND}
    assert said(dates.parse_datetimes(pa.array([-1], pa.date32()))[0]) == ["1969-12-31T00:00:00Z"]


def test_times_without_a_zone_are_those_of_the_column():
    text = pa.array(["2024-07-01T00:00", "2024-07-01T00:00Z", "2024-03-31 02:30"])
    column, faults = dates.parse_datetimes(text, "iso", zone="Europe/Berlin")
    assert (said(column)[:2], faults) == (["2024-06-30T22:00:00Z", "2024-07-01T00:00:00Z"], {})
    with pytest.raises(DataError, match="'Mars' is not a time zone"):
        dates.parse_datetimes(text, "iso", zone="Mars")


def test_a_form_that_may_be_read_two_ways_is_not_guessed():
    days = pa.array([f"{month:02}/{month:02}/2024" for month in range(1, 13)])
    assert dates.matching_formats(days) == ["%d/%m/%Y", "%m/%d/%Y"]
    assert MOMENT.detect(days) == 0
    assert MOMENT.detect(pa.concat_arrays([days, pa.array(["31/01/2024"])])) > 0.9
    with pytest.raises(DataError, match="may be %d/%m/%Y or %m/%d/%Y"):
        MOMENT.infer_options(days, {})
    assert MOMENT.infer_options(days, {"format": "%m/%d/%Y"}) == {"format": "%m/%d/%Y"}
    for other in (["2024", "2025"], ["20240131"], ["in 2024 we met"], ["12:00"], ["3.1416"]):
        assert MOMENT.detect(pa.array(other)) == 0


def test_a_minority_in_another_form_is_set_aside():
    days = [f"2024-01-{day:02}" for day in range(1, 29)] + ["01.02.2024"]
    assert MOMENT.infer_options(pa.array(days[-3:]), {}) == {"format": "iso"}, "what most are, where the kind is said"
    column, faults = MOMENT.validate(pa.array(days))
    assert (column.null_count, faults) == (1, {28: "not a time written as iso"})


def test_cycles_that_training_rows_do_not_go_round_are_left_out():
    hours = pa.array([f"2024-01-01T{hour:02}:00" for hour in range(24)] + ["2024-01-05T10:00"])
    field = MOMENT.fit({"t": MOMENT.validate(hours)[0]})
    assert (field.state["cycles"], field.shape, field.kind, field.encoder) == (["hour"], (3,), "number", "moment")
    encoded = MOMENT.encode(field, [MOMENT.validate(pa.array(["2024-06-01T06:00", "2024-06-01T18:00"]))[0]])
    np.testing.assert_allclose(encoded[:, 1:], [[1, 0], [-1, 0]], atol=1e-6)
    years = MOMENT.validate(pa.array(["2020-01-01", "2022-07-02T12:00", "2024-12-31", None]))[0]
    field = MOMENT.fit({"t": years})
    assert field.state["cycles"] == ["hour", "weekday", "day", "month", "year"]
    assert field.shape == (1 + 2 * 5 + 1,)
    encoded = MOMENT.encode(field, [years])
    assert encoded[3].tolist() == [encoded[3, 0], *[0.0] * 10, 1.0]
    assert np.isfinite(encoded).all()
    whole = MOMENT.fit({"t": years.drop_null()})
    lacking = replace(whole, state={**whole.state, "missing": [True]})  # a row that the fit did not see lacks it
    assert MOMENT.encode(lacking, [years]).shape == (4, *whole.shape)
    assert MOMENT.fit({"t": years}, cycles=["weekday"]).shape == (4,)
    with pytest.raises(DataError, match="'moon' is not a cycle"):
        MOMENT.fit({"t": years}, cycles=["moon"])


def test_the_hour_is_that_of_the_zone():
    zoned = MOMENT.with_options({"zone": "Asia/Tokyo"})
    column, _ = zoned.validate(pa.array(["2024-01-01T09:00", "2024-01-02T00:00", "2024-01-03T09:00"]))
    field = zoned.fit({"t": column}, zone="Asia/Tokyo", cycles=["hour"])
    midnight = zoned.encode(field, [column])[1]
    np.testing.assert_allclose(midnight[1:], [0, 1], atol=1e-6)


@pytest.mark.parametrize("wrong", ["soon", "2024-02-30", "", 3, True, ["2024-01-31"], "\ud800"])
def test_a_request_says_a_time(wrong):
    field = MOMENT.fit({"t": MOMENT.validate(pa.array(["2024-01-01", "2024-01-09"]))[0]})
    assert MOMENT.from_json(field, 0, "2024-01-31T13:00+01:00") == MOMENT.from_json(field, 0, "2024-01-31 12:00")
    with pytest.raises(DataError, match=r"^is ") as error:
        MOMENT.from_json(field, 0, wrong)
    assert error.value.fix
    counted = MOMENT.with_options({"unit": "s"})
    assert counted.from_json(field, 0, 1706702400) == counted.from_json(field, 0, NOON)


def test_dates_of_a_table_are_inputs_that_any_network_for_numbers_takes():
    days = [f"{1 + i % 28:02}.{1 + i % 12:02}.2024" for i in range(100)]
    raw = {"due": days, "x": [float(i) for i in range(100)], "y": ["a", "b"] * 50}
    table = pa.table(raw | {"_origin": [str(i) for i in range(100)]})
    found = TableReader.from_sample(table, ["category"], PreprocessConfig(target="y"))
    assert found.schema.inputs == {"due": "moment", "x": "number"}
    assert found.schema.options["due"]["format"] == "%d.%m.%Y"
    inputs, _ = fit(
        found.prepare(table).split_rows("train"), found.schema.inputs, "y", "category", options=found.schema.options
    )
    assert {name: field.kind for name, field in inputs.items()} == {"due": "number", "number": "number"}
    assert TensorField.from_json(json.loads(json.dumps(inputs["due"].to_json()))) == inputs["due"]
    assert {"linear", "mlp", "ft_transformer"} <= set(buildable(inputs, "classification"))
    split = TableReader.from_sample(table, ["category"], PreprocessConfig(target="y", time="due"))
    assert split.schema.inputs == {"x": "number"}, "the time that splits is no input"
