"""List the moments of the past at which a pipeline is run again."""

from typing import Any

import numpy as np

from evergreen.core.durations import parse_duration
from evergreen.core.errors import PipelineError

STEPS = {"day": (1, "D"), "week": (7, "D"), "month": (1, "M"), "quarter": (3, "M"), "year": (12, "M")}
MAX_MOMENTS = 1000
Moment = Any  # np.datetime64 in a column of dates, else np.float64


def list_moments(first: str, last: str, every: str, *, is_dated: bool) -> list[Moment]:
    """Return the moments from the first to the last, and the one behind it, where what came next ends.

    Raises PipelineError for what is no time of the column, no step, or too many of them.
    """
    start, end = (_read(text, option, is_dated=is_dated) for text, option in ((first, "--from"), (last, "--to")))
    moments = [start]
    while moments[-1] <= end:
        if len(moments) > MAX_MOMENTS:
            fix = "take a longer step"
            raise PipelineError(f"there are more than {MAX_MOMENTS:,} moments", place="--every", fix=fix)
        moments.append(_step(start, len(moments), every, is_dated=is_dated))
    if len(moments) < 2:
        raise PipelineError(f"{last} is before {first}", place="--to", fix="give the earlier one as --from")
    return moments


def format_moment(moment: Moment) -> str:
    """Return a moment as a person writes it: 2025-01-01, or a number."""
    return str(moment).removesuffix("T00:00:00.000000") if isinstance(moment, np.datetime64) else f"{moment:g}"


def _read(text: str, option: str, *, is_dated: bool) -> Moment:
    try:
        return np.datetime64(text, "us") if is_dated else np.float64(text)
    except ValueError as error:
        fix = "write 2025-01 or 2025-01-31" if is_dated else "write a number, as the column of times does"
        raise PipelineError(f"{text!r} is no time of the column", place=option, fix=fix) from error


def _step(start: Moment, count: int, every: str, *, is_dated: bool) -> Moment:
    """Return the moment that is `count` steps behind the start."""
    try:
        if is_dated and every in STEPS:
            n_units, unit = STEPS[every]
            begun = start.astype(f"datetime64[{unit}]")
            return (begun + count * n_units).astype("datetime64[us]") + (start - begun)
        width = np.timedelta64(round(parse_duration(every)), "us") if is_dated else np.float64(every)
        if start + width > start:
            return start + count * width
    except ValueError:
        pass
    fix = f"write {', '.join(STEPS)} or a duration such as 10d" if is_dated else "write a number, as the times are"
    raise PipelineError(f"{every!r} is no step", place="--every", fix=fix)
