"""How numbers are brought to one scale: clipped, bent if their distribution asks for it, then put on a straight line.

`shape` and `line` are fitted on training values; a shape is JSON, {} where values are neither clipped nor bent.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

STRAIGHT = ("standard", "minmax", "robust")
SCALINGS = (*STRAIGHT, "log", "quantile")
FENCE = 3.0  # times the distance of the quartiles: what lies beyond is far out (Tukey 1977)
NORMAL = 1.349  # deviations between the quartiles of a normal distribution
STEPS = 101  # quantiles that are kept


def fit_warp(values: np.ndarray, said: Mapping[str, Any]) -> dict[str, Any]:
    """What `bent` does to values like these (N,), none missing."""
    found: dict[str, Any] = {}
    if said["outliers"] != "keep" and len(values):
        low, high = np.quantile(values, (0.25, 0.75))
        width = FENCE * (high - low)
        found["ends"] = (
            [float(low - width), float(high + width)] if width else [float(values.min()), float(values.max())]
        )
    if said["scaling"] == "log":
        found["log"] = True
    if said["scaling"] == "quantile" and len(values):
        shares = (np.arange(STEPS) + 0.5) / STEPS
        levels = np.array([NormalDist().inv_cdf(share) for share in shares])
        points, group = np.unique(np.quantile(values, shares), return_inverse=True)
        found["points"] = points.tolist()
        found["levels"] = (np.bincount(group, levels) / np.bincount(group)).tolist()  # of equal points the middle
    return found


def fit_affine(values: np.ndarray, scaling: str) -> tuple[float, float]:
    """What is subtracted from values (N,), and what they are then divided by."""
    if not len(values):
        return 0.0, 1.0
    centre, width = float(values.mean()), float(values.std())
    if scaling == "minmax":
        centre, width = float(values.min()), float(np.ptp(values))
    if scaling == "robust":
        low, centre, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        width = (high - low) / NORMAL or width
    if scaling == "quantile":
        centre, width = 0.0, 1.0
    return centre, width if width > 1e-9 * abs(centre) else 1.0  # a constant column


def is_outlier(values: np.ndarray, shape: Mapping[str, Any]) -> np.ndarray:
    """(N,) bool: beyond the ends."""
    low, high = shape.get("ends", (-np.inf, np.inf))
    return (values < low) | (values > high)


def warp(values: np.ndarray, shape: Mapping[str, Any]) -> np.ndarray:
    """(N,) values, held between the ends, on a curve."""
    if "ends" in shape:
        values = np.clip(values, *shape["ends"])
    if "log" in shape:
        values = np.sign(values) * np.log1p(np.abs(values))
    return np.interp(values, shape["points"], shape["levels"]) if "points" in shape else values


def unwarp(values: np.ndarray, shape: Mapping[str, Any]) -> np.ndarray:
    """The opposite of `bent`, but for what was clipped."""
    if "points" in shape:
        values = np.interp(values, shape["levels"], shape["points"])
    return np.sign(values) * np.expm1(np.abs(values)) if "log" in shape else values
