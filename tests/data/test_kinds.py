"""Every kind in data/kinds/ keeps the contract; a new file there is tested by being there."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.row_ids import hash_rows
from evergreen.data.spec import TensorField

IMAGES = np.random.default_rng(0).integers(0, 17, (12, 8, 8)).astype(np.uint8)
WIDE = [pa.large_list(pa.large_list(kind)) for kind in (pa.float32(), pa.int16())]  # another way to store a graph
COLUMNS = {
    "number": pa.array([1.5, -2.0, 3.25, 0.0] * 3),
    "category": pa.array(["red", "green", "blue", "green"] * 3),
    "boolean": pa.array([True, False, True, True] * 3),
    "image": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES),
    "series": pa.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] * 6),
    "labels": pa.array([["sea", "sky"], ["sky"], [], ["sea"]] * 3),
    "text": pa.array([f"this is sentence {first} {second}" for first in "abcd" for second in "abc"]),
    "graph": pa.array([{"nodes": [[0.0], [1.0]], "edges": [[0, 1]]}, {"nodes": [[1.0]], "edges": []}] * 6),
}


ELSEWHERE = {"audio", "boxes", "mask", "moment", "seed", "tags", "text", "tokens"}  # tested in files of their own


def test_every_kind_has_a_sample():
    assert set(kinds.names()) == set(COLUMNS) | ELSEWHERE


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_the_right_kind_is_recognised(name):
    scores = {kind: kinds.find(kind).detect(COLUMNS[name]) for kind in kinds.names()}
    assert max(scores, key=scores.get) == name


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_encode_decode_and_json(name):
    kind = kinds.find(name)
    column, faults = kind.validate(COLUMNS[name])
    assert faults == {}
    field = kind.fit({"x": column})
    assert TensorField.from_json(json.loads(json.dumps(field.to_json()))) == field
    encoded = kind.encode(field, [column])
    assert encoded.shape == (12, *field.shape)
    assert encoded.dtype == field.dtype
    back = kind.decode(field, encoded)
    if name in ("boolean", "category"):
        assert [row[0] for row in back] == column.to_pylist()
    elif name in ("labels", "text"):
        assert back == column.to_pylist()
    elif name == "graph":
        assert back == COLUMNS[name].to_pylist()
    else:
        want = np.asarray(column.to_pylist() if name != "image" else IMAGES)
        np.testing.assert_allclose(np.asarray(back).reshape(want.shape), want, atol=1e-4)
    augmented = kind.augment(field, encoded, np.random.default_rng(0))
    assert augmented.shape == encoded.shape
    assert augmented.dtype == encoded.dtype


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_requests_value_is_encoded_as_the_columns_is(name):
    kind = kinds.find(name)
    column, _ = kind.validate(COLUMNS[name])
    field = kind.fit({"x": column})
    value = kind.to_json(field, 0, column[0])
    assert value == (IMAGES[0].tolist() if name == "image" else column[0].as_py())
    typed = kind.to_arrow(field, [kind.from_json(field, 0, value)])
    np.testing.assert_array_equal(kind.encode(field, [typed]), kind.encode(field, [column.slice(0, 1)]))
    assert kind.json_schema(field, 0)["example"] is not None


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_identity_does_not_depend_on_the_storage(name):
    kind = kinds.find(name)
    other = {
        "number": COLUMNS["number"].cast(pa.float32()),
        "category": COLUMNS["category"].dictionary_encode(),
        "boolean": pa.array(["Yes", "n", "T", "1"] * 3),
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES.astype(np.float32)),
        "series": pa.array(COLUMNS["series"].to_pylist(), pa.list_(pa.float32())),
        "graph": COLUMNS["graph"].cast(pa.struct({"nodes": WIDE[0], "edges": WIDE[1]})),
        "text": COLUMNS["text"].cast(pa.large_string()),
        "labels": pa.array([row[::-1] for row in COLUMNS["labels"].to_pylist()], pa.large_list(pa.string())),
    }[name]
    one, same = (
        hash_rows([kind.hash_input(kind.validate(column)[0])], len(column)) for column in (COLUMNS[name], other)
    )
    np.testing.assert_array_equal(one, same)


def test_numbers_are_standardised_and_missing_ones_become_the_median():
    kind = kinds.find("number")
    column, _ = kind.validate(pa.array([1.0, 2.0, None, 9.0]))
    field = kind.fit({"x": column})
    scale = {"mean": [4.0], "std": [pytest.approx(3.559026)], "median": [2.0], "low": [1.0], "high": [9.0]}
    scale["bend"] = [[-19.0], [23.0], [7.0]]
    assert field.state == {**scale, "format": ["1234.5"], "missing": [True], "missing_flags": [0]}
    encoded = kind.encode(field, [column])
    assert encoded[2, 0] == encoded[1, 0]
    assert encoded[:, 1].tolist() == [0, 0, 1, 0]
    assert kind.fit({"x": column}, indicator=[False]).shape == (1,)


@pytest.mark.parametrize(
    ("said", "low", "high"),
    [("standard", -1.8, 1.8), ("minmax", 0, 1), ("robust", -1.35, 1.35), ("log", -5, 1.3), ("quantile", -2.6, 2.6)],
)
def test_numbers_on_several_scales_come_back(said, low, high):
    kind, column = kinds.find("number"), pa.array([float(i) for i in range(201)])
    field = kind.fit({"x": column}, scaling=[said])
    encoded = kind.encode(field, [column])
    assert low <= encoded.min() < encoded.max() <= high
    assert (np.diff(encoded[:, 0]) >= 0).all()
    inside = slice(2, -2) if said == "quantile" else slice(None)
    back = np.array(kind.decode(field, encoded))[inside, 0]
    np.testing.assert_allclose(back, column.to_numpy()[inside], atol=1e-3)


def test_each_column_of_a_tensor_has_its_own_options():
    kind = kinds.find("number")
    column = pa.array([1.0, 2.0, 3.0, 4.0, 1000.0, None])
    field = kind.fit({"a": column, "b": column}, scaling=["standard", "log"], outliers=["flag", "clip"])
    assert field.shape == (2 + 2 + 1,)
    assert json.loads(json.dumps(field.state)) == field.state
    encoded = kind.encode(field, [column, column])
    assert encoded[:, 4].tolist() == [0, 0, 0, 0, 1, 0], "an outlier is told of"
    assert encoded[4].max() < 2, "and held at the fence"
    assert encoded[:, 2].tolist() == encoded[:, 3].tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("options", "target", "says"),
    [
        ({"scaling": ["standart"]}, False, "'standart' is not a valid value of scaling"),
        ({"outliers": ["cut"]}, False, "'cut' is not a valid value of outliers"),
        ({"scaling": ["log"]}, True, "cannot be rescaled non-linearly or clipped"),
    ],
)
def test_scales_that_there_are_not(options, target, says):
    with pytest.raises(DataError, match=says):
        kinds.find("number").fit({"x": pa.array([1.0, 2.0])}, target=target, **options)


@pytest.mark.parametrize("far", [50.0, 1e9, -1e29])
def test_a_wild_row_moves_no_other_and_stays_in_the_stated_range(far):
    kind, ordinary = kinds.find("number"), np.linspace(-1, 1, 201)  # 97.5% quantile 0.95
    calm, wild = (kind.fit({"x": pa.array([*ordinary, value])}) for value in (0.0, far))
    column = pa.array([*ordinary, 2.8, 2.9, 3.2, 100.0, 1e30])
    usual, beside = (kind.encode(field, [column])[:, 0] for field in (calm, wild))
    np.testing.assert_allclose(beside[:201], usual[:201], rtol=0.3, atol=0.3)
    x = usual * calm.state["std"][0] + calm.state["mean"][0]
    np.testing.assert_allclose(x[:202], column.to_numpy()[:202], atol=1e-5, err_msg="up to the fence nothing changes")
    assert (np.diff(x[201:]) > 0).all(), "beyond it order remains"
    assert x[-1] == pytest.approx(3.8, rel=0.02), "and four times the quantile is the most"
    np.testing.assert_allclose(
        np.ravel(kind.decode(calm, usual[:, None]))[:205], column.to_numpy()[:205], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    "values", [[0.0] * 90 + [1.0] * 10, [0.0] * 90 + [float(x) for x in range(1, 11)], [3.0] * 9, [1.0, 2.0, 9.0]]
)
def test_columns_of_one_common_value_are_bent_only_where_nothing_was(values):
    kind = kinds.find("number")
    field = kind.fit({"x": pa.array(values)})
    assert np.ravel(kind.decode(field, kind.encode(field, [pa.array(values)]))) == pytest.approx(values, abs=1e-5)
    assert np.abs(kind.encode(field, [pa.array([1e29, -1e29])])).max() < 200


def test_targets_and_curves_are_not_bent():
    kind, column = kinds.find("number"), pa.array([*range(100), 1e9])
    target = kind.fit({"x": column}, target=True)
    assert kind.decode(target, kind.encode(target, [column]))[-1] == pytest.approx(1e9)
    for options in ({"scaling": ["log"]}, {"outliers": ["keep"]}):
        field = kind.fit({"x": column}, **options)
        assert np.ravel(kind.decode(field, kind.encode(field, [column])))[-1] == pytest.approx(1e9, rel=1e-3)


def test_a_wild_time_moves_no_other():
    kind = kinds.find("moment")
    days = [datetime.datetime(2024, 1, 1) + datetime.timedelta(n) for n in range(200)]
    column = kind.validate(pa.array([*days, datetime.datetime(9999, 1, 1)], pa.timestamp("us")))[0]
    field = kind.fit({"x": column}, cycles=[])
    assert 1.2 < kind.encode(field, [column])[199, 0] < kind.encode(field, [column])[200, 0] < 15


def test_a_constant_column_stays_finite():
    kind = kinds.find("number")
    field = kind.fit({"x": pa.array([0.1 + 0.2] * 5)})
    assert field.state["std"] == [1.0]
    assert np.isfinite(kind.encode(field, [pa.array([1e29])])).all()


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (["1", " 2 ", "", "NA", "1e3"], {}),
        (["1", "two", "3"], {1: "not a number"}),
        (["1", "inf", "-Infinity"], {1: "infinite", 2: "infinite"}),
        (["1_000"], {0: "not a number"}),
        (["1e40"], {0: "larger than 1e+30"}),
    ],
)
def test_numbers_written_as_text(words, faults):
    assert kinds.find("number").validate(pa.array(words))[1] == faults


def test_an_unseen_category_has_a_slot_of_its_own_and_rare_ones_share_it():
    kind = kinds.find("category")
    field = kind.fit({"x": pa.array(["a", "a", "b", "b", "once"])})
    assert field.sizes == (3,)
    assert kind.encode(field, [pa.array(["a", "b", "once", "never", None])]).tolist() == [[1], [2], [0], [0], [0]]


def test_of_very_many_values_the_commonest_have_a_slot_and_others_share():
    kind = kinds.find("category")
    words = pa.array([f"w{i % 50:02}" for i in range(130)])  # w00 … w29 come three times, the others twice
    capped = kind.fit({"x": words, "y": words}, most=[10, 40], buckets=[0, 4])
    assert capped.sizes == (11, 45)
    assert capped.state["values"][0] == [f"w{i:02}" for i in range(10)]
    assert capped.state["values"][1][-1] == "w39"
    few = pa.array(["w03", "w45", "w46", "never", None])
    first, second = kind.encode(capped, [few, few]).T.tolist()
    assert first == [4, 0, 0, 0, 0]
    assert second[0] == 4
    assert all(41 <= code <= 44 for code in second[1:4])
    assert second[4] == 0, "what is missing is in no bucket"
    assert kind.decode(capped, np.array([[4, 41]])) == [["w03", None]]
    with pytest.raises(DataError, match="most is 0"):
        kind.fit({"x": words}, most=[0])


def test_a_boolean_is_one_in_whichever_words():
    kind = kinds.find("boolean")
    column, faults = kind.validate(pa.array(["TRUE", "no", "N", "1", "off", " t ", "", "NA", "maybe"]))
    assert column.to_pylist() == [True, False, False, True, False, True, None, None, None]
    assert faults == {8: "neither yes nor no"}
    assert kind.validate(pa.array([1, 0, 2, None]))[0].to_pylist() == [True, False, None, None]
    field = kind.fit({"x": column})
    assert (field.kind, field.encoder, field.sizes) == ("category", "boolean", (3,))
    assert kind.encode(field, [column]).ravel().tolist() == [2, 1, 1, 2, 1, 2, 0, 0, 0]
    assert [kind.from_json(field, 0, value) for value in (True, "no", 1, None)] == [True, False, True, None]
    for wrong in (2, "maybe", 0.5, [True]):
        with pytest.raises(DataError, match="is "):
            kind.from_json(field, 0, wrong)
    assert kind.detect(pa.array(["f", "m"])) == kind.detect(pa.array(["no", "no"])) == 0


def test_a_missing_category_is_a_value_when_training_rows_had_it():
    kind = kinds.find("category")
    field = kind.fit({"x": pa.array(["a", "a", None, None])})
    assert kind.encode(field, [pa.array([None, "a", "z"])]).tolist() == [[1], [2], [0]]
    assert kind.from_json(field, 0, None) is None


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([2, 0, 1, 2]), [0, 1, 2]),
        (pa.array([2.0, 0.0, 1.0]), [0, 1, 2]),
        (pa.array(["2", "10", "1"]), [1, 2, 10]),
        (pa.array(["02", "10"]), ["02", "10"]),
        (pa.array([True, False]), [False, True]),
        (pa.array(["True", "false"]), [False, True]),
        (pa.array(["yes", "no"]), ["no", "yes"]),
    ],
)
def test_classes_keep_their_type(column, values):
    kind = kinds.find("category")
    field = kind.fit({"y": kind.validate(column)[0]}, target=True)
    assert field.state["values"] == [values]
    assert field.sizes == (len(values),)
    assert kind.decode(field, kind.encode(field, [kind.validate(column)[0]])) == [
        values[int(i)] for i in kind.encode(field, [kind.validate(column)[0]])
    ]


def test_one_and_true_are_not_the_same():
    kind = kinds.find("category")
    for words in (["0", "1"] * 2, ["false", "true"] * 2):
        field = kind.fit({"x": pa.array(words)})
        assert kind.encode(field, [pa.array(words[:2])]).ravel().tolist() == [1, 2]


def test_an_unknown_class_is_an_error():
    kind = kinds.find("category")
    field = kind.fit({"y": pa.array(["a", "b"])}, target=True)
    with pytest.raises(DataError, match="'c' is not a class"):
        kind.encode(field, [pa.array(["a", "c"])])


def test_images_of_another_shape_are_faults_and_channels_come_first():
    kind = kinds.find("image")
    column = pa.array([[[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]], None, [[5, 6], [7, 8]]])
    _, faults = kind.validate(column)
    assert set(faults) == {1, 2}
    assert faults[2] == "missing"
    coloured = np.random.default_rng(0).normal(size=(4, 6, 5, 3))
    field = kind.fit({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(coloured)})
    assert field.shape == (3, 6, 5)


def test_augmented_images_stay_near_and_dark_at_the_rim():
    kind = kinds.find("image")
    images = np.full((50, 1, 9, 9), -1.0, np.float32)
    images[:, 0, 3:6, 3:6] = 2.0
    field = kind.fit({"x": COLUMNS["image"]})
    moved = kind.augment(field, images, np.random.default_rng(1))
    bright = (moved + 1).sum(axis=(1, 2, 3))
    assert 0.7 * 27 < bright.min() < 27 < bright.max() < 1.4 * 27, "scaled by an eighth of the side at most"
    assert (moved[:, 0, 4, 4] > 0).all(), "the middle stays"
    assert (moved[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] == -1).all()
    assert len(np.unique(moved.round(4), axis=0)) == 50, "each has a map of its own"
    assert moved.dtype == np.float32


def test_an_image_that_nothing_is_done_to_stays_the_same(monkeypatch):
    from evergreen.data.kinds import _augment_image as affine

    for name in ("TURN", "SCALE", "SHEAR", "SHIFT"):
        monkeypatch.setattr(affine, name, 0)
    images = np.random.default_rng(0).normal(size=(3, 2, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(affine.random_affine(images, np.random.default_rng(0)), images, atol=1e-6)


def test_labels_are_sets_of_words_whatever_holds_them():
    kind = kinds.find("labels")
    column, faults = kind.validate(pa.array(["sea; sky", "sky|sun", "", None]))
    assert (column.to_pylist(), faults) == ([["sea", "sky"], ["sky", "sun"], [], None], {})
    assert kind.validate(pa.array([[2, 1, 2], [3]]))[0].to_pylist() == [["1", "2"], ["3"]]
    assert set(kind.validate(pa.array([1.5, 2.5]))[1]) == {0, 1}
    field = kind.fit({"x": column.slice(0, 3)}, target=True)
    assert (field.shape, field.sizes) == ((3,), (3,))
    assert field.state == {"values": [["sea", "sky", "sun"]], "counts": [[1, 2, 1]], "sizes": [3], "rows": 3}
    assert kind.encode(field, [pa.array([["sun", "never seen"], []])]).tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("wrong", ["sea", [1], ["sea", ["sky"]]])
def test_a_request_gives_labels_as_a_list_of_texts(wrong):
    kind = kinds.find("labels")
    field = kind.fit({"x": COLUMNS["labels"]})
    assert kind.from_json(field, 0, ["sky", "sea", "sky"]) == ["sea", "sky"]
    with pytest.raises(DataError, match=r"^(is|holds) ") as error:
        kind.from_json(field, 0, wrong)
    assert error.value.fix


def test_a_target_knows_how_common_its_classes_are():
    kind = kinds.find("category")
    field = kind.fit({"y": pa.array(["b", "a", "b"])}, target=True)
    assert field.state["counts"] == [[1, 2]]


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'number'"):
        kinds.find("numbr")


ONE_MORE = '''
"""Angles in degrees, on the circle: 359 and 1 are near."""

import numpy as np
import pyarrow as pa

from evergreen.data.arrow import decode_array, to_float64
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind


class Angle(Kind):
    def detect(self, column):
        return 0.0  # only where a pipeline says so

    def validate(self, column):
        values, faults = to_float64(decode_array(column))
        return pa.array(values), faults

    def fit(self, columns, *, target=False):
        return TensorField("angle", tuple(columns), (2,), "float32", {})

    def encode(self, field, columns):
        turns = np.deg2rad(columns[0].to_numpy())
        return np.stack([np.sin(turns), np.cos(turns)], axis=1).astype(np.float32)

    def hash_input(self, column):
        return [value.tobytes() for value in column.to_numpy()]
'''


def test_one_more_kind_is_one_more_file(monkeypatch):
    from evergreen.data.prepare.config import PreprocessConfig
    from evergreen.data.prepare.table_reader import TableReader

    monkeypatch.setattr("evergreen.core.parts._project", {"kinds/angle": ONE_MORE})
    rows = pa.table(
        {"wind": [float(i) for i in range(100)], "y": ["a", "b"] * 50, "_origin": [str(i) for i in range(100)]}
    )
    found = TableReader.from_sample(rows, ["category"], PreprocessConfig(target="y", kinds={"wind": "angle"}))
    assert found.schema.inputs == {"wind": "angle"}
    kind = kinds.find("angle")
    assert kind.encode(kind.fit({"wind": rows["wind"]}), [pa.array([0.0, 90.0])]).round(3).tolist() == [[0, 1], [1, 0]]
