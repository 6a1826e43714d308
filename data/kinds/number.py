"""Numbers, standardised by the training rows' mean and deviation; missing ones become the training median."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data.columns import Faults, floats, plain
from data.field import DataError, Field
from data.kinds import Kind
from data.requests import told
from data.transform import restored

LARGEST = 1e30  # beyond it squares overflow float32
FARTHEST = 1e6  # deviations from the mean: a wilder input is held here, so that no network answers NaN
READABLE = 0.95  # share of a text column's values that must be numbers for the column to be one


class Number(Kind):
    grouped = True
    BLANKS = True

    def recognise(self, column: pa.Array) -> float:
        if pa.types.is_boolean(column.type):
            return 0.0
        values, faults = floats(plain(column))
        held = len(faults) + int(np.count_nonzero(~np.isnan(values)))
        return 0.9 if held and len(faults) <= (1 - READABLE) * held else 0.0

    def check(self, column: pa.Array) -> tuple[pa.Array, Faults]:
        column = plain(column)
        values, faults = floats(column)
        if column.type == pa.float64() and np.abs(values).max(initial=0) <= LARGEST:  # no NaN among them either
            return column, faults
        faults = dict(faults)
        for row in np.flatnonzero(np.abs(values) > LARGEST):
            faults[int(row)] = "infinite" if math.isinf(values[row]) else f"larger than {LARGEST:g}"
        return pa.array(values, from_pandas=True), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> Field:
        state: dict[str, Any] = {"mean": [], "std": [], "median": [], "missing": []}
        for column in columns.values():
            values = column.to_numpy(zero_copy_only=False)
            held = values[~np.isnan(values)]
            mean, std = (float(held.mean()), float(held.std())) if len(held) else (0.0, 1.0)
            state["mean"].append(mean)
            state["std"].append(std if std > 1e-9 * abs(mean) else 1.0)  # a constant column
            state["median"].append(float(np.median(held)) if len(held) else 0.0)
            state["missing"].append(len(held) < len(values))
        return Field("number", tuple(columns), () if target else (len(columns),), "float32", state)

    def encode(self, field: Field, columns: Sequence[pa.Array]) -> np.ndarray:
        values = np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)  # (N, columns)
        median, mean, std = (np.asarray(field.state[name]) for name in ("median", "mean", "std"))
        values = (np.where(np.isnan(values), median, values) - mean) / std
        return np.clip(values, -FARTHEST, FARTHEST).astype(np.float32).reshape(len(values), *field.shape)

    def decode(self, field: Field, values: np.ndarray) -> list[Any]:
        mean, std = (np.asarray(field.state[name]).reshape(field.shape) for name in ("mean", "std"))
        return restored(values * std + mean, field.state.get("transform", ""))

    def parse(self, field: Field, index: int, value: Any) -> Any:
        if value is None and field.state["missing"][index]:
            return None
        if value is None:
            raise DataError("is null, and no training row lacked it", fix="give a number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"is {told(value)}", fix="give a number, without quotes")
        if not abs(value) <= LARGEST:  # NaN compares false
            raise DataError(f"is {str(value)[:40]}", fix=f"give a finite number up to {LARGEST:g}")
        return float(value)

    def arrow(self, field: Field, values: list[Any]) -> pa.Array:
        return pa.array(values, pa.float64())

    def json_schema(self, field: Field, index: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number", "example": field.state["median"][index]}
        return schema | ({"nullable": True} if field.state["missing"][index] else {})

    def identity(self, column: pa.Array) -> pa.Array:
        return column
