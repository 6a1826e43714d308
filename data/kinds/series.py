"""Stretches of a series, of one channel or several: an input (T, C), the values to come as a target (horizon,)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.data.arrow import RowErrors, decode_array, is_ragged, list_depth, stack_lists
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import parse_numeric_array
from evergreen.data.kinds._number_checks import check_numeric_target, numeric_range
from evergreen.data.kinds._transform import invert_transform
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate, match_rounded


class Series(Kind):
    VERSION = 2
    GROUP_KIND = "category"
    SPANS_ROWS = True
    STEPWISE = True
    TELLS_ROWS_APART = True

    def detect(self, column: pa.Array) -> float:
        return 0.9 if list_depth(decode_array(column).type) == 1 else 0.0

    def needs_all_rows(self, stored: pa.DataType) -> bool:
        return is_ragged(stored)

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        values, faults = stack_lists(decode_array(column))
        if values.ndim not in (2, 3) or not math.prod(values.shape[1:]):
            return column, dict.fromkeys(range(len(column)), "not a list of numbers, nor of lists of them")
        return to_fixed_lists(values), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        values, faults = stack_lists(column)
        if faults:
            raise DataError("a window of the series has missing values", place=f"column '{name}'")
        x_NTC = values.reshape(*values.shape[:2], -1)
        std_C = x_NTC.std(axis=(0, 1))
        state = {
            "mean": x_NTC.mean(axis=(0, 1)).tolist(),
            "std": np.where(std_C > 0, std_C, 1.0).tolist(),
            "median": np.median(values, axis=0).tolist(),
        }
        return TensorField("series", (name,), values.shape[1:] if target else x_NTC.shape[1:], "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        values, _ = stack_lists(columns[0])  # (N, T) or (N, T, C)
        if field.shape[1:] == (1,) and values.ndim == 3:  # a history with covariates, and a model that sees none
            values = values[..., :1]
        if math.prod(values.shape[1:]) != math.prod(field.shape):
            shape = " × ".join(str(side) for side in values.shape[1:])
            raise DataError(
                f"holds {shape} values a row where {' × '.join(map(str, _sides(field)))} are expected",
                place=f"column '{field.columns[0]}'",
                fix="use the same `window`, `horizon` and `covariates` as in training",
            )
        mean, std = np.asarray(field.state["mean"]), np.asarray(field.state["std"])
        return np.asarray((values.reshape(len(values), *field.shape) - mean) / std, np.float32)

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        units = values * np.asarray(field.state["std"]) + np.asarray(field.state["mean"])
        return _restored(field, units.reshape(len(values), *_sides(field)))

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        return parse_numeric_array(value, _sides(field))

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return to_fixed_lists(np.stack(values))

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        length, *width = _sides(field)
        step: dict[str, Any] = {"type": "number"}
        description = "oldest first"
        if width:
            step = {"type": "array", "items": step, "minItems": width[0], "maxItems": width[0]}
            description += ", each step: " + ", ".join(field.state.get("channels", [f"{width[0]} numbers"]))
        return {
            "type": "array",
            "items": step,
            "minItems": length,
            "maxItems": length,
            "description": description,
            "example": _restored(field, np.array(field.state["median"])),
        }

    MEASURE = "all its values"

    def measure(self, column: pa.Array) -> np.ndarray:
        return _first_channel(column).ravel()

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark]:
        return [marks.Sparkline(row) for row in _first_channel(columns[0]).tolist()]

    def show_target(
        self, field: TensorField, columns: Sequence[pa.Array], over: Sequence[Any], predicted: Sequence[Any] = ()
    ) -> Sequence[Mark]:
        """Draw what comes after the history."""
        rows = zip(over, _first_channel(columns[0]).tolist(), predicted or [()] * len(over), strict=True)
        return [marks.Sparkline(past.history, actual, said) for past, actual, said in rows]

    def check_target(self, column: pa.Array, place: str) -> None:
        check_numeric_target(column, place)

    def profile(self, column: pa.Array) -> dict[str, Any]:
        return numeric_range(column)

    def find_near_duplicates(self, column: pa.Array, other: pa.Array) -> list[NearDuplicate] | None:
        one, two = _flat_windows(column), _flat_windows(other)
        return match_rounded(one, two) if one.shape[1] == two.shape[1] else []

    def row_features(self, column: pa.Array) -> np.ndarray:
        """Return (N, 4) mean, spread, first and last value of each window."""
        values = _flat_windows(column)
        return np.column_stack([values.mean(1), values.std(1), values[:, 0], values[:, -1]])

    def hash_input(self, column: pa.Array) -> list[bytes]:
        return [row.tobytes() for row in np.ascontiguousarray(stack_lists(column)[0] + 0.0, dtype="<f8")]


def _first_channel(column: pa.Array) -> np.ndarray:
    """Return (N, T) of series (N, T) or (N, T, C)."""
    values = stack_lists(column)[0]
    return values.reshape(*values.shape[:2], -1)[:, :, 0].astype(np.float64)


def _flat_windows(column: pa.Array) -> np.ndarray:
    return stack_lists(column)[0].reshape(len(column), -1).astype(np.float64)


def to_fixed_lists(values: np.ndarray) -> pa.Array:
    """Return (N, T) as a column of lists of T float64 each, (N, T, C) as one of matrices."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.ndim == 3:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), math.prod(values.shape[1:]))
        return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), values.shape[1:]), flat)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _sides(field: TensorField) -> tuple[int, ...]:
    """Return the shape of a row in a table or a request: (T,) of one channel, (T, C) of several."""
    return field.shape[:1] if field.shape[1:] == (1,) else field.shape


def _restored(field: TensorField, units: np.ndarray) -> list[Any]:
    """Return values in the data's own units; a transform is of the first channel, the series itself."""
    name, sides = field.state.get("transform", ""), _sides(field)
    if name and len(sides) == 2:
        units[..., 0], name = invert_transform(units[..., 0], name), ""
    return invert_transform(units, name)
