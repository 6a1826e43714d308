"""Rules of rows and columns: what they say, what null means to them, what is refused, and how the whole is counted."""

import random

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare.cast import cast_column, hash_values, rule_type
from evergreen.data.prepare.check import separate_invalid_rows
from evergreen.data.prepare.column_rules import merge_kinds, suggest_rules
from evergreen.data.prepare.infer import infer_schema
from evergreen.data.prepare.rules.constraints import Rules, merge_errors, validate_rules
from evergreen.data.quality.profile import ColumnProfile, profile_columns

UNTIMED = "day: not a time written as %d.%m.%Y %H:%M"
TABLE = pa.table(
    {
        "age": ["18", "200", "", "40"],
        "start": ["2020-01-01"] * 4,
        "end": ["2020-02-01", "2019-01-01", "", "2020-01-02T10:00:00"],
        "country": ["DE", "FR", None, "US"],
        "email": ["a@b", "none", "", "c@d"],
        "unit price": [1.0, 2.0, float("nan"), 1e9],
        "active": ["true", "False", "", "true"],
        "zip": ["01234", "1234", None, "00000"],
        "_origin": ["t#0", "t#1", "t#2", "t#3"],
    }
)


def broken(*rules: str, schema=None, table: pa.Table = TABLE) -> dict[int, str]:
    read = Rules.read(schema or {}, rules, table)
    return merge_errors(read.with_global_stats([read.collect_stats(table)]).violations(table))


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("end >= start", [1]),  # row 2 has no end: nobody can say
        ("is_valid(end) and end >= start", [1, 2]),
        ("end is not None", [2]),
        ("end - start <= 30", [0]),  # days
        ("start < '2020-01-01'", [0, 1, 2, 3]),
        ("year(end) == 2020", [1]),
        ("0 <= age < 100", [1]),
        ("age < 100 or country != 'FR'", [1]),
        ("age < 100 or country == 'FR'", []),
        ("not age > 100", [1]),
        ("age / (age - 18) > 0", []),  # by zero: null
        ("coalesce(age, 0) > 0", [2]),
        ("field('unit price') * age <= 1e6", [3]),
        ("country in ['DE', 'US']", [1]),  # row 2 is null, and null is in no list and out of none
        ("country not in ['DE', 'US']", [0, 3]),
        ("match(email, '.+@.+')", [1]),
        ("match(email, 'a')", [0, 1, 3]),  # the whole text
        ("length(zip) == 5", [1]),  # numbers are read as they were written where a text is wanted
        ("active", [1]),
        ("active == (age < 100)", []),
        ("-age < 0", []),
        ("age in [18, -1]", [1, 3]),
        ("lower(country) == 'de'", [1, 3]),
    ],
)
def test_a_row_breaks_a_rule_only_where_it_is_false(rule, rows):
    assert broken(rule) == dict.fromkeys(rows, f"rule: {rule}")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("end >= strat", "no column 'strat'; did you mean 'start'"),
        ("mach(email, 'x')", "no function `mach`; did you mean 'match'"),
        ("age > '18'", "`age` is a number and `'18'` a text; declare its type, `schema: {age: {type: text}}`"),
        ("age + 1", "it is a number, not a condition"),
        ("1 > 0", "it names no column"),
        ("age = 1", "cannot be read .* equality is =="),
        ("end >= 'soon'", "'soon' is not a time; write 2024-01-31"),
        ("age == None", "write is_null"),
        ("age % 2 == 0", "`age % 2` is not allowed in a rule"),
        ("country in age", "not a list of constants"),
        ("country in [1]", "1 is not a text"),
        ("match(email, '(')", "not a regular expression"),
        ("match(email)", "write match"),
        ("match(email, country)", "`country` is not text in quotes"),
        ("active < True", "has no order"),
        (
            "country < email",
            "`country` is a text, which has no order; declare its type, `schema: {country",
        ),
        ("coalesce(age, 'x') > 1", "give two values of one type"),
        ("__import__('os').system('x')", "no function `__import__"),
        ("age.__class__ == 1", "is not allowed"),
        ("(lambda: 1)() == age", "no function"),
        ("[x for x in age] == 1", "is not allowed"),
        ("f'{age}' == '1'", "is not allowed"),
        ("age > 1e999", "is not allowed"),
        ("not " * 400 + "active", "nested too deeply"),
        ("(" * 500, "cannot be read"),
        ("age > 1 and " * 500 + "active", "at most 2,000 are"),
        ("", "cannot be read"),
        ("age > 1\0", "rule"),
    ],
)
def test_what_is_no_rule_is_one_error_that_names_it(rule, says):
    with pytest.raises(DataError, match=says) as caught:
        broken(rule)
    assert caught.value.fix
    assert f"rule `{rule[:20]}" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "said", "rows"),
    [
        ("age", {"min": 18, "max": 120}, {1: "age: above 120"}),
        ("age", {"min": 19}, {0: "age: below 19"}),
        ("end", {"max": "2020-01-31"}, {0: "end: above 2020-01-31"}),
        ("country", {"allowed": ["DE", "US"]}, {1: "country: not one of DE, US"}),
        ("zip", {"pattern": r"\d{5}"}, {1: r"zip: does not fit \d{5}"}),
        ("zip", {"missing": 0}, {2: "zip: missing"}),
        ("zip", {"missing": 0.3}, {}),
        ("start", {"unique": True}, dict.fromkeys(range(4), "start: stands more than once")),
        ("end", {"unique": True}, {}),
        ("email", {"type": "number", "min": 0}, dict.fromkeys((0, 3), "email: not a number")),
        ("unit price", {"missing": 0}, {2: "unit price: missing"}),
    ],
)
def test_what_holds_of_one_column(column, said, rows):
    assert broken(schema={column: said}) == rows


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"aeg": {"min": 1}}, "no column 'aeg'; did you mean 'age'"),
        ({"age": {"mn": 1}}, "'mn' is not a property of a column; did you mean 'min'"),
        ({"age": {"type": "numbr"}}, "did you mean 'number'"),
        ({"age": {"missing": 2}}, "not a fraction from 0 to 1 .got 2"),
        ({"age": {"missing": True}}, "missing is not valid .got True"),
        ({"age": {"allowed": "a"}}, "write a list"),
        ({"age": {"allowed": []}}, "the list is empty"),
        ({"age": {"allowed": ["x"]}}, "'x' is not a number"),
        ({"age": {"pattern": "("}}, "not a regular expression"),
        ({"age": {"min": 0, "max": "x"}}, "'x' is not a number"),
        ({"end": {"min": "yesterday"}}, "'yesterday' is not a time"),
        ({"country": {"type": "text", "min": 1}}, "has no minimum or maximum"),
        ({"zip": {"missing": 0.2}}, r"1 of 4 rows have no value \(25.0%\), and its schema allows 20.0%"),
    ],
)
def test_a_schema_that_makes_no_sense_or_is_broken_as_a_whole(schema, says):
    with pytest.raises(DataError, match=says) as caught:
        broken(schema=schema)
    assert caught.value.fix


def test_missing_values_repeat_nobody():
    table = pa.table({"id": ["a", "", " a", None, "n/a"], "_origin": ["t"] * 5})
    assert list(broken(schema={"id": {"unique": True}}, table=table)) == [0, 2]


def test_columns_of_pictures_have_no_range():
    table = pa.table({"image": pa.array([[1.0], None]), "_origin": ["a", "b"]})
    assert broken(schema={"image": {"missing": 0}}, table=table) == {1: "image: missing"}
    with pytest.raises(DataError, match="not numbers, texts, times or booleans"):
        broken(schema={"image": {"min": 0}}, table=table)


def test_a_row_is_judged_alike_whatever_stands_beside_it():
    lines = random.Random(0)
    table = pa.table(
        {
            "x": [lines.choice(["1", "2.5", "oops", ""]) for _ in range(97)],
            "day": [lines.choice(["2020-01-01", "2021-05-05T10:00:00Z", "soon", ""]) for _ in range(97)],
            "name": [f"{lines.randrange(80)}" for _ in range(97)],
        }
    )
    schema = {"x": {"type": "number", "max": 2}, "day": {"type": "time", "min": "2020-06-01"}, "name": {"unique": True}}
    rules = Rules.read(schema, ["x < 2 or is_null(x)"], table)
    pieces = [table.slice(start, 10) for start in range(0, 97, 10)]
    rules = rules.with_global_stats([rules.collect_stats(piece) for piece in reversed(pieces)])
    apart = {
        10 * i + row: why
        for i, piece in enumerate(pieces)
        for row, why in merge_errors(rules.violations(piece)).items()
    }
    assert apart == merge_errors(rules.violations(table))
    assert {"x: not a number", "day: not a time written as iso", "name: stands more than once"} <= {
        one for why in apart.values() for one in why.split("; ")
    }


def test_values_have_the_same_hash_only_where_they_are_the_same():
    words = [f"{n:x}" for n in range(50_000)]
    assert len(np.unique(hash_values(pa.array(words)))) == len(words)
    assert (
        hash_values(pa.array(["ab", "ba", " ab ", "é", ""]))[[0, 1]].tolist()
        != hash_values(pa.array(["ab", "ab"])).tolist()
    )
    assert hash_values(pa.array([" ab ", None]))[0] == hash_values(pa.array(["x", "ab"]))[1]
    big = pa.array([2**62, 2**62 + 1])
    assert len(set(hash_values(big).tolist())) == 2
    assert len(hash_values(pa.array([], pa.string()))) == 0


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (["1", "2,5", "na"], "number"),
        (["31.12.2020", "", "1.1.2021"], "time"),
        (["TRUE", "false", ""], "boolean"),
        (["a", "1"], "text"),
        (["", "n/a"], "text"),
        ([None, None], "text"),
        ([[1.0]], ""),
    ],
)
def test_how_a_column_is_read(held, kind):
    assert rule_type(pa.array(held)) == kind
    if kind:
        assert not cast_column(pa.array(held, pa.string()), kind)[1]


def test_times_with_a_zone_are_compared_as_the_moments_they_are():
    column = pa.array(["2020-01-01T01:00+02:00", "2019-12-31T23:00:00", "2019-12-31T23:00Z"])
    assert len(set(cast_column(column, "time", {"format": "iso or iso+zone"})[0].to_pylist())) == 1
    table = pa.table(
        {"day": ["31.12.2020 10:00", "13.1.2021 11:00", "soon"] + ["14.2.2021 11:00"] * 40, "_origin": ["t"] * 43}
    )
    assert broken("day > '2021-01-01'", table=table) == {0: "rule: day > '2021-01-01'", 2: UNTIMED}
    told = {0: "day: not a time written as iso"}
    assert broken(schema={"day": {"type": "time"}}, table=table.slice(2, 1)) == told
    either = pa.table({"day": ["1.2.2021", "13.2.2021"], "_origin": ["t"] * 2})
    assert broken("day < '2021-02-10'", table=either) == {1: "rule: day < '2021-02-10'"}
    with pytest.raises(DataError, match=r"column 'day': its dates, such as .* may be %d.* or %m.*; say .* under kinds"):
        broken(schema={"day": {"type": "time"}}, table=pa.table({"day": ["1/2/2021"], "_origin": ["t"]}))


def test_kinds_may_be_said_in_the_schema_but_not_otherwise_elsewhere():
    assert merge_kinds({"a": {"kind": "number"}, "b": {"min": 1}}, {"c": "text"}) == {"a": "number", "c": "text"}
    with pytest.raises(DataError, match="kind is number here, and text under `kinds`"):
        merge_kinds({"a": {"kind": "number"}}, {"a": {"kind": "text"}})


def test_mistakes_are_told_before_any_data_are_read():
    validate_rules({"a": {"min": 1}}, ["no_such_column > 1"])  # what the data hold is not known yet
    for schema, rules in (({"a": {"mn": 1}}, []), ({}, ["a % 2 == 0"]), ({}, ["lower(a, 1) == 'x'"]), ({}, ["a >"])):
        with pytest.raises(DataError):
            validate_rules(schema, rules)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ((18.0, 89.0), {"min": 10, "max": 97}),
        ((0.34, 5.08), {"min": 0, "max": 5.6}),
        ((-4.0, 200.0), {"min": -30, "max": 230}),
        ((-3.0, -1.0), {"min": -3.2, "max": -0.8}),
        ((7.0, 7.0), {"min": 7, "max": 7}),
        ((0.0, 1e-7), {"min": 0, "max": 1.1e-7}),
        ((-1e29, 1e29), {"min": -1.2e29, "max": 1.2e29}),
    ],
)
def test_a_proposed_range_is_a_tenth_wider_than_what_was_seen(held, said):
    numbers = {"x": ColumnProfile("number", "double", 100, 6, *held)}
    assert suggest_rules(numbers) == {"x": {"kind": "number", **said, "missing": 0.12}}


def test_proposed_values_are_of_the_type_that_rules_read():
    table = pa.table(
        {name: [*words, None] for name, words in {"a": ["2", "10"], "b": ["x", "1"], "c": ["True", "false"]}.items()}
    )
    found = suggest_rules(profile_columns(table, dict.fromkeys(table.column_names, "category")), ["id"])
    assert [found[name]["allowed"] for name in "abc"] == [[2, 10], ["1", "x"], [False, True]]
    assert found["id"] == {"unique": True}
    told = {name: {"allowed": found[name]["allowed"]} for name in "abc"}
    assert broken(schema=told, table=table) == {}


def test_what_is_proposed_holds_of_the_data_it_was_read_from():
    schema = infer_schema(TABLE, "active", "category", given={"age": "number", "end": "moment", "unit price": "number"})
    good, _ = separate_invalid_rows(TABLE, schema)
    said = suggest_rules(profile_columns(good, schema.kinds))
    assert set(said) >= {"age", "active", "end", "unit price"}
    assert merge_errors(Rules.read(said, [], good).violations(good)) == {}
