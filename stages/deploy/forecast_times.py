"""Say which times a forecast is of: those that follow the times of its history, in its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.prepare.times import time_axis
from evergreen.models.answers import Objects

FIX = "send those of its last two values or of all, oldest first, in even steps; or none"


def add_times(answers: Objects, moments: Sequence[Any]) -> Objects:
    """Add `times` to each forecast whose history came with times, one list a row. Raises DataError naming the row."""
    return [
        answer if given is None else answer | {"times": _continue(given, len(answer["prediction"]), row)}
        for row, (answer, given) in enumerate(zip(answers, moments, strict=True))
    ]


def _continue(given: Any, horizon: int, row: int) -> list[Any]:
    """Return the next `horizon` times: numbers as such, others in ISO's notation."""
    place = f"row {row}, its times"
    if not isinstance(given, list) or len(given) < 2:
        raise DataError("fewer than two times", place=place, fix=FIX)
    try:
        axis_N = time_axis(pa.array(given), "times")
    except (DataError, pa.ArrowException):
        raise DataError("they are not times, or one comes twice", place=place, fix=FIX) from None
    ahead = np.arange(1, horizon + 1)
    if axis_N.dtype.kind == "f":
        later = axis_N[-1] + ahead * _find_step(axis_N, place)
        return [int(one) if one.is_integer() else one for one in later.tolist()]
    times_N = axis_N.astype("datetime64[us]")
    later_months = _continue_months(times_N, ahead)
    later = times_N[-1] + ahead * _find_step(times_N, place) if later_months is None else later_months
    unit: Literal["D", "s"] = "D" if (later == later.astype("datetime64[D]")).all() else "s"
    return list(np.datetime_as_string(later, unit).tolist())


def _find_step(axis_N: np.ndarray, place: str) -> Any:
    """Return the step between all times. Raises DataError where there are several."""
    steps = np.diff(axis_N)
    if not steps[0] > 0 * steps[0] or not np.allclose(steps.astype(float), float(steps[0].astype(float)), rtol=1e-6):
        raise DataError("their steps differ", place=place, fix=FIX)
    return steps[-1]


def _continue_months(times_N: np.ndarray, ahead: np.ndarray) -> np.ndarray | None:
    """Return times as many months apart as those given are; None where these are not of one day of the month.

    The last day of the month is one, too.
    """
    months_N = times_N.astype("datetime64[M]")
    steps = np.diff(months_N.astype(int))
    if steps[0] < 1 or np.ptp(steps):
        return None
    later = months_N[-1] + ahead * steps[0]
    for edges_N, later_edges in ((months_N, later), (months_N + 1, later + 1)):
        off_N = times_N - edges_N
        if (off_N == off_N[0]).all():
            return np.asarray(later_edges.astype("datetime64[us]") + off_N[0])
    return None
