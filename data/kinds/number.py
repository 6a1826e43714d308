"""Numbers, standardised by the training rows' mean and deviation; missing ones become the training median.

Inputs more than three times as far from the median as the 2.5% or 97.5% quantile are bent, so that none is farther than
four times: a wild row moves neither the mean nor a linear model. Encoded (columns + flags,): one number a column, then
1 or 0 for each flag of a missing value or an outlier.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import (
    RowErrors,
    decode_array,
    holds_codes,
    is_mostly_numbers,
    number_formats,
    to_float64,
    to_numpy,
)
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _number_checks as checks
from evergreen.data.kinds import _scaling as scaling
from evergreen.data.kinds._json import format_value
from evergreen.data.kinds._transform import invert_transform
from evergreen.data.number_format import PLAIN, describe_guess

LARGEST = 1e30  # beyond it squares overflow float32
FARTHEST = 1e6  # deviations from the mean: a wilder input is held here, so that no network answers NaN
MIN_NAMES, MAX_NAMES = 3, 10  # distinct whole numbers that may be names; of two it does not matter
MIN_IDENTIFIERS = 20  # rows that may be named by them
N_BINS = 32  # of equal counts, for the leak check


class Number(Kind):
    VERSION = 5
    grouped = True
    ALLOWS_MISSING = True
    MISSING_BECOMES = "filled by the training median"
    ARROW_TYPE = pa.float64()
    RULE_TYPE = "number"
    SCALAR = True
    TASK = "regression"
    TASK_OVER_TIME = "forecasting"
    OPTIONS: ClassVar[dict[str, Any]] = {
        "scaling": "standard",  # or minmax, robust (median and quartiles), log, quantile (to a normal distribution)
        # bend: as above; clip: to three interquartile ranges beyond the quartiles; flag: clip, and add a flag;
        # "": bend where scaling is standard, minmax or robust, else keep
        "outliers": "",
        "decimal": "",  # the decimal separator in text, "," or "."; "" detects it
        "format": "",  # how text writes 1234.5: "1.234,5 €"; "" detects it once, on the rows that a model is fitted on
        "indicator": True,  # whether a flag marks missing values, if training rows have some
    }

    def detect(self, column: pa.Array) -> float:
        return 0.9 if is_mostly_numbers(column) and not holds_codes(decode_array(column)) else 0.0

    def describe_values(self, column: pa.Array) -> tuple[str, str]:
        """Return the range, and a doubt where whole numbers may be names."""
        formats = number_formats(column)
        values, errors = to_float64(column, formats[0])
        values = values[np.isfinite(values)]
        if not len(values):
            return "", ""
        odd = f", written as {formats[0]}" if formats[0] != PLAIN else ""
        odd += f"; {len(errors):,} are not numbers and are quarantined" if errors else ""
        n_distinct, doubt = len(np.unique(values)), ""
        if len(formats) > 1:
            doubt = describe_guess(column, formats)
        elif (values == np.trunc(values)).all():
            if n_distinct == len(values) >= max(MIN_IDENTIFIERS, 0.5 * len(column)):
                doubt = "every row has another whole number; leave it out (`drop_columns`) if that only names the row"
            elif MIN_NAMES <= n_distinct <= MAX_NAMES:
                doubt = f"it has {n_distinct} different whole numbers; say category if they are names"
        return f"{values.min():.6g} to {values.max():.6g}{odd}", doubt

    def guess_target(self, name: str, column: pa.Array) -> tuple[float, str]:
        formats = number_formats(column)
        return self.detect(column), describe_guess(column, formats) if len(formats) > 1 else ""

    def check_target(self, column: pa.Array, place: str) -> None:
        checks.check_numeric_target(column, place)

    def advise_target(self, name: str, column: pa.Array) -> list[str]:
        return checks.advise_log_scale(name, column)

    def __init__(self, format: str = "") -> None:
        self.format = format

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        checks.check_number_options({**self.OPTIONS, **options}, target=False)
        column = decode_array(column)
        if options.get("format") or not pa.types.is_string(column.type):
            return dict(options)
        return {**options, "format": number_formats(column, str(options.get("decimal") or ""))[0]}

    def with_options(self, options: Mapping[str, Any]) -> Self:
        return type(self)(str(options.get("format") or ""))  # of an older model: "", found in each file

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        values, faults = to_float64(column, self.format)
        if column.type == pa.float64() and np.abs(values).max(initial=0) <= LARGEST:  # no NaN among them either
            return column, faults
        faults = dict(faults)
        for row in np.flatnonzero(np.abs(values) > LARGEST):
            faults[int(row)] = "infinite" if math.isinf(values[row]) else f"larger than {LARGEST:g}"
        return pa.array(values, from_pandas=True), faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        options_of = {name: options.get(name, [value] * len(columns)) for name, value in self.OPTIONS.items()}
        wishes = [{name: said[place] for name, said in options_of.items()} for place in range(len(columns))]
        state: dict[str, Any] = {"mean": [], "std": [], "median": [], "missing": [], "low": [], "high": []}
        state["format"] = [said["format"] or PLAIN for said in wishes]
        shapes: list[dict[str, Any]] = []
        bends: list[tuple[float, float, float]] = []
        for (name, column), column_options in zip(columns.items(), wishes, strict=True):
            try:
                checks.check_number_options(column_options, target=target)
            except DataError as error:
                raise DataError(error.problem, place=f"preprocess.kinds.{name}", fix=error.fix) from error
            values = to_numpy(column)
            known = values[~np.isnan(values)]
            shapes.append(scaling.fit_warp(known, column_options))
            is_bent = scaling.is_bent(column_options, target=target)
            bends.append(scaling.fit_bend(known) if is_bent else scaling.UNBENT)
            warped = scaling.warp(scaling.bend(known, *map(np.asarray, bends[-1])), shapes[-1])
            mean, std = scaling.fit_affine(warped, column_options["scaling"])
            state["mean"].append(mean)
            state["std"].append(std)
            state["median"].append(float(np.median(known)) if len(known) else 0.0)
            state["missing"].append(len(known) < len(values))
            state["low"].append(float(known.min()) if len(known) else 0.0)
            state["high"].append(float(known.max()) if len(known) else 0.0)
        lacking = [lacks and said["indicator"] for lacks, said in zip(state["missing"], wishes, strict=True)]
        flags = np.flatnonzero(lacking).tolist() if not target else []
        outlying = [place for place, said in enumerate(wishes) if said["outliers"] == "flag"]
        if any(ends != scaling.UNBENT for ends in bends):
            state["bend"] = [list(ends) for ends in zip(*bends, strict=True)]
        if any(shapes) or outlying:
            state["shapes"] = shapes
        state |= ({"missing_flags": flags} if flags else {}) | ({"outlier_flags": outlying} if outlying else {})
        shape = () if target else (len(columns) + len(flags) + len(outlying),)
        return TensorField("number", tuple(columns), shape, "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        values = np.stack([to_numpy(column) for column in columns], axis=1)  # (N, columns)
        blank = np.isnan(values)
        median, mean, std = (np.asarray(field.state[name]) for name in ("median", "mean", "std"))
        values = np.where(blank, median, values)
        flags = [blank[:, place] for place in field.state.get("missing_flags", ())]
        shapes = field.state.get("shapes", ())
        flags += [scaling.is_outlier(values[:, place], shapes[place]) for place in field.state.get("outlier_flags", ())]
        if "bend" in field.state:  # of earlier releases there is none
            values = scaling.bend(values, *np.asarray(field.state["bend"]))
        for place, shape in enumerate(shapes):
            values[:, place] = scaling.warp(np.ascontiguousarray(values[:, place]), shape)
        values = np.clip((values - mean) / std, -FARTHEST, FARTHEST).astype(np.float32)
        if flags:
            values = np.concatenate([values, np.stack(flags, axis=1).astype(np.float32)], axis=1)
        return values.reshape(len(values), *field.shape)

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield missing values, and those outside the training range; of earlier releases no range is known."""
        values, state = np.stack([to_numpy(column) for column in columns], axis=1), field.state
        blank = np.isnan(values)
        for place in np.flatnonzero(blank.any(axis=0)).tolist():
            yield place, f"missing and filled by the training median, {state['median'][place]:.6g}", blank[:, place]
        low, high = (np.asarray(state.get(end, np.nan)) for end in ("low", "high"))
        outside = (values < low) | (values > high)
        for place in np.flatnonzero(outside.any(axis=0)).tolist():
            what = f"outside the training range, {state['low'][place]:.6g} to {state['high'][place]:.6g}"
            yield place, what, outside[:, place]

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Return numbers; of clipped or missing values their replacement."""
        if not field.shape:
            return invert_transform(
                values * field.state["std"][0] + field.state["mean"][0], field.state.get("transform", "")
            )
        lines = values[:, : len(field.columns)] * np.asarray(field.state["std"]) + np.asarray(field.state["mean"])
        for place, shape in enumerate(field.state.get("shapes", ())):
            lines[:, place] = scaling.unwarp(lines[:, place], shape)
        if "bend" in field.state:
            lines = scaling.unbend(lines, *np.asarray(field.state["bend"]))
        return invert_transform(lines, "")

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None:
            return None
        format = field.state.get("format", [PLAIN] * (index + 1))[index]
        if isinstance(value, str) and format != PLAIN:
            value = checks.parse_number(value, format)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"is not a number (got {format_value(value)})", fix="give a number, without quotes")
        if not abs(value) <= LARGEST:  # NaN compares false
            fix = f"give a finite number up to {LARGEST:g}"
            raise DataError(f"is not a finite number (got {str(value)[:40]})", fix=fix)
        return float(value)

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        return {"type": "number", "example": field.state["median"][index], "nullable": True}

    def measure(self, column: pa.Array) -> np.ndarray:
        return to_numpy(column).astype(np.float64)

    def profile(self, column: pa.Array) -> dict[str, Any]:
        return checks.numeric_range(column)

    def to_scalars(self, column: pa.Array) -> np.ndarray:
        return _floats(column)

    def drift_features(self, one: pa.Array, two: pa.Array) -> np.ndarray:
        return _floats(one, two)[:, None]

    def describe_drift(self, one: pa.Array, two: pa.Array, names: tuple[str, str]) -> str:
        """Compare the medians."""
        known = [side.drop_null().to_numpy().astype(np.float64) for side in (one, two)]
        medians = [f"{np.median(side):.4g}" if len(side) else "unknown" for side in known]
        return f"median {medians[0]} {names[0]}, {medians[1]} {names[1]}"

    def assign_bins(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, int]:
        """Cut at quantiles of the training values; bin 0 is for missing values."""
        values = _floats(train, held_out)
        known = values[: len(train)][~np.isnan(values[: len(train)])]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.zeros(0)
        return np.where(np.isnan(values), 0, np.searchsorted(edges, values, "right") + 1), len(edges) + 2

    def target_scores(self, train: pa.Array, held_out: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return ranks among the training values, 0 to 1."""
        known = np.sort(to_numpy(train))
        sides = (to_numpy(side) for side in (train, held_out))
        one, two = ((np.searchsorted(known, values) / len(known))[:, None] for values in sides)
        return one, two


def _floats(*columns: pa.Array) -> np.ndarray:
    return np.concatenate([to_numpy(column).astype(np.float64) for column in columns])
