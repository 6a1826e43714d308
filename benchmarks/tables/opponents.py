"""Logistic or ridge regression, random forest and histogram boosting by scikit-learn's defaults, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RARE = 10  # rows of a category, below which it shares a column with others


def opponents(train: pd.DataFrame, test: pd.DataFrame, target: str, has_classes: bool) -> dict[str, dict[str, float]]:
    """Return each opponent's scores on the test rows."""
    x, y, z = train.drop(columns=target), train[target].to_numpy(), test.drop(columns=target)
    found = {}
    for name, model in _models(x, has_classes).items():
        model.fit(x, y)
        if has_classes:
            answers = dict(zip(model.classes_, model.predict_proba(z).T, strict=True))
            found[name] = class_scores(answers, test[target].to_numpy())
        else:
            found[name] = number_scores(model.predict(z), test[target].to_numpy())
    return found


def class_scores(probabilities: Mapping[Any, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """Return log-loss and accuracy of (N,) probabilities of each class."""
    names = list(probabilities)
    p_NK = np.clip(np.stack([probabilities[name] for name in names], 1), 1e-15, 1)
    p_NK /= p_NK.sum(1, keepdims=True)
    place = np.array([names.index(one) for one in truth])
    hits = p_NK.argmax(1) == place
    return {"log_loss": float(-np.log(p_NK[np.arange(len(place)), place]).mean()), "accuracy": float(hits.mean())}


def number_scores(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the root mean squared and the mean absolute error of (N,) predictions."""
    error = np.asarray(predicted, float) - truth
    return {"rmse": float(np.sqrt((error**2).mean())), "mae": float(np.abs(error).mean())}


def _models(x: pd.DataFrame, has_classes: bool) -> dict[str, Any]:
    from sklearn import ensemble, linear_model
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = [name for name in x if x[name].dtype.kind in "iuf"]
    words = [name for name in x if name not in numbers]
    fill = SimpleImputer(strategy="constant", fill_value="missing")
    one_hot = make_pipeline(fill, OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE))
    known = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan}

    def columns(of_numbers: Any, of_words: Any) -> ColumnTransformer:
        return ColumnTransformer([("numbers", of_numbers, numbers), ("words", of_words, words)])

    filled = columns(SimpleImputer(), one_hot)
    scaled = columns(make_pipeline(SimpleImputer(), StandardScaler()), one_hot)
    coded = columns("passthrough", OrdinalEncoder(**known))
    kind = "Classifier" if has_classes else "Regressor"
    line = linear_model.LogisticRegression(max_iter=1000) if has_classes else linear_model.Ridge()
    return {
        "line": make_pipeline(scaled, line),
        "forest": make_pipeline(filled, getattr(ensemble, f"RandomForest{kind}")(random_state=0)),
        "boosting": make_pipeline(coded, getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=0)),
    }
