"""Scale numbers: clip them, warp them if their distribution asks for it, then map them by a line.

`fit_warp` and `fit_affine` are fitted on training values. A warp is JSON, {} where values are neither clipped nor
warped.
"""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from evergreen.core.errors import DataError, suggest

STRAIGHT = ("standard", "minmax", "robust")
SCALINGS = (*STRAIGHT, "log", "quantile")
OUTLIERS = ("keep", "clip", "flag")
FENCE = 3.0  # interquartile ranges: values farther from the quartiles are far out (Tukey 1977)
NORMAL = 1.349  # deviations between the quartiles of a normal distribution
STEPS = 101  # quantiles that are kept


def check_options(options: Mapping[str, Any], *, target: bool) -> None:
    """Raise DataError for a scaling or outliers that do not exist, or that a target cannot have."""
    for option, known in (("scaling", SCALINGS), ("outliers", OUTLIERS)):
        if options[option] not in known:
            fix = suggest(str(options[option]), known)
            raise DataError(f"{options[option]!r} is not a valid value of {option}", fix=fix)
    if target and (options["scaling"] not in STRAIGHT or options["outliers"] != "keep"):
        fix = f"use scaling: {', '.join(STRAIGHT)}; for counts use `transform`"
        problem = "a target cannot be rescaled non-linearly or clipped: predictions are in its own units"
        raise DataError(problem, fix=fix)


def fit_warp(values: np.ndarray, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the warp for values (N,) without missing ones."""
    warp_state: dict[str, Any] = {}
    if options["outliers"] != "keep" and len(values):
        low, high = np.quantile(values, (0.25, 0.75))
        width = FENCE * (high - low)
        warp_state["ends"] = (
            [float(low - width), float(high + width)] if width else [float(values.min()), float(values.max())]
        )
    if options["scaling"] == "log":
        warp_state["log"] = True
    if options["scaling"] == "quantile" and len(values):
        shares = (np.arange(STEPS) + 0.5) / STEPS
        levels = np.array([NormalDist().inv_cdf(share) for share in shares])
        points, group = np.unique(np.quantile(values, shares), return_inverse=True)
        warp_state["points"] = points.tolist()
        warp_state["levels"] = (np.bincount(group, levels) / np.bincount(group)).tolist()  # of equal points the middle
    return warp_state


def fit_affine(values: np.ndarray, scaling: str) -> tuple[float, float]:
    """Return (what is subtracted from values (N,), what they are then divided by)."""
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
    """Return (N,) bool: beyond the ends of a warp."""
    low, high = shape.get("ends", (-np.inf, np.inf))
    return (values < low) | (values > high)


def warp(values: np.ndarray, shape: Mapping[str, Any]) -> np.ndarray:
    """Return (N,) values clipped to the ends and mapped by a curve."""
    if "ends" in shape:
        values = np.clip(values, *shape["ends"])
    if "log" in shape:
        values = np.sign(values) * np.log1p(np.abs(values))
    return np.interp(values, shape["points"], shape["levels"]) if "points" in shape else values


def unwarp(values: np.ndarray, shape: Mapping[str, Any]) -> np.ndarray:
    """Invert `warp`, except for clipping."""
    if "points" in shape:
        values = np.interp(values, shape["levels"], shape["points"])
    return np.sign(values) * np.expm1(np.abs(values)) if "log" in shape else values
