"""One encoding for training and requests; a wrong request is told which row, which field and what to do."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec, TensorField

KINDS = {
    "age": "number",
    "income": "number",
    "city": "category",
    "member": "category",
    "image": "image",
    "past": "series",
}
PLACE = "POST /shop/predict"


def table() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "age": pa.array([20.0, 30.0, 40.0, 50.0] * 3),
            "income": pa.array([1.0, None, 3.0, 4.0] * 3),
            "city": pa.array(["Ulm", "Bonn", "Ulm", "Köln"] * 3),
            "member": pa.array([True, False, True, True] * 3),
            "image": pa.FixedShapeTensorArray.from_numpy_ndarray(random.integers(0, 16, (12, 4, 4)).astype(np.uint8)),
            "past": pa.array([[1.0, 2.0, 3.0]] * 12),
            "buys": pa.array(["no", "yes", "yes", "no"] * 3),
        }
    )


@pytest.fixture
def spec() -> FeatureSpec:
    typed = {name: kinds.find(kind).validate(table()[name])[0] for name, kind in {**KINDS, "buys": "category"}.items()}
    inputs, target = fit(pa.table(typed), KINDS, "buys", "category")
    return FeatureSpec("classification", inputs, target, "buys", None, {"train": 12})


def row() -> dict:
    return {"age": 20, "income": None, "city": "Ulm", "member": True, "image": [[0] * 4] * 4, "past": [1, 2, 3.5]}


def test_fields(spec):
    assert {key: field.shape for key, field in spec.inputs.items()} == {
        "number": (3,),  # one of them may be missing
        "category": (2,),
        "image": (1, 4, 4),
        "past": (3, 1),
    }
    assert spec.inputs["category"].sizes == (4, 3)
    assert spec.target.shape == ()
    assert spec.target.sizes == (2,)


def test_save_and_load(spec, tmp_path):
    spec.save(tmp_path)
    assert FeatureSpec.load(tmp_path) == spec
    with pytest.raises(DataError, match="run the stage `preprocess`"):
        FeatureSpec.load(tmp_path / "nowhere")


def test_the_same_row_is_encoded_alike_from_a_table_a_text_file_and_a_request(spec):
    rows = [{name: table()[name][i].as_py() for name in KINDS if name != "image"} for i in range(12)]
    for i, one in enumerate(rows):
        one["image"] = table()["image"].chunk(0).to_numpy_ndarray()[i].tolist()
    wanted = spec.encode(table(), target=False)
    parsed = spec.encode(spec.parse_request(rows, PLACE), target=False)
    texts = table()
    for name in ("age", "income", "city", "member"):
        words = [None if value is None else str(value) for value in texts[name].to_pylist()]
        texts = texts.set_column(texts.column_names.index(name), name, pa.array(words))
    written = spec.encode(texts, target=False)
    for key, values in wanted.items():
        np.testing.assert_array_equal(parsed[key], values)
        np.testing.assert_array_equal(written[key], values)


def test_encoding_row_by_row_is_encoding_all(spec):
    whole = spec.encode(table(), target=True)
    for i in range(12):
        for key, values in spec.encode(table().slice(i, 1), target=True).items():
            np.testing.assert_array_equal(values[0], whole[key][i])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": ...}, r"row 1: the field 'age' is missing"),
        ({"age": ..., "agee": 3}, r"row 1: the field 'age' is missing; rename 'agee'"),
        ({"age": "20"}, r"row 1, field 'age': is not a number .got the text '20'.; give a number"),
        ({"age": True}, r"field 'age': is not a number .got true.; give"),
        ({"age": math.nan}, r"field 'age': is not a finite number .got nan.; give a finite number"),
        ({"age": math.inf}, r"field 'age': is not a finite number .got inf"),
        ({"age": 10**400}, r"field 'age': is not a finite number .got 1000"),
        ({"age": [1]}, r"field 'age': is not a number .got a list"),
        ({"city": 5}, r"field 'city': is not text .got the number 5.; give text"),
        ({"city": "half \ud800"}, r"field 'city': is not Unicode text; send whole"),
        ({"member": "true"}, r"field 'member': is not true or false .got the text 'true'.; give true or false"),
        ({"image": [[0] * 4] * 3}, r"field 'image': has the shape \(3, 4\) where \(4, 4\) is expected"),
        ({"image": [[0] * 4] * 3 + [[0] * 3]}, r"field 'image': is ragged"),
        ({"image": [[0] * 4] * 3 + [[0, 0, 0, "1"]]}, r"field 'image': holds something that is not a number"),
        ({"image": [[0] * 4] * 3 + [[0, 0, 0, True]]}, r"field 'image': holds something that is not a number"),
        ({"image": [[0] * 4] * 3 + [[0, 0, 0, math.nan]]}, r"field 'image': holds NaN"),
        ({"image": [[0] * 4] * 3 + [[0, 0, 0, None]]}, r"field 'image': holds something"),
        ({"image": 7}, r"field 'image': is not a list .got the number 7."),
        ({"past": [1, 2]}, r"field 'past': has the shape \(2,\) where \(3,\) is expected"),
        ({"past": [1, 2, math.inf]}, r"field 'past': holds NaN, Infinity"),
        ({"past": [[1], [2], [3]]}, r"field 'past': has the shape"),
        ({"past": [1, 2, 10**400]}, r"field 'past': "),
    ],
)
def test_a_wrong_request_names_the_row_the_field_and_the_fix(spec, change, says):
    wrong = {name: value for name, value in {**row(), **change}.items() if value is not ...}
    with pytest.raises(DataError, match=says) as caught:
        spec.parse_request([row(), wrong], PLACE)
    assert str(caught.value).startswith(f"{PLACE}, row 1")
    assert caught.value.fix


@pytest.mark.parametrize("rows", [[], {}, "x", None, [1], [None], [[]]])
def test_what_is_no_list_of_objects_is_refused(spec, rows):
    with pytest.raises(DataError):
        spec.parse_request(rows, PLACE)


def test_a_row_of_a_table_is_asked_about_as_it_is_meant(spec):
    read, _ = spec.validate_table(table())
    asked = spec.example_request(read.slice(1))
    assert (asked["member"], asked["income"], asked["city"]) == (False, None, "Bonn")
    np.testing.assert_array_equal(
        spec.encode(spec.parse_request([json.loads(json.dumps(asked))], PLACE), target=False)["category"],
        spec.encode(read.slice(1, 1), target=False)["category"],
    )
    odd = pa.table({**{name: table()[name] for name in KINDS}, "age": ["old"] + ["20"] * 11})
    assert spec.parse_request([spec.example_request(odd)], PLACE)  # the first row cannot be read: the next is taken


def test_a_long_name_is_shortened_in_the_message(spec):
    with pytest.raises(DataError) as caught:
        spec.parse_request([{"x" * 100_000: 1}], PLACE)
    assert len(str(caught.value)) < 400


def test_an_unseen_category_is_answered(spec):
    codes = spec.encode(spec.parse_request([{**row(), "city": "Mars"}], PLACE), target=False)["category"]
    assert codes[0, 0] == 0


def test_the_documentations_example_is_a_right_request(spec):
    schema = json.loads(json.dumps(spec.json_schema()))
    assert spec.parse_request([schema["example"]], PLACE).num_rows == 1
    assert schema["required"] == ["age", "income", "city", "member", "image", "past"]
    assert schema["additionalProperties"] is True


def test_a_table_without_a_column_is_refused_with_the_nearest_name(spec):
    with pytest.raises(DataError, match="no column 'age'; did you mean 'Age'"):
        spec.encode(table().rename_columns(["Age", *table().column_names[1:]]), target=False)


def test_bad_rows_of_a_file_are_named(spec):
    bad = table().set_column(0, "age", pa.array(["20", "old", None, "inf", *["1"] * 8]))
    _, faults = spec.validate_table(bad)
    assert faults == {1: "age: not a number (got 'old')", 3: "age: infinite (got 'inf')"}
    with pytest.raises(DataError, match="row 1, column 'age': not a number"):
        spec.encode(bad, target=False)


def test_augment_leaves_the_target_and_the_numbers(spec):
    batch = spec.encode(table(), target=True)
    varied = spec.augment(batch, np.random.default_rng(0))
    assert varied.keys() == batch.keys()
    np.testing.assert_array_equal(varied["number"], batch["number"])
    assert not np.array_equal(varied["image"], batch["image"])


def test_a_target_of_numbers_is_in_deviations():
    inputs, target = fit(table(), {"age": "number"}, "age", "number")
    assert isinstance(target, TensorField)
    spec = FeatureSpec("regression", inputs, target, "age", None, {})
    values = spec.encode(table(), target=True)["target"]
    assert values.shape == (12,)
    np.testing.assert_allclose(values * target.state["std"][0] + target.state["mean"][0], table()["age"], rtol=1e-6)
