"""Scale numbers: bend or clip far ones, warp them if their distribution asks for it, then map them by a line.

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
OUTLIERS = ("", "bend", "keep", "clip", "flag")  # "": bend inputs, keep targets, and what a curve warps
FENCE = 3.0  # interquartile ranges: values farther from the quartiles are far out (Tukey 1977)
NORMAL = 1.349  # deviations between the quartiles of a normal distribution
# share of the values beyond the quantiles that set fences; how far those are, in their distance
TAIL, REACH = 0.025, 3.0
STEPS = 101  # quantiles that are kept
UNBENT = (-1e300, 1e300, 1e300)  # fences that no value passes
TINY = 1e-300  # what a width of 0 is divided by


def check_options(options: Mapping[str, Any], *, target: bool) -> None:
    """Raise DataError for a scaling or outliers that do not exist, or that a target cannot have."""
    for option, known in (("scaling", SCALINGS), ("outliers", OUTLIERS)):
        if options[option] not in known:
            fix = suggest(str(options[option]), known)
            raise DataError(f"{options[option]!r} is not a valid value of {option}", fix=fix)
    if target and (options["scaling"] not in STRAIGHT or options["outliers"] not in ("", "keep")):
        fix = f"use scaling: {', '.join(STRAIGHT)}; for counts use `transform`"
        problem = "a target cannot be rescaled non-linearly or clipped: predictions are in its own units"
        raise DataError(problem, fix=fix)


def is_bent(options: Mapping[str, Any], *, target: bool) -> bool:
    """Tell whether a column's far values are bent: those of inputs are, where nothing else is said."""
    chosen = options["outliers"] or ("keep" if target or options["scaling"] not in STRAIGHT else "bend")
    return chosen == "bend"


def fit_bend(values: np.ndarray) -> tuple[float, float, float]:
    """Return (low, high, width) for `bend` of values (N,).

    The measure is how far the 2.5% and 97.5% quantiles are from the median, the farther: a fortieth of the rows may be
    wild on either side, and columns that are skewed by nature keep their tails. Three times that are the fences. Where
    nearly all values are one, the distinct values count.
    """
    if not len(values):
        return UNBENT
    for known in (values, np.unique(values)):
        centre, low = float(np.median(known)), float(np.quantile(known, TAIL, method="higher"))
        width = max(centre - low, float(np.quantile(known, 1 - TAIL, method="lower")) - centre)
        if width > 0:
            break
    else:  # too few distinct values to call one wild
        width = max(centre - float(values.min()), float(values.max()) - centre)
    return centre - REACH * width, centre + REACH * width, width


def bend(values: np.ndarray, low: np.ndarray, high: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return values (N, columns) that never pass `low` and `high` (columns,) by `width`; those between do not change.

    Beyond them order remains, and the slope falls from 1 to 0 (compare RealMLP: Holzmüller et al. 2024).
    """
    inside = np.clip(values, low, high)
    beyond = values - inside
    return np.asarray(inside + beyond * (width / np.maximum(width + np.abs(beyond), TINY)))


def unbend(values: np.ndarray, low: np.ndarray, high: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Invert `bend`; what it could not return becomes the farthest value."""
    inside = np.clip(values, low, high)
    beyond = values - inside
    return np.asarray(inside + beyond * (width / np.maximum(width - np.abs(beyond), np.maximum(1e-6 * width, TINY))))


def fit_warp(values: np.ndarray, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the warp for values (N,) without missing ones."""
    warp_state: dict[str, Any] = {}
    if options["outliers"] in ("clip", "flag") and len(values):
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
    return np.asarray((values < low) | (values > high))


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
