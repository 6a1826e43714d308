"""Whatever a request has for a value: its kind takes it, or says in a DataError what is wrong."""

import datetime
import random

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.graph_type import Graph, pack
from evergreen.data.kinds._images import encode_png

NUMBER = 600  # values of each kind
ROWS = 40
numbers = np.random.default_rng(0)
PICTURES = numbers.integers(0, 255, (ROWS, 12, 12, 3), dtype=np.uint8)
GRAPH = Graph(np.array([[1.0, 0], [3, 1]]), np.array([[0, 1]]), np.array([0.5]))
COLUMNS = {
    "number": ("number", pa.array(numbers.random(ROWS))),
    "category": ("category", pa.array(["red", "blue"] * 20)),
    "boolean": ("boolean", pa.array([True, False] * 20)),
    "moment": ("moment", pa.array([datetime.datetime(2020, 1, day) for day in range(1, 31)])),
    "picture": ("image", pa.array(map(encode_png, PICTURES))),
    "matrix": ("image", pa.FixedShapeTensorArray.from_numpy_ndarray(numbers.random((ROWS, 4, 4)))),
    "series": ("series", pa.array(numbers.random((ROWS, 6)).tolist(), pa.list_(pa.float64(), 6))),
    "text": ("text", pa.array(["a small bird sings now and then"] * ROWS)),
    "words": ("text", pa.array([["a", "b"], ["b", "c"]] * 20)),
    "labels": ("labels", pa.array([["x", "y"], ["z"]] * 20)),
    "sound": ("audio", pa.array([{"samples": np.sin(np.arange(999) / 9).tolist(), "rate": 8000}] * ROWS)),
    "graph": ("graph", pack([GRAPH] * ROWS)),
}
SCALARS = [
    *(None, True, False, 0, -1, 1, 10**30, -(10**4000), 2**31, 2**63, 2**64, 1e308, 5e-324, float("nan"), float("inf")),
    *("", "a", "\ud800", "\0", "1", "1e9", "NaN", "ä" * 50, "a" * 5000, "2020-01-01", "0000-00-00", "99999-01-01"),
    *("9999-12-31T23:59:59.999999999Z", "2020-02-30", "-1-1-1", "1" * 400, "data:,", "data:image/png;base64,", "AAAA"),
]
NAMES = ["samples", "rate", "nodes", "edges", "weights", "degree", "x", ""]


def any_value(chance, depth=3):
    """Any JSON value."""
    form = chance.randrange(4) if depth else 0
    if form == 1:
        return [any_value(chance, depth - 1) for _ in range(chance.choice([0, 1, 2, 6]))]
    if form == 2:
        return {chance.choice(NAMES): any_value(chance, depth - 1) for _ in range(chance.randrange(4))}
    if form == 3:
        return [chance.choice(SCALARS)] * chance.choice([4, 6, 999])
    return chance.choice(SCALARS)


def mutate(chance, value):
    """The value with something in it changed."""
    if isinstance(value, list) and value:
        place = chance.randrange(len(value))
        inner = mutate(chance, value[place]) if chance.random() < 0.6 else any_value(chance, 2)
        return [*value[:place], inner, *value[place + chance.randrange(1, 3) :]]
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        return {**value, name: mutate(chance, value[name]) if chance.random() < 0.6 else any_value(chance, 2)}
    if isinstance(value, str) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return (
            value[:place]
            + chance.choice(["", "a", "=", "\ud800", "99999", "\0"])
            + value[place + chance.randrange(3) :]
        )
    return any_value(chance)


def test_every_kind_that_a_request_may_have_is_here():
    targets = {"boxes", "mask", "tags"}
    others = {"seed", "tokens"}  # a whole number; text whose tokenizer comes from elsewhere
    assert {kind for kind, _ in COLUMNS.values()} | targets | others == set(kinds.names())


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_is_taken_or_refused_in_words(name):
    kind, (column, faults) = kinds.find(COLUMNS[name][0]), kinds.find(COLUMNS[name][0]).validate(COLUMNS[name][1])
    assert not faults
    field, chance, taken = kind.fit({"x": column}), random.Random(1), 0
    refusals = []
    example = kind.to_json(field, 0, column[0])
    for _ in range(NUMBER):
        value = mutate(chance, example) if chance.random() < 0.6 else any_value(chance)
        try:
            array, faults = kind.validate_encoded(kind.to_arrow(field, [kind.from_json(field, 0, value)]))
            if not faults:
                assert len(kind.encode(field, [array])) == 1
                taken += 1
        except DataError as error:
            refusals.append(str(error))
    assert taken
    assert refusals
    assert [refusal for refusal in refusals if "\n" in refusal] == []
