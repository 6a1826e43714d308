"""What a column is taken for, which rows are set aside and why, and what a new pipeline is proposed."""

import datetime
import json

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.prepare import infer, suggest
from evergreen.data.prepare.check import separate_invalid_rows

N = 40


def table(**columns) -> pa.Table:
    base = {"x": [float(i % 7) for i in range(N)], "y": ["a", "b"] * (N // 2)}
    return pa.table({**base, **columns, "_origin": [f"t#{i}" for i in range(N)]})


@pytest.mark.parametrize(
    ("name", "column", "kind"),
    [
        ("v", [1, 2] * 20, "number"),
        ("v", ["1.5", "", "NA", "4"] * 10, "number"),
        ("v", [*["1"] * 39, "oops"], "number"),
        ("v", ["red", "blue"] * 20, "category"),
        ("v", [True, False] * 20, "boolean"),
        ("v", ["Yes", " no"] * 20, "boolean"),
        ("v", ["0", "1"] * 20, "number"),
        ("v", [[1.0, 2.0]] * N, "series"),
        ("v", [[[1, 2], [3, 4]]] * N, "image"),
        ("v", [None] * N, None),
        ("v", [""] * N, None),
        ("v", [f"word {i}" for i in range(N)], None),
        ("v", [datetime.date(2024, 1, 1)] * N, "moment"),
        ("v", ["31.01.2024 12:00"] * N, "moment"),
        ("v", [datetime.time(12)] * N, None),
        ("patient_id", list(range(100, 100 + N)), None),
        ("patient_id", [1, 2] * 20, "number"),
        ("user.id", list(range(N)), None),
        ("customerId", list(range(N)), None),
        ("CustomerID", [str(i) for i in range(N)], None),
        ("humid", list(range(N)), "number"),
        ("Solid", list(range(N)), "number"),
        ("unnamed_1", [str(i) for i in range(N)], None),
        ("height", list(range(N)), "number"),
    ],
)
def test_kinds_are_recognised(name, column, kind):
    found = infer.infer_schema(table(**{name: column}), "y", "category")
    assert found.inputs.get(name) == kind
    assert any("is left out" in note for note in found.notes) == (kind is None)
    assert all(name in note for note in found.notes)


def test_a_column_of_numbers_and_much_text_is_told():
    found = infer.infer_schema(table(v=[*["1"] * 30, *["oops"] * 10]), "y", "category")
    assert found.inputs["v"] == "category"
    assert "column 'v' is taken as a category: 25% of its values are not numbers" in found.notes[0]


def test_a_given_kind_holds():
    found = infer.infer_schema(table(v=[1, 2] * 20), "y", "category", given={"v": "category"})
    assert found.inputs == {"x": "number", "v": "category"}


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"target": "z"}, "no column 'z'"),
        ({"target": "Y"}, "no column 'Y'; did you mean 'y'"),
        ({"target": "y", "ignore": ["xx"]}, "no column 'xx'"),
        ({"target": "y", "key": ["who"]}, "no column 'who'"),
        ({"target": "y", "given": {"w": "number"}}, "no column 'w'"),
        ({"target": "y", "given": {"x": "numbr"}}, "no kind of data called 'numbr'; did you mean 'number'"),
        ({"target": "y", "ignore": ["x"]}, "no input column is left"),
        ({"target": "_origin"}, "no column '_origin'"),
    ],
)
def test_wishes_that_cannot_be(wishes, says):
    with pytest.raises(DataError, match=says):
        infer.infer_schema(table(), wishes.pop("target"), "category", **wishes)


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [
        (["a"] * N, "category", "only one class: 'a'"),
        (["a"] * 39 + [None], "category", "only one class"),
        ([f"w{i}" for i in range(N)], "category", "40 different values"),
        ([i / 3 for i in range(N)], "category", "task: regression"),
        ([0.5, 1.5] * 20, "category", "holds fractions"),
        (["a", "b"] * 20, "number", "holds no numbers; use `task: classification`"),
        ([None] * N, "number", "holds no numbers"),
        (["a", "b"] * 20, "series", "holds no numbers"),
    ],
)
def test_targets_that_do_not_suit_the_task(column, kind, says):
    with pytest.raises(DataError, match=says):
        infer.infer_schema(table(y=column), "y", kind)


def test_no_rows():
    with pytest.raises(DataError, match="there are no rows"):
        infer.infer_schema(table().slice(0, 0), "y", "category")


def test_bad_rows_are_set_aside_with_reason_value_and_origin():
    x = ["1.0"] * N
    x[3], x[5], x[7], x[8] = "oops", "inf", "", "oops"
    y = ["a", "b"] * (N // 2)
    y[6], y[8] = None, ""
    raw = table(x=x, y=y).append_column("_fault", pa.array([None] * 9 + ["3 fields where 2 belong"] + [None] * 30))
    good, bad = separate_invalid_rows(raw, infer.infer_schema(raw, "y", "category", given={"x": "number"}))
    assert good.num_rows == N - 5
    assert good["x"].null_count == 1
    assert bad["origin"].to_pylist() == ["t#3", "t#5", "t#6", "t#8", "t#9"]
    assert bad["reason"].to_pylist() == [
        "x: not a number",
        "x: infinite",
        "y: missing",
        "x: not a number; y: missing",
        "3 fields where 2 belong",
    ]
    assert json.loads(bad["row"][0].as_py()) == {"x": "oops", "y": "b"}


def test_a_row_without_a_key_is_set_aside():
    raw = table(who=[None, "", *["k"] * 38])
    good, bad = separate_invalid_rows(raw, infer.infer_schema(raw, "y", "category", key=["who"]), required=["who"])
    assert (good.num_rows, bad["reason"].to_pylist()) == (38, ["who: missing"] * 2)


def test_a_bad_image_is_set_aside():
    pixels = [[[1.0, 2.0], [3.0, 4.0]]] * N
    pixels[1], pixels[2], pixels[3] = [[1.0, 2.0]], None, [[1.0, float("nan")], [3.0, 4.0]]
    raw = table(photo=pixels)
    good, bad = separate_invalid_rows(raw, infer.infer_schema(raw, "y", "category"))
    assert bad["reason"].to_pylist() == [
        "photo: its shape is not (2, 2)",
        "photo: missing",
        "photo: holds NaN or Infinity",
    ]
    assert good.num_rows == N - 3


YEARS = list(range(1980, 1980 + N))
MONTHS = [f"{1990 + i // 12}-{i % 12 + 1:02}-01" for i in range(N)]


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ({"x": YEARS, "y": [i * 0.5 for i in range(N)]}, "forecasting"),
        ({"x": MONTHS, "y": [i % 5 for i in range(N)]}, "forecasting"),
        ({"x": [3.5, 1.0] * 20, "y": [i * 0.5 for i in range(N)]}, "regression"),
        ({"x": YEARS, "z": [1, 2] * 20, "y": [i * 0.5 for i in range(N)]}, "forecasting"),
        ({"y": ["a", "b"] * 20}, "classification"),
        ({"y": [True, False] * 20}, "classification"),
        ({"y": [0, 1, 2, 1] * 10}, "classification"),
        ({"y": ["0", "1"] * 20}, "classification"),
        ({"y": list(range(N))}, "regression"),
        ({"y": [["sea", "sky"], ["sky"]] * 20}, "classification"),
        ({"y": [f"word{i}" for i in range(10)] * 4}, "classification"),
    ],
)
def test_proposals(columns, task):
    found = suggest.suggest_pipeline(table(**columns), "y")
    assert found["task"] == task
    assert (found["time"] == "x") == (task == "forecasting")


def test_a_column_that_says_the_split_is_proposed_to():
    found = suggest.suggest_pipeline(table(split=["train", "test"] * 20), "y")
    assert (found["preprocess"], found["kinds"]) == ({"split_column": "split"}, {"x": "number"})
    for name, words in (("split", ["train", "left"]), ("mood", ["train", "test"])):
        assert "preprocess" not in suggest.suggest_pipeline(table(**{name: words * 20}), "y")


def test_a_proposal_for_a_missing_column():
    with pytest.raises(DataError, match="--target: there is no column 'yy'"):
        suggest.suggest_pipeline(table(), "yy")


def test_a_kind_that_contradicts_the_task():
    with pytest.raises(DataError, match="predicts a category, but kinds declares 'y' a number"):
        infer.infer_schema(table(), "y", "category", given={"y": "number"})


@pytest.mark.parametrize("column", [[{"a": 1}] * N, [b"\xff"] * N, [[{"a": 1}]] * N, [datetime.timedelta(1)] * N])
@pytest.mark.parametrize("name", ["v", "v_id"])
def test_columns_nobody_can_use_are_left_out(column, name):
    assert name not in infer.infer_schema(table(**{name: column}), "y", "category").inputs
    for kind in ("category", "number"):
        with pytest.raises(DataError):
            infer.infer_schema(table(y=column), "y", kind)


def test_whole_numbers_to_predict_are_classes_for_all_that_is_known():
    found = suggest.suggest_pipeline(table(y=[1, 2, 3, 4] * (N // 4)), "y")
    assert found["task"] == "classification"
    assert found["unsure"][0] == "'y' holds 4 whole numbers, taken as classes; for amounts: `task: regression`"
    assert not any(
        "taken as classes" in doubt for doubt in suggest.suggest_pipeline(table(y=[0, 1] * (N // 2)), "y")["unsure"]
    )
