"""The Python API: frames of every library in, predictions out; a project is what the command line sees."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import evergreen
from evergreen.api import to_table
from evergreen.core.errors import DataError, PipelineError

ROOT = Path(__file__).parents[1]
COLUMNS = {"age": [0.1, 0.9, 0.4], "colour": ["red", "blue", "red"]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


@pytest.fixture(scope="module")
def model(random_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "größen 1"
    random_model("sizes", folder, 0)
    return evergreen.load(folder)


def polars_like(columns):
    """An object that shows its columns by Arrow's C interface alone, as a Polars DataFrame does."""

    class Frame:
        def __arrow_c_stream__(self, requested_schema=None):
            text = pa.table(columns).cast(pa.schema([("age", pa.float64()), ("colour", pa.large_string())]))
            return text.__arrow_c_stream__(requested_schema)

    return Frame()


def pandas_frame(columns):
    return pytest.importorskip("pandas").DataFrame(columns, index=[7, 7, 9])


def test_importing_the_package_imports_no_engine() -> None:
    code = "import sys, evergreen; print(sorted({'torch', 'pyarrow', 'numpy', 'ray', 'prefect'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(getattr(evergreen, name).__doc__ for name in evergreen.__all__)
    with pytest.raises(AttributeError, match="laod"):
        evergreen.laod  # noqa: B018


@pytest.mark.parametrize(
    "frame",
    [pa.table, lambda columns: pa.table(columns).to_batches()[0], dict, pandas_frame, polars_like],
    ids=["table", "batch", "dict", "pandas", "polars"],
)
def test_every_frame_gives_the_same_predictions(model, frame) -> None:
    found = model.predict(frame(COLUMNS))
    assert found.column_names == ["prediction", "p_large", "p_small"]
    wanted = model.predict(ROWS)
    assert found.column("prediction").to_pylist() == [row["prediction"] for row in wanted]
    assert found.column("p_large").to_pylist() == [row["probabilities"]["large"] for row in wanted]
    assert model.classes == ["large", "small"]
    assert np.allclose(model.predict_proba(frame(COLUMNS)).sum(axis=1), 1)


def test_columns_that_the_model_does_not_read_are_passed_over(model) -> None:
    more = {"name": ["a", "b", "c"], **COLUMNS, "size": ["large"] * 3}
    assert model.predict(more).equals(model.predict(COLUMNS))
    assert model.predict([{"size": "large", **row} for row in ROWS]) == model.predict(ROWS)


@pytest.mark.parametrize("rows", [False, True])
def test_what_is_unusual_is_one_warning(model, rows) -> None:
    odd = [{"age": None, "colour": "RED"}, {"age": 7.0, "colour": "blue"}]
    frame = odd if rows else {"age": [None, 7.0], "colour": ["RED", "blue"]}
    for ask in (model.predict, model.predict_proba):
        with pytest.warns(UserWarning, match="age: ") as caught:
            assert len(ask(frame)) == 2
        (text,) = [str(one.message) for one in caught]
        assert "age: 1 of 2 values was missing and filled by the training median" in text
        assert "age: 1 of 2 values was outside the training range" in text
        assert "colour: 1 of 2 values was never seen (RED; did you mean red?)" in text
        assert caught[0].filename == __file__


def test_a_row_that_cannot_be_encoded_is_named(model) -> None:
    with pytest.raises(DataError, match=r"row 1.*age"):
        model.predict({"age": ["1", "old", "2"], "colour": COLUMNS["colour"]})
    with pytest.raises(DataError, match=r"row 2.*'age'"):
        model.predict([*ROWS[:2], {"age": "old", "colour": "red"}])
    with pytest.raises(DataError, match="did you mean 'color'"):
        model.predict({"age": [1.0], "color": ["red"]})
    with pytest.raises(DataError, match="a int is not a frame"):
        model.predict(3)


def test_images_are_predicted_from_arrays_of_matrices(random_model, tmp_path) -> None:
    random_model("digits", tmp_path / "m", 0)
    model = evergreen.load(str(tmp_path / "m"))
    images = np.random.default_rng(1).random((5, 4, 4))
    rows = [{"image": image.tolist()} for image in images]
    assert model.predict({"image": images}).column("prediction").to_pylist() == [
        row["prediction"] for row in model.predict(rows)
    ]


def test_facts_cannot_be_set(model) -> None:
    assert model.card["architecture"] == "linear"
    assert model.spec.columns == ("age", "colour")
    with pytest.raises(AttributeError):
        model.card = {}


def test_what_is_not_there_is_said_with_the_way_out(tmp_path, monkeypatch) -> None:
    with pytest.raises(PipelineError, match=r"model\.json"):
        evergreen.load(tmp_path)
    with pytest.raises(PipelineError, match=r"models/digits/model\.json"):
        evergreen.load("models/digits")
    monkeypatch.chdir(ROOT)  # where a folder is called data
    with pytest.raises(PipelineError, match="data has no released version"):
        evergreen.load("data")
    with pytest.raises(PipelineError, match="did you mean 'digits'"):
        evergreen.load("digit")


def test_a_project_lists_its_pipelines_from_anywhere(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    project = evergreen.Project(ROOT)
    assert "digits" in project.pipelines
    assert project.root == ROOT
    with pytest.raises(PipelineError):
        evergreen.Project()


def test_columns_of_pandas_keep_their_types() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "whole": pandas.array([1, None], dtype="Int64"),
            "text": ["a", None],
            "kind": pandas.Categorical(["x", "y"]),
            "day": pandas.to_datetime(["2024-01-31", None]),
            "number": [0.5, float("nan")],
            3: [True, False],
        },
        index=[5, 5],
    )
    found = to_table(frame)
    assert found.to_pylist()[1] == {"whole": None, "text": None, "kind": "y", "day": None, "number": None, "3": False}
    assert pa.types.is_int64(found.schema.field("whole").type)
    assert pa.types.is_timestamp(found.schema.field("day").type)
