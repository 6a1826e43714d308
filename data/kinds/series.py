"""Stretches of a series: `history` as an input (T, 1), the values to come as a target (horizon,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data.columns import Faults, nested, plain, stack
from data.field import DataError, Field
from data.kinds import Kind
from data.requests import numbers
from data.transform import restored


class Series(Kind):
    def recognise(self, column: pa.Array) -> float:
        return 0.9 if nested(plain(column).type) == 1 else 0.0

    def check(self, column: pa.Array) -> tuple[pa.Array, Faults]:
        values, faults = stack(plain(column))
        if values.ndim != 2 or not values.shape[1]:
            return column, dict.fromkeys(range(len(column)), "not a list of numbers")
        return fixed(values), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False) -> Field:
        ((name, column),) = columns.items()
        values, faults = stack(column)
        if faults:
            raise DataError("a stretch of the series is not whole", place=f"column '{name}'")
        std = float(values.std())
        state = {
            "mean": [float(values.mean())],
            "std": [std if std > 0 else 1.0],
            "median": [float(median) for median in np.median(values, axis=0)],
        }
        length = values.shape[1]
        return Field("series", (name,), (length,) if target else (length, 1), "float32", state)

    def encode(self, field: Field, columns: Sequence[pa.Array]) -> np.ndarray:
        values, _ = stack(columns[0])  # (N, T)
        if values.shape[1] != field.shape[0]:
            raise DataError(
                f"holds {values.shape[1]} values a row where {field.shape[0]} belong",
                place=f"column '{field.columns[0]}'",
                fix="use the same `window` and `horizon` as in training",
            )
        values = (values - field.state["mean"][0]) / field.state["std"][0]
        return values.astype(np.float32).reshape(len(values), *field.shape)

    def decode(self, field: Field, values: np.ndarray) -> list[Any]:
        units = (values * field.state["std"][0] + field.state["mean"][0]).reshape(len(values), -1)
        return restored(units, field.state.get("transform", ""))

    def parse(self, field: Field, index: int, value: Any) -> Any:
        return numbers(value, (field.shape[0],))

    def arrow(self, field: Field, values: list[Any]) -> pa.Array:
        return fixed(np.stack(values))

    def json_schema(self, field: Field, index: int) -> dict[str, Any]:
        length = field.shape[0]
        return {
            "type": "array",
            "items": {"type": "number"},
            "minItems": length,
            "maxItems": length,
            "description": "oldest first",
            "example": restored(np.array(field.state["median"]), field.state.get("transform", "")),
        }

    def identity(self, column: pa.Array) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(stack(column)[0] + 0.0, dtype="<f8")]


def fixed(values: np.ndarray) -> pa.Array:
    """(N, T) as a column of lists of T float64 each."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float64).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
