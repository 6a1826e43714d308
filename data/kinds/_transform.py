"""Transform a numeric target, and the history it continues, before they are standardized.

A square root steadies the variance of counts, which grows with their mean (Bartlett 1936). A logarithm, of 1 + y so
that 0 has one, makes errors count as shares of the value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import to_numpy

FORWARD: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sqrt": np.sqrt, "log": np.log1p}
BACK: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sqrt": np.square, "log": np.expm1}
MAX_LOG = 70.0  # the logarithm of what is larger than any number that is read


def apply_transform(column: pa.Array, name: str, place: str) -> pa.Array:
    """Return a checked column of numbers, or of windows of a series, transformed; "" changes nothing.

    Of a series with several channels only the first is transformed, which is the series itself. Raises DataError
    for an unknown name and for values that cannot be transformed.
    """
    if not name:
        return column
    if name not in FORWARD:
        raise DataError(f"'{name}' is not a valid transform", place="preprocess.transform", fix=suggest(name, FORWARD))
    if isinstance(column.type, pa.FixedShapeTensorType):
        values = column.to_numpy_ndarray().copy()
        first = apply_transform(pa.array(values[..., 0].ravel()), name, place)
        values[..., 0] = to_numpy(first).reshape(values.shape[:-1])
        return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    if pa.types.is_fixed_size_list(column.type):
        inner = apply_transform(column.flatten(), name, place)
        return pa.FixedSizeListArray.from_arrays(inner, column.type.list_size)
    if not pa.types.is_floating(column.type):
        raise DataError(f"a {column.type} has no {name}", place=place, fix="leave preprocess.transform out")
    values = to_numpy(column)
    if (values < 0).any():
        fix = f"give 0 or more, or train without `transform: {name}`"
        raise DataError(f"holds {values.min():g}, which has no {name}", place=place, fix=fix)
    return pa.array(FORWARD[name](values), from_pandas=True)


def invert_transform(values: np.ndarray, name: str) -> list[Any]:
    """Return values in the data's own units again, as lists."""
    if name:
        values = BACK[name](np.clip(values, 0, MAX_LOG if name == "log" else None))
    lists: list[Any] = values.tolist()
    return lists
