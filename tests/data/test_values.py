"""What a value is: 3.0 and 3, numbers and dates as people write them, codes; a model reads them as it was fitted."""

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.arrow import number_formats, to_float64, to_names
from evergreen.data.fitting import fit
from evergreen.data.number_format import NumberFormat
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.suggest import suggest_pipeline
from evergreen.data.prepare.table_reader import TableReader
from evergreen.data.spec import FeatureSpec

ROWS = 200
LABELS = ["yes", "no"] * (ROWS // 2)


def table(**columns) -> pa.Table:
    count = len(next(iter(columns.values())))
    origins = [f"t.csv#{row}" for row in range(count)]
    return pa.table({name: pa.array(values) for name, values in columns.items()} | {"_origin": origins})


def learn(rows: pa.Table, target: str = "y", target_kind: str = "category", **given) -> FeatureSpec:
    """The spec that is fitted on the rows of a table of texts, after a way through JSON."""
    reader = TableReader.from_sample(rows, [target_kind], PreprocessConfig(target=target, kinds=given))
    train, schema = reader.prepare(rows).table, reader.schema
    inputs, field = fit(train, schema.inputs, target, schema.target_kind, options=schema.options)
    spec = FeatureSpec("classification", inputs, field, target, None, {})
    return FeatureSpec.from_json(json.loads(json.dumps(spec.to_json())))


def codes(spec: FeatureSpec, rows: pa.Table) -> list:
    read, errors = spec.validate_table(rows)
    assert not errors
    return spec.encode(read, target=False)["category"].ravel().tolist()


def numbers(spec: FeatureSpec, *texts: str) -> tuple[list, dict]:
    """What a file of these texts holds in column x, and what is told of its rows."""
    read, errors = spec.validate_table(table(x=list(texts)))
    return read.column("x").to_pylist(), errors


BRANCHES = [str(1 + row % 6) for row in range(ROWS)]


@pytest.mark.parametrize("written", ["{}", "{}.0", " {}.000 "])
def test_a_whole_number_is_one_category_however_it_is_written(written):
    spec = learn(table(x=[written.format(value) for value in BRANCHES], y=LABELS), x="category")
    assert spec.inputs["category"].state["values"] == [[1, 2, 3, 4, 5, 6]]
    asked = [str(value) for value in range(1, 7)]
    wanted = codes(spec, table(x=asked))
    assert 0 not in wanted
    for form in ("{}.0", "{}.00"):
        assert codes(spec, table(x=[form.format(value) for value in asked])) == wanted
    assert codes(spec, table(x=[float(value) for value in asked])) == wanted
    assert codes(spec, table(x=[int(value) for value in asked])) == wanted
    for value in (4, 4.0, "4", "4.0", " 4 "):
        parsed = spec.parse_request([{"x": value}], "rows")
        assert spec.encode(parsed, target=False)["category"].tolist() == [[wanted[3]]], value


@pytest.mark.parametrize("value", [4.5, "4.5", "four", "04", True, [4], 1e300, "9" * 5000, "\ud800"])
def test_what_is_no_whole_number_is_told_at_the_endpoint(value):
    spec = learn(table(x=BRANCHES, y=LABELS), x="category")
    with pytest.raises(DataError, match="field 'x': is "):
        spec.parse_request([{"x": value}], "rows")


def test_a_label_written_as_a_float_is_the_whole_number():
    as_floats = learn(table(x=[f"{row}.5" for row in range(ROWS)], y=[f"{row % 2}.0" for row in range(ROWS)]))
    assert as_floats.target.state["values"] == [[0, 1]]
    rows = table(x=["1.5"] * 4, y=["1", "1.0", "0", "0.0"])
    assert as_floats.encode(rows, target=True)["target"].tolist() == [1, 1, 0, 0]


def test_rows_keep_their_ids_and_splits_where_a_blank_made_floats():
    config = PreprocessConfig(target="y", kinds={"x": "category"})
    prepared = [
        TableReader.from_sample(rows, ["category"], config).prepare(rows)
        for rows in (table(x=BRANCHES, y=LABELS), table(x=[f"{value}.0" for value in BRANCHES], y=LABELS))
    ]
    assert prepared[0].table.column("_id") == prepared[1].table.column("_id")
    assert prepared[0].splits.tolist() == prepared[1].splits.tolist()


def test_codes_with_a_point_stay_as_they_are():
    texts = ["1.10", "1.1", "1.0", "1", "-0.0", "2.50", "00501.0", "v1.0", "1.0.0", "10.0", "-7.00", None]
    right = ["1.10", "1.1", "1", "1", "0", "2.50", "00501.0", "v1.0", "1.0.0", "10", "-7", None]
    assert to_names(pa.array(texts)).to_pylist() == right
    spec = learn(table(x=["1.10", "1.1", "1.9", "2.0"] * 50, y=LABELS), x="category")
    assert spec.inputs["category"].state["values"] == [["1.1", "1.10", "1.9", "2"]]
    assert len(set(codes(spec, table(x=["1.10", "1.1", "1.9", "2.0"])))) == 4
    asked = [{"x": value} for value in ("1.10", 1.1, "2.0", 2, 2.0)]
    encoded = spec.encode(spec.parse_request(asked, "rows"), target=False)["category"].ravel().tolist()
    assert encoded == [2, 1, 4, 4, 4]


def test_a_model_of_before_answers_to_the_texts_it_knew():
    spec = learn(table(x=["4", "5"] * 100, y=LABELS), x="category")
    field = spec.inputs["category"]
    old = replace(
        spec,
        inputs={
            "category": replace(field, state={**field.state, "values": [["4.0", "5.0", "x"]], "types": ["string"]})
        },
    )
    assert codes(old, table(x=["4.0", "4", "5", "x", "6"])) == [1, 1, 2, 3, 0]
    spec = learn(table(x=["1,5", "2,5"] * 100, y=LABELS))
    field = spec.inputs["number"]
    state = {name: value for name, value in field.state.items() if name != "format"}
    old = replace(spec, inputs={"number": replace(field, state=state)})
    assert numbers(old, "1,5", "2,5") == ([1.5, 2.5], {})
    assert numbers(old, "1.5", "2.5") == ([1.5, 2.5], {})
    assert numbers(old, "1,234")[1], "what nobody knows is still told"
    assert old.parse_request([{"x": 3}], "rows")["x"].to_pylist() == [3.0]


def test_yes_and_no_as_floats():
    boolean = kinds.find("boolean")
    assert boolean.validate(pa.array(["1.0", "0.0", "1", None]))[0].to_pylist() == [True, False, True, None]
    field = boolean.fit({"x": pa.array([True, False])})
    assert [boolean.from_json(field, 0, value) for value in (1, 1.0, "1.0", 0.0)] == [True, True, True, False]


FORMS = [
    (["1,234.50", "12.5", "987,654.00"], "1,234.5", [1234.5, 12.5, 987654]),
    (["1,234,567", "12,345", "1"], "1,234.5", [1234567, 12345, 1]),
    (["12,34,567.5", "1,234.5"], "1,234.5", [1234567.5, 1234.5]),
    (["1.234,50", "0,5", "-1.000.000"], "1.234,5", [1234.5, 0.5, -1000000]),
    (["3,14", "2,7", "1e3", "-5"], "1234,5", [3.14, 2.7, 1000, -5]),
    (["1 234,5", "12", "9 876 543"], "1 234,5", [1234.5, 12, 9876543]),
    (["1\u00a0234,5", "1\u202f000,25"], "1 234,5", [1234.5, 1000.25]),
    (["1 234.5", "7 000.25"], "1 234.5", [1234.5, 7000.25]),
    (["1’234.5", "12.5", "1'000'000"], "1'234.5", [1234.5, 12.5, 1e6]),
    (["$1,200", "$900", "-$5.25", "$-7", "$ 8"], "$1,234.5", [1200, 900, -5.25, -7, 8]),
    (["US$ 1,200.50", "US$ 7"], "US$1,234.5", [1200.5, 7]),
    (["12,00 €", "7,50 €", "1.200,00 €", "3"], "1.234,5 €", [12, 7.5, 1200, 3]),
    (["€12.50", "€7"], "€1234.5", [12.5, 7]),
    (["12.50 EUR", "7.25 EUR"], "1234.5 EUR", [12.5, 7.25]),
    (["CHF 1'200.00", "CHF 5.50"], "CHF 1'234.5", [1200, 5.5]),
    (["1 200 kr", "35 kr"], "1 234,5 kr", [1200, 35]),
    (["12 %", "7.5%", "-3 %"], "1234.5 %", [12, 7.5, -3]),
    (["12,5 %", "7 %"], "1234,5 %", [12.5, 7]),
    (["(5.00)", "12.50", "(1.25)", "-3"], "(1234.5)", [-5, 12.5, -1.25, -3]),
    (["($1,200.00)", "$5.00", "$12,000.00"], "($1,234.5)", [-1200, 5, 12000]),
    (["5-", "12.50", "1.25-"], "1234.5-", [-5, 12.5, -1.25]),
    (["−5", "3.5"], "1234.5", [-5, 3.5]),
    (["12.5", "3", "-4e2", ".5", "+7"], "1234.5", [12.5, 3, -400, 0.5, 7]),
]


@pytest.mark.parametrize(("texts", "format", "values"), FORMS)
def test_numbers_as_people_write_them(texts, format, values):
    column = pa.array([*texts, None, " n/a "])
    assert number_formats(column)[0] == format
    read, errors = to_float64(column, format)
    assert (read[:-2].tolist(), errors) == (values, {})
    assert np.isnan(read[-2:]).all()
    assert kinds.find("number").detect(column) == 0.9


@pytest.mark.parametrize(("texts", "format", "values"), FORMS)
def test_a_model_reads_one_row_alike_beside_any_other(texts, format, values):
    rows = [*texts] * 60
    spec = learn(table(x=rows, y=(LABELS * 2)[: len(rows)]))
    assert spec.inputs["number"].state["format"] == [format]
    for text, value in zip(texts, values, strict=True):
        assert numbers(spec, text) == ([value], {})
        assert numbers(spec, "3", text, "4") == ([3, value, 4], {}) or "%" in format
        if format != "1234.5":
            assert spec.parse_request([{"x": text}], "rows")["x"].to_pylist() == [value]
    assert spec.parse_request([{"x": 1234.5}], "rows")["x"].to_pylist() == [1234.5]


@pytest.mark.parametrize(
    ("fitted", "strange"),
    [
        (["37.5", "1.234"], "37,8"),
        (["37.5", "1.234"], "1,234"),
        (["37.5", "1.234"], "$5"),
        (["37.5", "1.234"], "(5.00)"),
        (["37,5", "1,25"], "1.234"),
        (["1.234,5", "3,25"], "12.5"),
        (["1,234.5", "3.25"], "0,5"),
        (["1,234.5", "3.25"], "12,5"),
        (["$1,234.5", "$3.25"], "€5"),
        (["12 %", "3 %"], "0.12"),
        (["12 %", "3 %"], "12"),
        (["5-", "3", "4"], "(5)"),
        (["(5)", "3", "4"], "(5"),
        (["1 234,5", "3,5"], "1234.5"),
        (["1,234.5", "3.25"], "1,23,4"),
    ],
)
def test_what_is_not_written_as_the_training_rows_were_is_told(fitted, strange):
    rows = fitted * 100
    spec = learn(table(x=rows, y=(LABELS * 2)[: len(rows)]))
    (format,) = spec.inputs["number"].state["format"]
    _, errors = numbers(spec, strange, fitted[0], fitted[1])
    assert errors == {0: f"x: not a number written as {format} (got {strange!r})"}
    with pytest.raises(DataError, match="field 'x': is not a number"):
        spec.parse_request([{"x": strange}], "rows")


def test_what_may_be_thousands_or_fractions_is_doubted_and_a_person_decides():
    texts = [f"{thousands},{rest:03}" for thousands in range(1, 41) for rest in (7, 120, 999, 500, 250)]
    assert number_formats(pa.array(texts)) == ["1,234.5", "1234,5"]
    guess = suggest_pipeline(table(price=texts, y=LABELS), "y")
    (doubt,) = [doubt for doubt in guess["unsure"] if "'price'" in doubt]
    assert "'1,007' is read as 1007" in doubt
    assert 'format: "1234,5"' in doubt
    spec = learn(table(x=texts, y=LABELS), x={"kind": "number", "format": "1234,5"})
    assert numbers(spec, "1,007") == ([1.007], {})
    spec = learn(table(x=texts, y=LABELS), x={"kind": "number", "decimal": ","})
    assert numbers(spec, "1,007") == ([1.007], {})
    assert number_formats(pa.array(["0,123", "1,456"])) == ["1234,5"]


def test_a_target_with_thousands_is_one_of_numbers():
    draw = random.Random(5)
    pairs = [(draw.uniform(900, 250000), draw.uniform(1, 9)) for _ in range(240)]
    columns = {
        "income": [f"{income:,.2f}" for income, _ in pairs],
        "rooms": [f"{rooms:.1f}" for _, rooms in pairs],
        "price": [f"{income * 2 + rooms * 1000:,.0f}" for income, rooms in pairs],
    }
    guess = suggest_pipeline(table(**columns), "price")
    assert (guess["task"], guess["kinds"]) == ("regression", {"income": "number", "rooms": "number"})
    assert "written as 1,234.5" in guess["holds"]["income"]
    spec = learn(table(**columns), "price", "number")
    assert spec.inputs["number"].state["format"] == ["1,234.5", "1234.5"]
    assert spec.target.state["format"] == ["1,234.5"]
    assert spec.validate_table(table(income=["1,234.50"], rooms=["3.5"]))[0]["income"].to_pylist() == [1234.5]


@pytest.mark.parametrize("text", ["", "1,234.56", "12.5", "1.234.5", "1,234,5", "(1234.5", "abc"])
def test_a_format_that_is_none_is_told(text):
    with pytest.raises(DataError, match="is not a format of numbers") as error:
        NumberFormat.parse(text)
    assert "write 1234.5 as the column does" in error.value.fix


def test_a_unit_that_a_person_names_is_read():
    spec = learn(table(x=["3 kg", "4.5 kg"] * 100, y=LABELS), x={"kind": "number", "format": "1234.5 kg"})
    assert numbers(spec, "7 kg") == ([7], {})
    assert numbers(spec, "7 g")[1] == {0: "x: not a number written as 1234.5 kg (got '7 g')"}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            [f"{value} kg" for value in range(40)],
            "'0 kg' holds 'kg'; to read numbers, say {kind: number, format: \"1234.5 kg\"}",
        ),
        (["3,14", "2.7"], "'3,14' holds ',', and '2.7' does not"),
        (["$5", "€7"], "'$5' holds '$', and '€7' does not"),
        (["12 %", "0.12"], "'12 %' holds '%', and '0.12' does not"),
    ],
)
def test_a_sign_that_stands_in_the_way_of_numbers_is_named(texts, says):
    rows = (texts * ROWS)[:ROWS]
    notes = suggest_pipeline(table(x=rows, z=list(range(ROWS)), y=LABELS), "y")["notes"]
    assert any(says in note for note in notes), notes


@pytest.mark.parametrize("texts", [["A12", "B7", "C9", "D3", "E1"], ["red", "blue"], ["M", "L 2"], ["1.2.3", "1.2.4"]])
def test_codes_and_words_are_not_doubted(texts):
    rows = (texts * ROWS)[:ROWS]
    assert suggest_pipeline(table(x=rows, z=list(range(ROWS)), y=LABELS), "y")["notes"] == []


ZIPS = ["01067", "04109", "10115", "80331", "00501", "99084"]


def test_leading_zeros_make_codes():
    rows = table(zip=(ZIPS * ROWS)[:ROWS], y=LABELS)
    guess = suggest_pipeline(rows, "y")
    assert guess["kinds"] == {"zip": "category"}
    (note,) = [note for note in guess["notes"] if "codes" in note]
    assert "a category of codes, for '01067' begins with a zero" in note
    assert "kinds: {zip: number}" in note
    spec = learn(rows)
    assert spec.inputs["category"].state["values"] == [sorted(ZIPS)]
    assert codes(spec, table(zip=["00501"])) == [sorted(ZIPS).index("00501") + 1]
    assert spec.parse_request([{"zip": "00501"}], "rows")["zip"].to_pylist() == ["00501"]
    with pytest.raises(DataError, match=r"is not text .got the number 501.; give text"):
        spec.parse_request([{"zip": 501}], "rows")
    assert learn(rows, zip="number").inputs["number"].columns == ("zip",)


def test_few_zeros_among_many_numbers_are_slips_and_many_codes_are_a_category():
    number, category = kinds.find("number"), kinds.find("category")
    assert number.detect(pa.array([*map(str, range(1000)), "007"])) == 0.9
    many = pa.array([f"{code:05}" for code in range(400, 2000)] * 2)
    assert (number.detect(many), category.detect(many)) == (0, 0.5)
    assert number.detect(pa.array(["0", "0.5", "1", "-0.25", "0"])) == 0.9
    assert suggest_pipeline(table(x=list(range(ROWS)), y=(ZIPS * ROWS)[:ROWS]), "y")["task"] == "classification"


MOMENTS = [datetime(2023, 1, 1) + timedelta(hours=hour * 37) for hour in range(240)]


@pytest.mark.parametrize(
    "format",
    [
        *("%d.%m.%y", "%b %Y", "%d-%b-%Y %I:%M %p", "%m/%d/%y", "%d-%m-%y", "%d %b %y", "%B %Y", "%b-%y", "%Y-%m"),
        *("%d %B %Y", "%d-%b-%y", "%m/%Y", "%Y.%m.%d", "%d.%m.%Y, %H:%M", "%d.%m.%y %H:%M", "%A, %d %B %Y"),
        *("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%b %d, %Y", "%m/%d/%Y %I:%M:%S %p"),
    ],
)
def test_dates_as_people_write_them(format):
    texts = [moment.strftime(format) for moment in MOMENTS]
    rows = table(due=texts, y=["yes", "no"] * 120)
    assert suggest_pipeline(rows, "y")["kinds"] == {"due": "moment"}
    spec = learn(rows)
    assert spec.inputs["due"].state["format"]
    read, errors = spec.validate_table(table(due=texts[7:8]))
    assert not errors
    assert read["due"][0].as_py().replace(tzinfo=None) == datetime.strptime(texts[7], format)
    asked = spec.parse_request([{"due": texts[7]}], "rows")
    assert asked["due"] == read["due"]
    _, errors = spec.validate_table(table(due=["31st of May"]))
    assert errors == {0: f"due: not a time written as {spec.inputs['due'].state['format']} (got '31st of May')"}


@pytest.mark.parametrize("text", ["3. März 2023", "3 mars 2023", "3. Mär 2023", "3 Sept 2023", "3 de octubre de 2023"])
def test_months_of_other_languages(text):
    month = {"oct": 10, "Sep": 9}.get(text.split()[1][:3], 10 if "oct" in text else 3)
    column = pa.array([text] * 3)
    moment = kinds.find("moment")
    read, errors = moment.with_options(moment.infer_options(column, {})).validate(column)
    assert not errors
    assert (read[0].as_py().month, read[0].as_py().day) == (month, 3)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["03/04/2023", "05/06/2023"], "such as '03/04/2023' and '05/06/2023', may be %d/%m/%Y or %m/%d/%Y"),
        (["03-04-05", "05-06-07"], "'03-04-05' and '05-06-07', may be %d-%m-%y or"),
        (["Oct 5th, 2023", "Nov 6th, 2023"], "'Oct 5th, 2023' and 'Nov 6th, 2023', are written in no known format"),
        (["Q1 2023", "Q2 2023"], "'Q1 2023' and 'Q2 2023', are written in no known format"),
    ],
)
def test_dates_that_may_be_read_two_ways_ask_for_the_format(texts, says):
    rows = (texts * ROWS)[:ROWS]
    notes = suggest_pipeline(table(x=rows, z=list(range(ROWS)), y=LABELS), "y")["notes"]
    assert any(says in note and "set {kind: moment, format: " in note for note in notes), notes


@pytest.mark.parametrize(
    "texts",
    [["1.2.10", "2.0.1", "3.14.15"], ["2024", "2025"], ["room 12", "room 14"], ["3.1416"], ["Mark 12", "Jane 14"]],
)
def test_what_is_no_date_stays(texts):
    assert kinds.find("moment").detect(pa.array(texts * 20)) == 0


def test_texts_beside_typed_columns_are_read_one_way():
    days = pa.array([moment.date() for moment in MOMENTS])
    spec = learn(pa.table({"due": days, "x": np.arange(240.0) / 3, "y": ["yes", "no"] * 120, "_origin": ["t"] * 240}))
    _, errors = spec.validate_table(pa.table({"due": ["2023-05-01", "01.05.2023"], "x": ["37.5", "37,5"]}))
    assert list(errors) == [1]
    assert spec.validate_table(pa.table({"due": ["2023-05-01"], "x": ["37.5"]}))[1] == {}
