"""Columns that tell too much, or will not be there, are named; honest ones are not."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from evergreen.data.quality.leakage import (
    future_columns,
    target_from_missingness,
    target_predicting_columns,
    vanished_columns,
)

RANDOM = np.random.default_rng(0)
ROWS = 300


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_diabetes])
def test_honest_columns_raise_no_alarm(load):
    bunch = load()
    kind = "number" if load is load_diabetes else "category"
    columns = {str(name): pa.array(bunch.data[:, i]) for i, name in enumerate(bunch.feature_names)}
    table = pa.table({**columns, "y": pa.array(bunch.target if kind == "number" else bunch.target.astype(str))})
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    cut = 2 * len(table) // 3
    assert not list(target_predicting_columns(table[:cut], table[cut:], dict.fromkeys(columns, "number"), "y", kind))


@pytest.mark.parametrize("leak", ["a copy", "a curve", "a word"])
@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_column_that_is_the_answer_in_other_words_is_named(kind, leak):
    y = RANDOM.lognormal(size=ROWS) if kind == "number" else RANDOM.integers(0, 3, ROWS)
    told = {"a copy": y, "a curve": np.exp(-y), "a word": y}[leak]
    honest = y + RANDOM.normal(size=ROWS)
    of = "category" if leak == "a word" and kind == "category" else "number"
    x = pa.array([f"code {value}" for value in told]) if of == "category" else pa.array(told.astype(float))
    table = pa.table({"x": x, "honest": honest, "y": pa.array(y if kind == "number" else y.astype(str))})
    found = list(target_predicting_columns(table[:200], table[200:], {"x": of, "honest": "number"}, "y", kind))
    assert [leak.columns for leak in found] == [["x"]]
    assert "was it known when the prediction is needed?" in found[0].text


def test_a_value_that_only_one_class_has_is_named_and_one_that_is_often_missing_is_not():
    left = RANDOM.random(ROWS) < 0.4
    reason = [["price", "service"][i % 2] if gone and i % 5 else None for i, gone in enumerate(left)]
    blank = [None if RANDOM.random() < (0.3 if gone else 0.1) else 1.0 for gone in left]
    table = pa.table({"reason": reason, "blank": blank, "left": pa.array(np.where(left, "yes", "no"))})
    found = list(target_from_missingness(table, {"reason": "category", "blank": "number"}, "left"))
    assert [leak.columns for leak in found] == [["reason"]]
    assert "'reason' is given only where 'left' is 'yes'" in found[0].text


def test_a_column_that_dried_up_is_named():
    train = pa.table({"a": RANDOM.normal(size=ROWS), "b": ["x", "y"] * 150, "c": RANDOM.normal(size=ROWS)})
    blank, same = pa.array([None] * 50, pa.float64()), ["x"] * 50
    latest = pa.table({"a": blank, "b": same, "c": RANDOM.normal(size=50)})
    found = list(vanished_columns(train, latest, {"a": "number", "b": "category", "c": "number"}))
    assert [leak.columns for leak in found] == [["a"], ["b"]]


@pytest.mark.parametrize("written", [lambda moment: moment, datetime.datetime.isoformat])
def test_dates_after_the_rows_own_are_named(written):
    day = [datetime.datetime(2025, 1, 1) + datetime.timedelta(days=i) for i in range(40)]
    before, after = ([one + datetime.timedelta(days=by) for one in day] for by in (-3, 3))
    table = pa.table({"_time": [written(one) for one in day], "born": before, "closed": after})
    assert [leak.columns for leak in future_columns(table, "opened")] == [["closed"]]


def test_where_nearly_all_rows_are_of_one_class_a_value_that_comes_with_it_tells_nothing():
    fraud = np.arange(ROWS) == 7
    code = [None if row % 3 else "a" for row in range(ROWS)]
    table = pa.table({"code": code, "fraud": pa.array(np.where(fraud, "yes", "no"))})
    assert not list(target_from_missingness(table, {"code": "category"}, "fraud"))
