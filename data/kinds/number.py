"""Numbers, standardised by the training rows' mean and deviation; missing ones become the training median.

Encoded (columns + flags,): one number a column, then 1 or 0 for each column that is told to be flagged as missing, or
as an outlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import RowErrors, decode_array, detect_decimal_separator, is_mostly_words, to_float64
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _scaling as scaling
from evergreen.data.kinds._json import format_value
from evergreen.data.kinds._scaling import SCALINGS, STRAIGHT
from evergreen.data.kinds._transform import invert_transform

LARGEST = 1e30  # beyond it squares overflow float32
FARTHEST = 1e6  # deviations from the mean: a wilder input is held here, so that no network answers NaN
READABLE = 0.95  # share of a text column's values that must be numbers for the column to be one
OUTLIERS = ("keep", "clip", "flag")


class Number(Kind):
    grouped = True
    ALLOWS_MISSING = True
    OPTIONS: ClassVar[dict[str, Any]] = {
        "scaling": "standard",  # or minmax, robust (median and quartiles), log, quantile (to a normal distribution)
        "outliers": "keep",  # clip: beyond three times the distance of the quartiles, held there; flag: and told of
        "decimal": "",  # what stands before a fraction in text, "," or "."; found out
        "indicator": True,  # whether a further number says that a value is missing, where training rows lack some
    }

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if pa.types.is_boolean(column.type) or is_mostly_words(column):
            return 0.0
        values, faults = to_float64(column)
        held = len(faults) + int(np.count_nonzero(~np.isnan(values)))
        return 0.9 if held and len(faults) <= (1 - READABLE) * held else 0.0

    def __init__(self, decimal: str = "") -> None:
        self.decimal = decimal

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        _possible({**self.OPTIONS, **options}, target=False)
        column = decode_array(column)
        found = {"decimal": detect_decimal_separator(column)} if pa.types.is_string(column.type) else {}
        return {**found, **options}

    def with_options(self, options: Mapping[str, Any]) -> Number:
        return type(self)(str(options.get("decimal") or ""))

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        values, faults = to_float64(column, self.decimal)
        if column.type == pa.float64() and np.abs(values).max(initial=0) <= LARGEST:  # no NaN among them either
            return column, faults
        faults = dict(faults)
        for row in np.flatnonzero(np.abs(values) > LARGEST):
            faults[int(row)] = "infinite" if math.isinf(values[row]) else f"larger than {LARGEST:g}"
        return pa.array(values, from_pandas=True), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        whole = {name: options.get(name, [value] * len(columns)) for name, value in self.OPTIONS.items()}
        wishes = [{name: said[place] for name, said in whole.items()} for place in range(len(columns))]
        state: dict[str, Any] = {"mean": [], "std": [], "median": [], "missing": []}
        shapes: list[dict[str, Any]] = []
        for (name, column), said in zip(columns.items(), wishes, strict=True):
            try:
                _possible(said, target=target)
            except DataError as error:
                raise DataError(error.problem, place=f"preprocess.kinds.{name}", fix=error.fix) from error
            values = column.to_numpy(zero_copy_only=False)
            held = values[~np.isnan(values)]
            shapes.append(scaling.fit_warp(held, said))
            mean, std = scaling.fit_affine(scaling.warp(held, shapes[-1]), said["scaling"])
            state["mean"].append(mean)
            state["std"].append(std)
            state["median"].append(float(np.median(held)) if len(held) else 0.0)
            state["missing"].append(len(held) < len(values))
        lacking = [lacks and said["indicator"] for lacks, said in zip(state["missing"], wishes, strict=True)]
        flags = np.flatnonzero(lacking).tolist() if not target else []
        outlying = [place for place, said in enumerate(wishes) if said["outliers"] == "flag"]
        if any(shapes) or outlying:
            state["shapes"] = shapes
        state |= ({"missing_flags": flags} if flags else {}) | ({"outlier_flags": outlying} if outlying else {})
        shape = () if target else (len(columns) + len(flags) + len(outlying),)
        return TensorField("number", tuple(columns), shape, "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        values = np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)  # (N, columns)
        blank = np.isnan(values)
        median, mean, std = (np.asarray(field.state[name]) for name in ("median", "mean", "std"))
        values = np.where(blank, median, values)
        flags = [blank[:, place] for place in field.state.get("missing_flags", ())]
        shapes = field.state.get("shapes", ())
        flags += [scaling.is_outlier(values[:, place], shapes[place]) for place in field.state.get("outlier_flags", ())]
        for place, shape in enumerate(shapes):
            values[:, place] = scaling.warp(np.ascontiguousarray(values[:, place]), shape)
        values = np.clip((values - mean) / std, -FARTHEST, FARTHEST).astype(np.float32)
        if flags:
            values = np.concatenate([values, np.stack(flags, axis=1).astype(np.float32)], axis=1)
        return values.reshape(len(values), *field.shape)

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Numbers; of what was clipped or missing those that stand for it."""
        if not field.shape:
            return invert_transform(
                values * field.state["std"][0] + field.state["mean"][0], field.state.get("transform", "")
            )
        lines = values[:, : len(field.columns)] * np.asarray(field.state["std"]) + np.asarray(field.state["mean"])
        for place, shape in enumerate(field.state.get("shapes", ())):
            lines[:, place] = scaling.unwarp(lines[:, place], shape)
        result: list[Any] = lines.tolist()
        return result

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None and field.state["missing"][index]:
            return None
        if value is None:
            raise DataError("is null, and no training row lacked it", fix="give a number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"is {format_value(value)}", fix="give a number, without quotes")
        if not abs(value) <= LARGEST:  # NaN compares false
            raise DataError(f"is {str(value)[:40]}", fix=f"give a finite number up to {LARGEST:g}")
        return float(value)

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return pa.array(values, pa.float64())

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number", "example": field.state["median"][index]}
        return schema | ({"nullable": True} if field.state["missing"][index] else {})

    def measure(self, column: pa.Array) -> np.ndarray:
        return column.to_numpy(zero_copy_only=False).astype(np.float64)

    def hash_input(self, column: pa.Array) -> pa.Array:
        return column


def _possible(said: Mapping[str, Any], *, target: bool) -> None:
    """Raises DataError where the options of a column say what is not there, or what a target cannot be."""
    for option, known in (("scaling", SCALINGS), ("outliers", OUTLIERS)):
        if said[option] not in known:
            raise DataError(f"{option} is {said[option]!r}", fix=suggest(str(said[option]), known))
    if said["decimal"] not in ("", ",", "."):
        raise DataError(f"decimal is {said['decimal']!r}", fix='say "," or "."')
    if target and (said["scaling"] not in STRAIGHT or said["outliers"] != "keep"):
        fix = f"say scaling: {', '.join(STRAIGHT)}; `transform` steadies counts"
        raise DataError("a target is neither bent nor clipped, for answers are in its own units", fix=fix)
