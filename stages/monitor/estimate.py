"""Estimate the score of rows whose truth is not known, from rows whose truth is.

Of classes: the mean probability of being right (confidence-based performance estimation; Guillory et al. 2021, Garg et
al. 2022), the probability made to hold on rows that the model has not learned from (Platt 1999). Of numbers: the mean
of the squared error that a small model predicts (direct loss estimation; Yoo and Kweon 2019), a generalized linear one
with a logarithmic link (McCullagh and Nelder 1989). Both are fitted with a prior, so that few rows change little, and
their covariance (Laplace's approximation) widens the interval. Both suppose that rows alike in what the model sees are
alike in their truth: what they cannot see is concept drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from evergreen.stages.monitor.row_scores import ACCURACY

STEPS = 50  # of Newton's method
SPREAD = {"accuracy": 0.5, "rmse": 0.5}  # standard deviation of the prior of weights
MIN_ROWS = 30  # with a known truth, below which nothing is estimated
CONFIDENCE = 0.95
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Estimate:
    """Hold the mean of row scores, and the bounds that hold it with CONFIDENCE."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ScoreModel:
    """Predict the score of a row from (N, F) features; its state is JSON."""

    metric: str
    low: list[float]  # the range of each feature among the rows it was fitted on: beyond it nothing is known
    high: list[float]
    middle: list[float]
    scale: list[float]
    weights: list[float]  # (1 + F)
    covariance: list[list[float]]
    dispersion: float  # of a row's score: its variance over that which the model expects

    @classmethod
    def fit(cls, metric: str, features: Array, scores: Array) -> Self | None:
        """Fit (N, F) features to (N,) scores; None where there are too few rows."""
        if len(scores) < MIN_ROWS:
            return None
        low, high = features.min(axis=0), features.max(axis=0)
        is_class = metric == ACCURACY
        middle = np.zeros(features.shape[1]) if is_class else features.mean(axis=0)
        scale = np.ones(features.shape[1]) if is_class else np.maximum(features.std(axis=0), 1e-12)
        x = _with_ones((features - middle) / scale)
        unit = 1.0 if is_class else float(max(scores.mean(), 1e-300))
        prior = np.array([0.0, 1.0]) if is_class else np.zeros(x.shape[1])
        precision = np.full(x.shape[1], SPREAD[metric] ** -2.0)
        if not is_class:
            precision[0] = 1e-6  # the mean is what the rows say
        weights, dispersion, hessian = _newton(x, scores / unit, prior, precision, is_class=is_class)
        if not is_class:
            weights = weights + np.log(unit) * (np.arange(x.shape[1]) == 0)
        fitted = {"low": low, "high": high, "middle": middle, "scale": scale, "weights": weights}
        covariance = (dispersion * np.linalg.inv(hessian)).tolist()
        lists = {name: values.tolist() for name, values in fitted.items()}
        return cls(metric, **lists, covariance=covariance, dispersion=dispersion)

    def estimate(self, features: Array, groups: Array) -> Estimate:
        """Estimate the mean score of rows with (N, F) features; rows of one of `groups` (N,) are one row repeated."""
        x = _with_ones((np.clip(features, self.low, self.high) - self.middle) / np.asarray(self.scale))
        mean, slope = _respond(x @ np.asarray(self.weights), is_class=self.metric == ACCURACY)
        share = np.bincount(groups)[groups] / len(groups) ** 2  # Σ over groups of (share of the rows)²
        variance = mean * (1 - mean) if self.metric == ACCURACY else self.dispersion * mean**2
        gradient = (x * slope[:, None]).mean(axis=0)
        error = np.sqrt((variance * share).sum() + gradient @ np.asarray(self.covariance) @ gradient)
        z, value = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), float(mean.mean())
        if self.metric == ACCURACY:
            return Estimate(value, max(0.0, float(value - z * error)), min(1.0, float(value + z * error)))
        factor = float(np.exp(z * error / max(value, 1e-300)))
        return Estimate(value, value / factor, value * factor)


def _newton(x: Array, scores: Array, prior: Array, precision: Array, *, is_class: bool) -> tuple[Array, float, Array]:
    """Return the weights at the maximum, the dispersion, and the Hessian there."""
    weights, penalty = prior.copy(), np.diag(precision)
    for _ in range(STEPS):
        mean, slope = _respond(x @ weights, is_class=is_class)
        residual, curve = (scores - mean, slope) if is_class else (scores / mean - 1, scores / mean)
        hessian = (x * curve[:, None]).T @ x + penalty
        step = np.linalg.solve(hessian, x.T @ residual - penalty @ (weights - prior))
        weights = weights + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    mean, slope = _respond(x @ weights, is_class=is_class)
    if is_class:
        return weights, 1.0, (x * slope[:, None]).T @ x + penalty
    return weights, max(1.0, float(((scores / mean - 1) ** 2).mean())), x.T @ x + penalty


def _respond(z: Array, *, is_class: bool) -> tuple[Array, Array]:
    """Return the mean score (N,) at linear predictors (N,), and its slope there."""
    if not is_class:
        mean = np.exp(np.clip(z, -700, 700))
        return mean, mean
    mean = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    return mean, mean * (1 - mean)


def _with_ones(features: Array) -> Array:
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)
