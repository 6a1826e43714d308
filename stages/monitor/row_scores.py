"""Score answers by the truth, and take from them what a loss can be estimated by, from their columns alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import UserError
from evergreen.data import kinds
from evergreen.data.arrow import decode_array, to_numpy

if TYPE_CHECKING:
    from evergreen.data.spec import FeatureSpec

ACCURACY, RMSE = "accuracy", "rmse"  # what is estimated, of classes and of numbers
GOALS = {ACCURACY: "max", RMSE: "min"}
SURE = 1e-6  # the least probability of being wrong: its logit stays finite
Array = np.ndarray[Any, Any]


def find_metric(spec: FeatureSpec, answers: pa.Table, truth: pa.Array) -> str:
    """Return what answers are scored by; "" where they are neither one class nor one number, or words for another."""
    kind = kinds.kind_of(spec.target)
    if not kind.SCALAR or not is_plain(answers, "prediction"):
        return ""
    metric = ACCURACY if kind.HAS_CLASSES else RMSE
    scores = score_rows(spec, metric, answers, truth)
    return "" if scores is None or (metric == ACCURACY and not scores.any()) else metric


def is_plain(table: pa.Table, name: str) -> bool:
    """Tell whether a table has a column of this name with one value a row."""
    return name in table.column_names and not pa.types.is_nested(table.schema.field(name).type)


def score_rows(spec: FeatureSpec, metric: str, answers: pa.Table, truth: pa.Array) -> Array | None:
    """Return (N,): 1 where a class is right, else 0, or the squared error of a number; None where neither is known."""
    if not metric:
        return None
    kind = kinds.kind_of(spec.target)
    try:
        sides = [kind.validate(decode_array(side))[0] for side in (answers.column("prediction"), truth)]
    except UserError:
        return None
    if metric == ACCURACY:
        return to_numpy(pc.equal(*sides).fill_null(False)).astype(np.float64)
    predicted, actual = (to_numpy(side.cast(pa.float64())) for side in sides)
    return np.asarray(np.nan_to_num((predicted - actual) ** 2))


def loss_of(metric: str, mean: float) -> float:
    """Return the loss that a limit is set for, from the mean of row scores: the share of wrong answers, or the RMSE."""
    return 1 - mean if metric == ACCURACY else float(np.sqrt(max(mean, 0.0)))


def confidence(answered: Mapping[str, Array]) -> Array | None:
    """Return (N,) the probability of the class that was answered; None where answers have no probabilities."""
    names = [name for name in answered if name.startswith("p_")]
    if not names:
        return None
    p = np.stack([answered[name] for name in names], axis=1)  # (N, K)
    words = [str(value).lower() if isinstance(value, bool) else str(value) for value in answered["prediction"].tolist()]
    places = {name[2:]: place for place, name in enumerate(names)}
    chosen = np.array([places.get(word, -1) for word in words])
    return np.asarray(np.where(chosen < 0, p.max(axis=1), p[np.arange(len(p)), chosen]))


def estimate_features(answered: Mapping[str, Array], encoded: Mapping[str, Array], metric: str) -> Array | None:
    """Return (N, F) by which the score of a row is estimated; None where there is nothing to go by.

    Of classes it is the log-odds of the answered one; of numbers the prediction, the width of its interval, and how far
    the row's inputs are from the middle of the training rows.
    """
    if metric == ACCURACY:
        p = confidence(answered)
        return None if p is None else np.log(np.clip(p, SURE, 1 - SURE) / np.clip(1 - p, SURE, 1 - SURE))[:, None]
    predicted = answered["prediction"].astype(np.float64)
    inputs = [values.reshape(len(values), -1) for values in encoded.values() if values.dtype.kind == "f"]
    features = [predicted, np.abs(predicted)]
    if "low" in answered and "high" in answered:
        features.append(np.log(np.maximum(answered["high"] - answered["low"], SURE)))
    if inputs:
        features.append(np.log1p((np.concatenate(inputs, axis=1).astype(np.float64) ** 2).mean(axis=1)))
    return np.stack(features, axis=1)


def to_arrays(answered: pa.Table) -> dict[str, Array]:
    """Return the columns of answers as arrays, those of lists left out."""
    columns = {name: answered.column(name) for name in answered.column_names}
    plain = {name: column for name, column in columns.items() if not pa.types.is_nested(column.type)}
    return {name: column.to_numpy() for name, column in plain.items()}
