"""Fit the simple model that a statistician would try first, and compare it on the same rows as the network.

A task names it as its REFERENCE. It is fitted to what the network may see, the training and validation rows, and its
outputs are shaped as those of the task's head, so that the task scores it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from evergreen.data import kinds
from evergreen.data.spec import FeatureSpec
from evergreen.models.base import Task
from evergreen.models.layers import NGRAMS, FlattenInputs, inverse_frequencies, ngrams_state
from evergreen.models.registry import find_task

MAX_ROWS = 20_000  # more make the fit slow and, with so few coefficients, hardly better
READ_WORDS = ("logistic_regression", "ridge_regression")  # references that take texts as TF-IDF
MAX_VALUES = 1000  # of a category; one with more is left out: a column for each would not fit into memory
Arrays = Mapping[str, np.ndarray[Any, Any]]


def fit_reference(
    spec: FeatureSpec, fit: Arrays, test: Arrays, *, seed: int = 0, task: Task | None = None
) -> tuple[str, np.ndarray[Any, Any]] | None:
    """Fit the simple model that the task names as its REFERENCE; return its name and outputs for the rows of `test`.

    `fit` and `test` are encoded inputs by name, `fit` with "target", its rows in their stored order. Outputs are shaped
    as the head's. `task` is the candidate's, which knows what is normal. None where the model cannot be fitted.
    """
    rows = len(fit["target"])
    if rows > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))
        fit = {name: array[chosen] for name, array in fit.items()}
    reference, y = find_task(spec.task).REFERENCE, fit["target"]
    reads_words = reference in READ_WORDS and any(map(ngrams_state, spec.inputs.values()))
    x, x_test = _words_matrices(spec, fit, test) if reads_words else (_matrix(spec, fit), _matrix(spec, test))
    of_words = " on TF-IDF" if reads_words else ""
    match reference:
        case "nearest_neighbors" if task is not None:
            return "nearest normal rows", _neighbors(task, x, y, x_test)
        case _ if not x.shape[1]:
            return None
        case "naive_bayes" if x.min() >= 0:
            return "naive Bayes", _naive_bayes(x, y, x_test, spec.target.sizes[0])
        case "linear_discriminants":
            return "linear discriminants", _discriminants(x, y, x_test)
        case "logistic_regression" if not spec.target.shape:
            return f"logistic regression{of_words}", _logistic(x, y, x_test, len(spec.target.state["values"][0]))
        case "ridge_regression":
            return f"ridge regression{of_words}", _ridge(x, y, x_test)
        case "autoregression" if y.ndim == 2:
            return _autoregression(spec, fit, test)
    return None


def _matrix(spec: FeatureSpec, arrays: Arrays) -> np.ndarray[Any, Any]:
    """Concatenate all inputs to a matrix (N, F), as the linear network sees them."""
    small = {
        name: field
        for name, field in spec.inputs.items()
        if field.shape and (not kinds.find(field.kind).HAS_CLASSES or max(field.sizes) <= MAX_VALUES)
    }
    if not small:
        return np.zeros((len(next(iter(arrays.values()))), 0))
    flat = FlattenInputs(small)({name: torch.as_tensor(arrays[name]) for name in small})
    return flat.double().numpy()


def _words_matrices(spec: FeatureSpec, fit: Arrays, test: Arrays) -> tuple[Any, Any]:
    """Return sparse (N, F) of both: each text's TF-IDF as the linear network sees it, and all else, standardized."""
    from scipy.sparse import csr_matrix, hstack

    words = {name: state for name, field in spec.inputs.items() if (state := ngrams_state(field))}
    rest = replace(spec, inputs={name: field for name, field in spec.inputs.items() if name not in words})
    others = [_matrix(rest, arrays) for arrays in (fit, test)]
    if others[0].shape[1]:
        others = [StandardScaler().fit(others[0]).transform(x) for x in others]

    def joined(arrays: Arrays, other: np.ndarray[Any, Any]) -> Any:
        parts = [csr_matrix(other)]
        for name, state in words.items():
            codes = arrays[f"{name} {NGRAMS}"]
            rows, places = np.nonzero(codes)
            shape = (len(codes), len(state["found"]))
            counts = csr_matrix((np.ones(len(rows)), (rows, codes[rows, places] - 1)), shape)
            parts.append(normalize(counts.multiply(inverse_frequencies(state).numpy())))
        return hstack(parts, "csr")

    return joined(fit, others[0]), joined(test, others[1])


def _naive_bayes(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], x_test: np.ndarray[Any, Any], items: int) -> Any:
    """Score each item by what it occurs with, taking the inputs as independent (Maron 1961)."""
    from sklearn.naive_bayes import MultinomialNB

    model = MultinomialNB(alpha=0.1).fit(x, y)
    score = np.full((len(x_test), items), -1e3)
    score[:, model.classes_] = model.predict_joint_log_proba(x_test)
    return score


def _discriminants(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], x_test: np.ndarray[Any, Any]) -> Any:
    """Project on the directions that separate the classes best (Fisher 1936; Rao 1948)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(x, y).transform(x_test)


def _logistic(x: Any, y: np.ndarray[Any, Any], x_test: Any, classes: int) -> np.ndarray[Any, Any]:
    from scipy.sparse import issparse
    from sklearn.linear_model import LogisticRegression

    scale = [] if issparse(x) else [StandardScaler()]
    model = make_pipeline(*scale, LogisticRegression(max_iter=500)).fit(x, y)
    probability = np.zeros((x_test.shape[0], classes))  # stays zero for a class that no row of the fit has
    probability[:, model.classes_] = model.predict_proba(x_test)
    return np.log(np.maximum(probability, 1e-12))


def _neighbors(
    task: Any, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], x_test: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Score rows by the mean distance to the three nearest normal rows (Ramaswamy et al. 2000).

    Scores are shifted so that the task's threshold flags its fraction of false alarms among the rows of the fit; each
    of those is measured without itself.
    """
    from sklearn.neighbors import NearestNeighbors

    x = x[y == task.normal]
    near = NearestNeighbors(n_neighbors=min(3, len(x) - 1)).fit(x)
    own, other = near.kneighbors()[0].mean(1), near.kneighbors(x_test)[0].mean(1)
    return np.asarray(other - np.quantile(own, 1 - task.false_alarms) + float(task.threshold))


def _ridge(x: Any, y: np.ndarray[Any, Any], x_test: Any) -> Any:
    from scipy.sparse import issparse
    from sklearn.linear_model import RidgeCV

    few = issparse(x)  # leaving out each row in turn takes all products of rows
    model = RidgeCV(alphas=np.logspace(-1, 1, 5), cv=5) if few else RidgeCV(alphas=np.logspace(-3, 4, 29))
    return model.fit(x, y).predict(x_test).reshape(x_test.shape[0], *y.shape[1:])


def _autoregression(spec: FeatureSpec, rows: Arrays, test: Arrays) -> tuple[str, np.ndarray[Any, Any]]:
    """Fit each step ahead by least squares to the last p values of all channels and to all other inputs.

    p, at most the window, is the one with the lowest AIC (Akaike 1974).
    """
    history = next(name for name, field in spec.inputs.items() if kinds.find(field.kind).SPANS_ROWS)
    rest = {name: field for name, field in spec.inputs.items() if name != history}

    def lags(arrays: Arrays, p: int) -> np.ndarray[Any, Any]:
        x_NTC = arrays[history].astype(np.float64)
        others = [_matrix(replace(spec, inputs=rest), arrays)] if rest else []
        return np.column_stack([np.ones(len(x_NTC)), x_NTC[:, x_NTC.shape[1] - p :].reshape(len(x_NTC), -1), *others])

    def fit(p: int) -> tuple[float, np.ndarray[Any, Any]]:
        x = lags(rows, p)
        weights = np.linalg.lstsq(x, rows["target"], rcond=None)[0]
        error = float(((rows["target"] - x @ weights) ** 2).mean())
        return len(x) * np.log(error) + 2 * x.shape[1], weights

    window, width = spec.inputs[history].shape
    orders = range(1, max(1, min(window, len(rows["target"]) // (3 * width))) + 1)
    p = min(orders, key=lambda p: fit(p)[0])
    return f"AR({p})", lags(test, p) @ fit(p)[1]
