"""Columns that are known only after the target are asked about, and hardly any others."""

import datetime as dt
import json
import random

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare import suggest

N = 300
draw = random.Random(7)


def delays(late: float = 9) -> pa.Table:
    rows = []
    for _ in range(N):
        planned, delay, minutes = draw.randint(300, 1300), draw.randint(-5, 60), draw.randint(40, 300)
        arrived = planned + delay + minutes
        rows.append((planned, planned + delay, minutes, arrived, delay + draw.randint(-int(late), int(late))))
    return table("planned departed minutes_in_air arrived arrival_delay", rows)


def table(names: str, rows: list) -> pa.Table:
    return pa.table(dict(zip(names.split(), map(list, zip(*rows, strict=True)), strict=True)))


def noise(k: int) -> list[float]:
    return [draw.gauss(0, 1) * k for _ in range(N)]


def trips() -> pa.Table:
    start = [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=draw.randint(0, 90_000)) for _ in range(N)]
    took = [draw.randint(3, 90) for _ in range(N)]
    ends = [one + dt.timedelta(minutes=minutes) for one, minutes in zip(start, took, strict=True)]
    return pa.table(
        {"pickup": start, "dropoff": ends, "riders": [draw.randint(1, 4) for _ in range(N)], "minutes": took}
    )


def taxis() -> pa.Table:
    fare, tip = noise(9), noise(5)
    return pa.table({"fare": fare, "tip": tip, "km": noise(2), "paid": [a + b for a, b in zip(fare, tip, strict=True)]})


def orders() -> pa.Table:
    price, quantity = ([round(draw.uniform(1, 90), 2) for _ in range(N)] for _ in range(2))
    paid = [round(a * b, 2) for a, b in zip(price, quantity, strict=True)]
    return pa.table({"price": price, "quantity": quantity, "km": noise(2), "paid": paid})


def boats() -> pa.Table:
    survived = labels("yes", "no")
    boat = [draw.choice("ABC") if one == "yes" else None for one in survived]
    return pa.table({"age": noise(9), "boat": boat, "survived": survived})


def labels(*words: str) -> list[str]:
    return [draw.choice(words) for _ in range(N)]


FLIGHTS = {"sched_arr_time": noise(9), "arr_time": noise(9), "air_time": noise(3), "carrier": labels("AA", "UA")}
CAPITALS = {"CRSArrTime": noise(9), "ArrTime": noise(9), "Origin": labels("A", "B"), "ArrDelay": noise(7)}
REASONS = {"age": noise(5), "churn_reason": labels("price", "move", "none"), "churned": labels("yes", "no")}
LATE = {
    "what adds up": (delays(), "arrival_delay", ["departed", "minutes_in_air", "arrived"]),
    "under much noise": (delays(40), "arrival_delay", ["departed", "minutes_in_air", "arrived"]),
    "named alike": (pa.table({**FLIGHTS, "arr_delay": noise(7)}), "arr_delay", ["arr_time", "air_time"]),
    "in capitals": (pa.table(CAPITALS), "ArrDelay", ["ArrTime"]),
    "a reason": (pa.table(REASONS), "churned", ["churn_reason"]),
    "two times": (trips(), "minutes", ["dropoff"]),
    "a sum": (taxis(), "paid", ["fare", "tip"]),
    "a product": (orders(), "paid", ["price", "quantity"]),
    "given for one class": (boats(), "survived", ["boat"]),
}


@pytest.mark.parametrize("case", LATE)
def test_columns_known_afterwards_are_asked_about(case):
    rows, target, late = LATE[case]
    found = suggest.suggest_pipeline(rows, target)
    assert found.get("late", []) == late
    asked = [doubt for doubt in found["unsure"] if "known when the model is asked" in doubt]
    assert len(asked) == bool(late)
    assert not late or f"`drop_columns: {json.dumps(late)}`" in asked[0]


def test_numbers_written_as_text_are_no_times():
    rows = delays()
    found = suggest.suggest_pipeline(
        rows.cast(pa.schema([(name, pa.string()) for name in rows.column_names])), "arrival_delay"
    )
    assert found["late"] == ["departed", "minutes_in_air", "arrived"]
    assert found["notes"] == []


SHIPPED = (
    *(("sklearn:breast_cancer", "diagnosis"), ("sklearn:wine", "cultivar"), ("sklearn:diabetes", "progression")),
    *(("statsmodels:sunspots", "activity"), ("digits:eight", "eight")),
)


@pytest.mark.parametrize(("uri", "target"), SHIPPED)
def test_nothing_is_asked_about_shipped_data(uri, target, tmp_path):
    from evergreen.data.sources import open_source

    rows = pa.Table.from_batches(list(open_source(uri, tmp_path).read()))
    found = suggest.suggest_pipeline(rows, target)
    assert "late" not in found


HARMLESS = {
    "a domain in each name": (["loan_amount", "loan_term", "loan_grade", "loan_purpose"], "loan_status"),
    "a measure in each name": (["med_income", "house_age", "ave_rooms"], "med_house_val"),
    "what was before": (["sales_last_week", "previous_sales", "weekday"], "sales"),
    "items of a list": (["rotate.3", "rotate.4", "x"], "rotate.8"),
    "a grade": (["sale_type", "sale_condition", "lot_area"], "sale_price"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_names_that_say_little_are_not_asked_about(case):
    names, target = HARMLESS[case]
    found = suggest.suggest_pipeline(pa.table({**{name: noise(3) for name in names}, target: noise(2)}), target)
    assert "late" not in found


def test_a_column_that_is_the_target_is_asked_about():
    value = noise(3)
    rows = pa.table({"x": noise(1), "copy": [2 * one + 1 for one in value], "y": value})
    assert suggest.suggest_pipeline(rows, "y")["late"] == ["copy"]


def test_a_rare_class_and_classes_of_few_rows_are_told():
    rows = pa.table({"x": noise(1), "y": ["no"] * 277 + ["yes"] * 13 + ["perhaps"] * 9 + ["who"]})
    told = suggest.suggest_pipeline(rows, "y")["unsure"]
    assert any("'y' has classes of few rows, 'perhaps' (9), 'who' (1)" in doubt for doubt in told)
    assert any("'yes' is 4.3% of 'y'" in doubt and "class_weights: balanced" in doubt for doubt in told)
    even = pa.table({"x": noise(1), "y": ["no", "yes", "maybe"] * 100})
    assert suggest.suggest_pipeline(even, "y")["unsure"] == []


def test_a_skewed_target_is_told_and_a_log_scale_proposed():
    skewed = [2.718 ** (3 * one) for one in noise(1)]
    told = suggest.suggest_pipeline(pa.table({"x": noise(1), "cost": skewed}), "cost")["unsure"]
    assert any("'cost' is skewed" in doubt and "`transform: log`" in doubt for doubt in told)
    assert suggest.suggest_pipeline(pa.table({"x": noise(1), "cost": noise(3)}), "cost")["unsure"] == []


@pytest.mark.slow
def test_two_thousand_columns_make_a_line_or_two():
    wide = {f"g{k}": [draw.randint(0, 2 + k % 4) for _ in range(40)] for k in range(2000)}
    empty = {f"e{k}": pa.nulls(40) for k in range(30)}
    found = suggest.suggest_pipeline(pa.table({**wide, **empty, "y": ["a", "b"] * 20}), "y")
    assert len(found["unsure"]) == 1
    assert "likewise 'g1', 'g2', 'g3', 1,996 more" in found["unsure"][0]
    assert len(found["notes"]) == 1
    assert "column 'e0' is left out: it is empty" in found["notes"][0]


def test_a_missing_target_is_an_error():
    with pytest.raises(DataError, match="--target: there is no column 'z'"):
        suggest.suggest_pipeline(pa.table({"x": [1], "y": [2]}), "z")
