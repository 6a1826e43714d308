"""Check raw columns, options and values of requests that are taken as numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import decode_array, guess_floats, is_mostly_numbers, number_obstacle, to_float64
from evergreen.data.kinds import _scaling as scaling
from evergreen.data.kinds._json import check_unicode, format_value
from evergreen.data.number_format import NumberFormat

SKEWED = 2.0  # skewness of a target above which a log scale is proposed; that of an exponential distribution


def check_numeric_target(column: pa.Array, place: str) -> None:
    """Raise DataError unless a raw target column holds numbers."""
    if not is_mostly_numbers(column):
        fix = "use `task: classification`, or choose a column of numbers"
        obstacle = number_obstacle(decode_array(column))
        raise DataError("holds no numbers" + f": {obstacle}" * bool(obstacle), place=place, fix=fix)


def advise_log_scale(name: str, column: pa.Array) -> list[str]:
    """Propose a log scale for a raw target of which a few values are far above most."""
    values = guess_floats(decode_array(column))[0]
    values = values[np.isfinite(values)]
    if not len(values) or values.min() < 0 or not _skewness(values) > max(SKEWED, 2 * abs(_skewness(np.log1p(values)))):
        return []
    ends = f"half of it is at most {np.median(values):.4g}, and the largest {values.max():.4g}"
    return [f"'{name}' is skewed: {ends}; `transform: log` in preprocess makes errors count as shares of it"]


def _skewness(values: np.ndarray) -> float:
    """Return the third standardized moment; 0 of constant values."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread else 0.0


def numeric_range(column: pa.Array) -> dict[str, Any]:
    """Return {"low", "high"} of the finite values of floats, or of lists of them; {} of other columns."""
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if not pa.types.is_floating(column.type):
        return {}
    ends = pc.min_max(column.filter(pc.is_finite(column)))
    return {"low": ends["min"].as_py(), "high": ends["max"].as_py()}


def parse_number(text: str, format: str) -> float:
    """Return the number that a text of a request writes in a column's format. Raises DataError for another one."""
    values, errors = to_float64(pa.array([check_unicode(text)]), format)
    if errors or np.isnan(values[0]):
        fix = f"give a number without quotes, or written as {format}"
        raise DataError(f"is not a number written as {format} (got {format_value(text)})", fix=fix)
    return float(values[0])


def check_number_options(column_options: Mapping[str, Any], *, target: bool) -> None:
    """Raise DataError for options of a column that do not exist, or that a target cannot have."""
    scaling.check_options(column_options, target=target)
    if column_options["decimal"] not in ("", ",", "."):
        raise DataError(f"{column_options['decimal']!r} is not a decimal separator", fix='use "," or "."')
    format = str(column_options["format"])
    if format and column_options["decimal"] not in ("", NumberFormat.parse(format).decimal):
        raise DataError("decimal and format contradict each other", fix="keep format alone")
