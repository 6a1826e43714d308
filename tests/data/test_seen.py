"""What columns held, in any pieces and order, and which differences from before are told."""

import random

import pyarrow as pa
import pytest

from evergreen.data.quality import profile

KINDS = {"age": "number", "plan": "category"}


def table(ages=range(91), plans=("basic", "pro")) -> pa.Table:
    ages = [None if age is None else float(age) for age in ages]
    return pa.table({"age": ages, "plan": [plans[row % len(plans)] for row in range(len(ages))]})


def told(before: pa.Table, now: pa.Table, kinds=KINDS, aside=(0, 0)) -> list[str]:
    return profile.describe_changes(
        profile.to_json(profile.profile_columns(before, KINDS), aside[0]),
        profile.to_json(profile.profile_columns(now, kinds), aside[1]),
    )


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        (table(range(121)), ["column 'age': the largest value went from 90 to 120"]),
        (table(range(-30, 91)), ["column 'age': the smallest value went from 0 to -30"]),
        (table([*range(91), 98]), []),  # a tenth of the range there was is nothing to tell
        (table([age / 10 for age in range(91)]), ["column 'age': its range went from 0 … 90 to 0 … 9"]),
        (table(range(80, 91)), []),  # few rows have a small range
        (
            table([*range(91), *[None] * 12]),
            ["column 'age': the fraction of missing values went from 0 to 11.7%"],
        ),
        (
            table(plans=["basic", "pro", *["basic"] * 30, "gold"]),
            ["column 'plan': new value 'gold' (2.2% of rows)"],
        ),
        (
            table([90] * 150 + list(range(91)), plans=[*["basic", "pro"] * 100, "gold"]),
            [],
        ),  # less than one in a hundred
        (
            table(plans=["basic"]),
            ["column 'plan': the value 'pro' is gone (it was in 49.5% of rows)"],
        ),
    ],
)
def test_a_change_is_told_in_words_and_chance_is_not(now, changes):
    assert told(table(), now) == changes


def test_columns_kinds_and_rows_set_aside():
    now = pa.table({"age": ["a", "b"], "city": ["x", "y"]})
    assert told(table(), now, {"age": "category", "city": "text"}, (0, 1)) == [
        "new column 'city', a text",
        "column 'plan' is gone",
        "column 'age': its kind is category now, and was number",
        "the fraction of quarantined rows went from 0 to 33.3%",
    ]


def test_only_the_first_changes_are_told():
    names = [f"c{number}" for number in range(30)]
    now = pa.table({**{name: ["x"] for name in names}, "age": [1.0], "plan": ["basic"]})
    changes = told(table(), now, {**dict.fromkeys(names, "text"), **KINDS})
    assert (len(changes), changes[-1]) == (21, "11 more changes")


def test_pieces_in_any_order_are_the_whole():
    random.seed(0)
    whole = table([random.choice([1, 2.5, None, float("inf")]) for _ in range(100)])
    pieces = [profile.profile_columns(whole.slice(start, 7), KINDS) for start in range(0, 100, 7)]
    random.shuffle(pieces)
    assert profile.merge_profiles(pieces) == profile.profile_columns(whole, KINDS)
    many = table(plans=[str(number) for number in range(91)])
    more = table(range(1000), plans=[f"x{number}" for number in range(1000)])
    assert (
        profile.merge_profiles([profile.profile_columns(many, KINDS), profile.profile_columns(more, KINDS)])[
            "plan"
        ].values
        is None
    )


def test_what_a_series_held():
    column = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 5.0, 2.0, 3.0]), 2)
    found = profile.profile_columns(pa.table({"y": column}), {"y": "series"})["y"]
    assert (found.low, found.high, found.rows) == (1.0, 5.0, 2)
