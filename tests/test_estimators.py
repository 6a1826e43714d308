"""Classifier and Regressor are scikit-learn estimators: they take arrays and frames of mixed columns, by seed."""

import random

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import evergreen
from evergreen.core.errors import DataError, ModelError

INFERRED = "the columns of a frame are looked at: whole numbers may be categories, and names take part in the split"
EXPECTED = dict.fromkeys(("check_classifier_data_not_an_array", "check_regressor_data_not_an_array"), INFERRED)


def mixed_rows(count: int) -> tuple[dict[str, list[object]], list[str]]:
    """Rows whose label follows from a number and a category, with some numbers missing."""
    draw = random.Random(0)
    age = [draw.uniform(18, 80) for _ in range(count)]
    plan = [draw.choice(["basic", "pro", "team"]) for _ in range(count)]
    label = ["leaves" if years < 45 and kind != "team" else "stays" for years, kind in zip(age, plan, strict=True)]
    return {"age": [None if draw.random() < 0.05 else years for years in age], "plan": plan}, label


@pytest.mark.parametrize("estimator", [evergreen.Classifier, evergreen.Regressor])
@pytest.mark.slow
def test_scikit_learn_s_own_checks_pass(estimator) -> None:
    check_estimator(estimator("linear", epochs=8), expected_failed_checks=EXPECTED, on_skip=None)


@pytest.mark.slow
def test_mixed_columns_with_missing_values_and_texts_as_labels() -> None:
    columns, labels = mixed_rows(400)
    model = evergreen.Classifier("mlp", epochs=40).fit(columns, labels)
    assert model.score(columns, labels) > 0.9
    assert model.classes_.tolist() == ["leaves", "stays"]
    assert model.feature_names_in_.tolist() == ["age", "plan"]
    assert set(model.predict(columns)) == {"leaves", "stays"}
    assert model.predict_proba(columns).shape == (400, 2)
    assert model.model_.spec.inputs.keys() == {"number", "category"}
    with pytest.raises(DataError, match=r"row 0.*age"):
        model.predict({"age": ["old"], "plan": ["pro"]})


def test_every_frame_is_the_same_table() -> None:
    columns, labels = mixed_rows(120)
    pandas = pytest.importorskip("pandas")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    fitted = [
        evergreen.Classifier("linear", epochs=3).fit(frame, labels)
        for frame in (columns, pa.table(columns), pandas.DataFrame(columns), rows)
    ]
    chances = [model.predict_proba(columns) for model in fitted]
    assert all(np.array_equal(chances[0], other) for other in chances[1:])


def test_the_same_seed_gives_the_same_network_and_leaves_torch_alone() -> None:
    import torch

    X, y = load_breast_cancer(return_X_y=True)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (evergreen.Classifier("mlp", epochs=2, random_state=3).fit(X, y).predict_proba(X) for _ in "ab")
    other = evergreen.Classifier("mlp", epochs=2, random_state=4).fit(X, y).predict_proba(X)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_auto_keeps_the_architecture_that_validates_best() -> None:
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, (400, 2))
    model = evergreen.Classifier(epochs=30).fit(X, X[:, 0] * X[:, 1] > 0)
    scores = {row["architecture"]: row["log_loss"] for row in model.leaderboard_}
    assert model.architecture_ == min(scores, key=scores.__getitem__) != "linear"
    assert model.score(X, X[:, 0] * X[:, 1] > 0) > 0.85


def test_what_is_kept_learns_from_all_rows_and_is_calibrated_by_those_held_out() -> None:
    rows = np.random.default_rng(0)
    X = rows.uniform(-2, 2, size=(200, 3))
    y = X @ [1.0, 2.0, 3.0] + rows.normal(size=200)
    model = evergreen.Regressor("linear", epochs=40).fit(X, y)
    ridge = Ridge(0.3).fit(X, y)
    assert np.abs(model.predict(X) - ridge.predict(X)).mean() < 0.04  # 0.065 without the held-out rows
    answers = model.model_.predict({f"x{column}": X[:, column] for column in range(3)})
    assert 0.8 < np.mean((answers["low"].to_numpy() <= y) & (y <= answers["high"].to_numpy())) < 0.97


@pytest.mark.slow
def test_cross_validation_and_clones() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = evergreen.Regressor("linear", options={"learning_rate": 0.01}, epochs=30)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.4
    assert clone(model).get_params() == model.get_params()


def test_a_trained_model_is_stored_and_loaded(tmp_path) -> None:
    columns, labels = mixed_rows(60)
    model = evergreen.Classifier("linear", epochs=2).fit(columns, labels)
    model.model_.save(tmp_path / "model")
    loaded = evergreen.load(tmp_path / "model")
    assert loaded.predict(columns).column("prediction").to_pylist() == model.predict(columns).tolist()
    assert loaded.classes == ["leaves", "stays"]


def test_a_mistake_is_one_line() -> None:
    X, y = [[float(number)] for number in range(20)], ["a", "b"] * 10
    with pytest.raises(ModelError, match="did you mean 'linear'"):
        evergreen.Classifier("linaer").fit(X, y)
    with pytest.raises(ModelError, match="'dropuot'"):
        evergreen.Classifier("mlp", options={"dropuot": 0.1}).fit(X, y)
    with pytest.raises(ValueError, match="one class"):
        evergreen.Classifier("linear").fit(X, ["a"] * 20)
