"""What training rows did not have is answered and counted, column by column, in the words of each kind."""

import json

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.fitting import fit
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.spec import FeatureSpec
from evergreen.data.unusual_values import UnusualValues

KINDS = {"plan": "category", "branch": "category", "months": "number", "paid": "boolean", "since": "moment"}
COLUMNS = {
    "plan": ["basic", "pro", "team", "pro"] * 5,
    "branch": pa.array([1, 2, 2, 3] * 5),
    "months": pa.array([1.0, 2.0, 3.0, 59.0] * 5),
    "paid": pa.array([True, True, False, True] * 5),
    "since": [f"2024-01-{day:02d}" for day in range(1, 21)],
}
FAMILIAR = {"plan": "pro", "branch": 2, "months": 2.0, "paid": True, "since": "2024-01-09"}
EARLIER = ("low", "high", "commonest", "rare")  # what the states of the first releases lack


def make_spec(**columns):
    given = {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    read = {name: kinds.find(KINDS[name]).validate(column)[0] for name, column in given.items()}
    table = pa.table({**read, "left": ["yes", "no"] * (len(next(iter(read.values()))) // 2)})
    inputs, target = fit(table, {name: KINDS[name] for name in columns}, "left", "category")
    return FeatureSpec("classification", inputs, target, "left", None, {})


@pytest.fixture(scope="module")
def spec():
    return make_spec(**COLUMNS)


@pytest.fixture(scope="module")
def earlier(spec):
    """The same, as an earlier release stored it."""
    value = json.loads(json.dumps(spec.to_json()))
    for field in value["inputs"].values():
        field["state"] = {name: state for name, state in field["state"].items() if name not in EARLIER}
    return FeatureSpec.from_json(value)


def encode(spec, *changes):
    """The rows with each of the changes, from a file: what they are encoded to, and the lines about them."""
    rows, unusual = [{**FAMILIAR, **change} for change in changes], UnusualValues()
    texts = {name: [None if row[name] is None else str(row[name]) for row in rows] for name in FAMILIAR}
    read, faults = spec.validate_table(
        pa.table({name: pa.array(column, pa.string()) for name, column in texts.items()})
    )
    assert faults == {}
    return spec.encode(read, target=False, unusual=unusual), unusual.lines()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([{"plan": "PRO"}] * 2, "plan: 2 of 2 values were never seen (PRO; did you mean pro?)"),
        ([{"plan": "Teem"}, {"plan": "gold"}], "plan: 2 of 2 values were never seen (Teem …; did you mean team?)"),
        ([{}, {"plan": "x" * 50}], f"plan: 1 of 2 values was never seen ({'x' * 40}…)"),
        ([{"plan": "a\x1b[31m\nb"}], "plan: 1 of 1 values was never seen (a?[31m b)"),
        ([{"branch": 17}], "branch: 1 of 1 values was never seen (17)"),
        ([{}, {"months": 60}, {"months": 0}], "months: 2 of 3 values were outside the training range, 1 to 59 (60 …)"),
        (
            [{"since": "2025-01-01"}],
            "since: 1 of 1 values was outside the training range, 2024-01-01T00:00:00Z to 2024-01-20T00:00:00Z"
            " (2025-01-01T00:00:00+00:00)",
        ),
        ([{}, {"months": None}], "months: 1 of 2 values was missing and filled by the training median, 2.5"),
        ([{"plan": None}], "plan: 1 of 1 values was missing and taken as the commonest value, pro"),
        ([{"branch": None}], "branch: 1 of 1 values was missing and taken as the commonest value, 2"),
        ([{"paid": None}], "paid: 1 of 1 values was missing and taken as the commonest value, true"),
        (
            [{"since": None}],
            "since: 1 of 1 values was missing and filled by the training median, 2024-01-10T12:00:00Z",
        ),
    ],
)
def test_what_is_unusual_is_one_line(spec, changes, line):
    assert encode(spec, *changes)[1] == [line]


def test_nothing_is_said_of_rows_like_those_of_training(spec):
    assert encode(spec, FAMILIAR, {"months": 59.0}, {"plan": "basic"})[1] == []


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_value_is_answered_from_a_file_and_from_a_request(spec, name):
    row = {**FAMILIAR, name: None}
    from_file, _ = encode(spec, {name: None})
    unusual = UnusualValues()
    from_request = spec.encode(spec.parse_request([row], "rows"), target=False, unusual=unusual)
    for key, values in from_file.items():
        np.testing.assert_array_equal(from_request[key], values)
        assert np.isfinite(values).all()
    assert len(unusual.lines()) == 1
    likely = {"plan": "pro", "branch": 2, "months": 2.5, "paid": True, "since": "2024-01-10T12:00:00Z"}
    asked = spec.encode(spec.parse_request([{**FAMILIAR, name: likely[name]}], "rows"), target=False)
    if name != "since":  # whose place on the circles is not known
        for key, values in asked.items():
            np.testing.assert_array_equal(from_request[key], values)
    assert spec.json_schema()["properties"][name]["nullable"] is True


@pytest.mark.parametrize("name", KINDS)
def test_an_earlier_release_answers_a_missing_value_as_well(earlier, name):
    encoded, lines = encode(earlier, {name: None})
    assert all(np.isfinite(values).all() for values in encoded.values())
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: 1 of 1 values was missing and ")


def test_an_earlier_release_knows_no_range_but_its_values(earlier):
    assert encode(earlier, {"months": 1e6, "since": "2031-01-01"})[1] == []
    assert encode(earlier, {"plan": "PRO"})[1] == ["plan: 1 of 1 values was never seen (PRO; did you mean pro?)"]


def test_a_value_of_its_own_for_what_is_missing_is_nothing_unusual():
    lacking = make_spec(
        plan=["pro", None, "basic", None] * 5, paid=pa.array([True, None] * 10), months=pa.array([1.0, None] * 10)
    )
    unusual = UnusualValues()
    row = {"plan": None, "paid": None, "months": None}
    lacking.encode(lacking.parse_request([row], "rows"), target=False, unusual=unusual)
    assert unusual.lines() == ["months: 1 of 1 values was missing and filled by the training median, 1"]


def test_a_value_that_was_too_rare_to_be_learned_is_said_to_be_perhaps_that():
    rare = make_spec(plan=["pro"] * 10 + ["basic"] * 9 + ["gold"])
    unusual = UnusualValues()
    codes = rare.encode(pa.table({"plan": ["gold", "tin", None]}), target=False, unusual=unusual)["category"]
    assert codes.tolist() == [[0], [0], [0]]
    assert unusual.lines() == [
        "plan: 1 of 3 values was missing and taken as an unseen value",
        "plan: 2 of 3 values were never seen, or too rarely to be learned (gold …)",
    ]


def test_a_column_of_single_values_is_answered_and_counted():
    single, unusual = make_spec(plan=[f"p{number}" for number in range(20)]), UnusualValues()
    single.encode(pa.table({"plan": ["p1", None]}), target=False, unusual=unusual)
    assert unusual.lines() == [
        "plan: 1 of 2 values was missing and taken as an unseen value",
        "plan: 1 of 2 values was never seen, or too rarely to be learned (p1)",
    ]


def test_batches_and_columns_are_counted_together(spec):
    unusual = UnusualValues(with_examples=False)
    for months in ([2.0, 70.0, 80.0], [90.0]):
        rows = [{**FAMILIAR, "months": value, "plan": "PRO"} for value in months]
        spec.encode(spec.parse_request(rows, "rows"), target=False, unusual=unusual)
    assert unusual.lines() == [
        "plan: 4 of 4 values were never seen",
        "months: 3 of 4 values were outside the training range, 1 to 59",
    ]
    assert json.loads(json.dumps(unusual.to_json()))["unusual"][0]["values"] == 4


def test_other_fields_of_a_request_are_ignored_and_counted(spec):
    unusual = UnusualValues()
    rows = [{**FAMILIAR, "account": 3}, {**FAMILIAR, "account": 4, "note": [1]}, FAMILIAR]
    table = spec.parse_request(rows, "rows", unusual)
    assert table.column_names == list(spec.columns)
    assert unusual.lines(noun="field") == ["2 fields, which the model does not read, were ignored: account, note"]
    assert unusual.to_json()["ignored"] == {"account": 2, "note": 1}
    assert spec.json_schema()["additionalProperties"] is True


def test_a_misspelt_field_is_no_other_field(spec):
    row = {"plann" if name == "plan" else name: value for name, value in FAMILIAR.items()}
    with pytest.raises(DataError, match="row 0: the field 'plan' is missing; rename 'plann'"):
        spec.parse_request([row], "rows")


def test_what_a_stranger_sends_is_held_within_bounds(spec):
    unusual = UnusualValues()
    for start in range(0, 20_000, 1000):
        unusual.ignore([f"{number}{'x' * 300}" for number in range(start, start + 1000)])
    assert len(unusual.ignored) == 10_000
    assert max(map(len, unusual.ignored)) == 200
    assert len(unusual.lines()[0]) < 1500


def test_labels_and_words_that_no_training_row_had_are_counted():
    tags = pa.array([["red", "blue"], ["blue"]] * 10)
    field = kinds.find("labels").fit({"tags": tags})
    asked = kinds.find("labels").validate(pa.array([["blue"], ["blue", "grean"], None]))[0]
    unusual = UnusualValues()
    unusual.add_rows(3)
    unusual.add(field, [asked], kinds.find("labels").encode(field, [asked]))
    assert unusual.lines() == [
        "tags: 1 of 3 values was missing and read as no label",
        "tags: 1 of 3 values was read without labels never seen (blue, grean)",
    ]
    assert kinds.find("labels").from_json(field, 0, None) is None
    assert kinds.find("labels").validate(pa.nulls(2))[1] == {}


def test_all_that_is_wrong_with_a_row_is_said(spec):
    texts = {name: pa.array([str(value)]) for name, value in FAMILIAR.items()}
    _, faults = spec.validate_table(pa.table(texts | {"months": pa.array(["x"]), "paid": pa.array(["maybe"])}))
    assert faults == {0: "months: not a number (got 'x'); paid: neither yes nor no (got 'maybe')"}


@pytest.mark.parametrize("words", [False, True])
def test_a_missing_text_is_an_empty_one(words):
    texts = (
        pa.array([["a", "b", "a"], ["b", "c"]] * 10) if words else pa.array(["the sea is wide", "the sky is wide"] * 10)
    )
    inputs, target = fit(pa.table({"note": texts, "kind": ["x", "y"] * 10}), {"note": "text"}, "kind", "category")
    spec, unusual = FeatureSpec("classification", inputs, target, "kind", None, {}), UnusualValues()
    rows = [{"note": None}, {"note": ["q", "q"] if words else "Wölfe heulen"}, {"note": texts[0].as_py()}]
    encoded = spec.encode(spec.parse_request(rows, "rows"), target=False, unusual=unusual)["note"]
    assert not encoded[0].any()
    assert encoded[1].any()
    assert unusual.lines() == [
        "note: 1 of 3 values was missing and read as an empty text",
        f"note: 1 of 3 values was read as a text without anything known ({'q, q' if words else 'Wölfe heulen'})",
    ]
    read, faults = spec.validate_table(pa.table({"note": texts.take(pa.array([0, None]))}))
    assert faults == {}
    assert not spec.encode(read, target=False)["note"][1].any()
    assert kinds.find("text").validate(pa.nulls(2))[1] == {}


def test_dates_in_the_types_of_arrow_are_counted(spec):
    (field,) = (field for field in spec.inputs.values() if field.columns == ("since",))
    asked = pa.array([None, 0], pa.int64()).cast(dates.TYPE)
    unusual = UnusualValues()
    unusual.add(field, [asked], kinds.find("moment").encode(field, [asked]))
    assert [finding.values for finding in unusual.findings.values()] == [1, 1]
