"""Dates and times: how far along time lies, and where on the circles of the day, the week, the month and the year.

Encoded as numbers (1 + 2 · cycles,): the time, bent and standardised as numbers are, then sine and cosine of each cycle
that these go round at least once; and 1 where the time is missing, if training rows lack it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array, evenly_spaced_indices, to_numpy
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds import _datetime_parse as dates
from evergreen.data.kinds import _scaling as scaling
from evergreen.data.kinds._json import format_value
from evergreen.data.kinds.number import FARTHEST

DAY = 86_400_000_000  # microseconds
LOOKED_AT = 10_000  # times, spread evenly, that tell which of their parts differ
CYCLES = {"hour": 1, "weekday": 7, "day": 28, "month": 365, "year": 365}  # days that training rows have to reach over
FIX = "give a time such as 2024-01-31 or 2024-01-31T12:00:00Z"


class Moment(Kind):
    VERSION: ClassVar[int] = 5
    ENCODES_AS: ClassVar[str] = "number"
    ALLOWS_MISSING: ClassVar[bool] = True
    COMPARES_AS: ClassVar[str] = "number"
    OPTIONS: ClassVar[dict[str, Any]] = {
        "format": "",  # iso, iso+zone, or as strptime has it: "%d.%m.%Y %H:%M"; "": found out
        "unit": "",  # of numbers since 1970: d, s, ms, us or ns
        "zone": "",  # of times that name none, and of the hours and days of the cycles: "Europe/Berlin"; "": UTC
        "cycles": None,  # of hour, weekday, day (of the month), month, year (its day); all that can be learned
    }

    def __init__(self, format: str = "", unit: str = "", zone: str = "") -> None:
        self.format, self.unit, self.zone = format, unit, zone

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            return 1.0
        return 0.95 if pa.types.is_string(column.type) and dates.detect_format(column) else 0.0

    def infer_options(self, column: pa.Array, options: Mapping[str, Any]) -> dict[str, Any]:
        column = decode_array(column)
        if options.get("format") or options.get("unit") or not pa.types.is_string(column.type):
            return dict(options)
        forms = dates.matching_formats(column, 0) or [dates.ISO]
        if len(forms) > 1:
            fix = f'say `{{kind: moment, format: "{forms[0]}"}}`'
            shown = " and ".join(f"'{text}'" for text in pc.unique(column.drop_null()).to_pylist()[:2])
            raise DataError(f"its dates, such as {shown}, may be {' or '.join(forms)}", fix=fix)
        return {**options, "format": forms[0]}

    def with_options(self, options: Mapping[str, Any]) -> Self:
        return type(self)(*(str(options.get(name) or "") for name in ("format", "unit", "zone")))

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if column.type == dates.TYPE:  # it was checked before
            return column, {}
        return dates.parse_datetimes(column, self.format, self.unit, self.zone)

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        place = f"preprocess.kinds.{name}"
        if target:
            fix = "use a number as the target, such as the days until then"
            raise DataError("a time cannot be a target", place=place, fix=fix)
        wishes = {**self.OPTIONS, **options}
        times = to_numpy(column.drop_null().cast(pa.int64()))
        ends = scaling.fit_bend(times)
        bent = scaling.bend(times, *map(np.asarray, ends))
        mean, std = (float(bent.mean()), float(bent.std())) if len(times) else (0.0, 1.0)
        state: dict[str, Any] = {name: wishes[name] for name in ("format", "unit", "zone")}
        if not state["format"] and not state["unit"]:  # of a text in a file to come, too, its neighbours do not decide
            state["format"] = dates.EITHER
        state |= {
            "mean": mean,
            "std": std or 1.0,
            "bend": list(ends),
            "median": int(np.median(times)) if len(times) else 0,
        }
        state |= {"low": int(times.min()), "high": int(times.max())} if len(times) else {}
        lacks = len(times) < len(column)
        state |= {"missing": [lacks], "flag": lacks, "cycles": _cycles(wishes["cycles"], times, place)}
        width = 1 + 2 * len(state["cycles"]) + lacks
        return TensorField("number", (name,), (width,), "float32", state, "moment")

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        (column,), state = columns, field.state
        blank = to_numpy(column.is_null())
        column = column.fill_null(pa.scalar(state["median"], pa.int64()).cast(dates.TYPE))
        time = to_numpy(column.cast(pa.int64()))
        if "bend" in state:  # of earlier releases there is none
            time = scaling.bend(time, *map(np.asarray, state["bend"]))
        parts = [np.clip((time - state["mean"]) / state["std"], -FARTHEST, FARTHEST)]
        turns = _turns(_local_microseconds(column, state["zone"]))
        for cycle in state["cycles"]:
            angle = 2 * np.pi * turns[cycle]
            parts += [np.where(blank, 0.0, np.sin(angle)), np.where(blank, 0.0, np.cos(angle))]
        parts += [blank] if state["flag"] else []
        return np.stack(parts, axis=1).astype(np.float32)

    def find_unusual(
        self, field: TensorField, columns: Sequence[pa.Array], encoded: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield missing times, and those outside the training range; of earlier releases no range is known."""
        (column,), state = columns, field.state
        if column.null_count:
            blank = to_numpy(column.is_null())
            yield 0, f"missing and filled by the training median, {_format_time(state['median'])}", blank
        if "low" not in state:
            return
        time = to_numpy(column.cast(pa.int64()).fill_null(state["low"]))
        outside = (time < state["low"]) | (time > state["high"])
        if outside.any():
            ends = f"{_format_time(state['low'])} to {_format_time(state['high'])}"
            yield 0, f"outside the training range, {ends}", outside

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Return times in ISO 8601, as exact as float32: to a ten-millionth of the range of training rows."""
        time = np.asarray(values, np.float64)[:, 0] * field.state["std"] + field.state["mean"]
        if "bend" in field.state:
            time = scaling.unbend(time, *map(np.asarray, field.state["bend"]))
        return [
            _format_time(value) for value in np.clip(np.round(time), dates.LOW, dates.HIGH).astype(np.int64).tolist()
        ]

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and self.unit:
            read, faults = dates.parse_datetimes(pa.array([value], pa.float64()), unit=self.unit)
        elif isinstance(value, str) and value.isprintable():
            read, faults = dates.parse_datetimes(pa.array([value]), dates.EITHER, zone=self.zone)
            if faults and self.format:
                read, faults = dates.parse_datetimes(pa.array([value]), self.format, zone=self.zone)
        else:
            raise DataError(f"is not a time (got {format_value(value)})", fix=FIX)
        if faults or not read[0].is_valid:
            problem = f"is not a time (got {format_value(value)})" + (f" ({faults[0]})" if faults else "")
            written = f", or as training rows had it: {self.format}" if self.format.startswith("%") else ""
            raise DataError(problem, fix=FIX + written)
        return read[0].value

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(dates.TYPE)

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        return _format_time(value.value) if value.is_valid else None

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        zone = self.zone or "UTC"
        example = _format_time(field.state["median"])
        schema: dict[str, Any] = {"type": "string", "format": "date-time", "example": example}
        schema["description"] = f"a time in ISO 8601; one that names no zone is of {zone}"
        if self.unit:
            number = {"type": "number", "description": f"{self.unit} since 1970"}
            del schema["example"]
            schema = {"oneOf": [schema, number], "example": example}
        return schema | {"nullable": True}

    def measure(self, column: pa.Array) -> np.ndarray:
        return to_numpy(column.drop_null().cast(pa.int64())).astype(np.float64)

    def format_measure(self, value: float) -> str:
        return datetime.fromtimestamp(value / 1e6, UTC).date().isoformat()

    def describe_values(self, column: pa.Array) -> tuple[str, str]:
        """Return the first and the last day."""
        times = self.validate(column)[0].drop_null()
        ends = pc.min_max(times)
        return f"{ends['min'].as_py():%Y-%m-%d} to {ends['max'].as_py():%Y-%m-%d}" if len(times) else "", ""

    def to_comparable(self, column: pa.Array) -> pa.Array:
        return column.cast(pa.int64()).cast(pa.float64())

    def hash_input(self, column: pa.Array) -> pa.Array:
        return column.cast(pa.int64()).cast(pa.float64(), safe=False)  # exact until the year 2255


def _cycles(wanted: Sequence[str] | None, times: np.ndarray, place: str) -> list[str]:
    """Return the cycles to encode: those asked for, or those that the times go round and whose parts differ."""
    if wanted is not None:
        for name in wanted:
            if name not in CYCLES:
                raise DataError(f"'{name}' is not a cycle", place=place, fix=f"use {', '.join(CYCLES)}")
        return list(wanted)
    if not len(times):
        return []
    turns, reach = _turns(times[evenly_spaced_indices(len(times), LOOKED_AT)]), (times.max() - times.min()) / DAY
    return [name for name, days in CYCLES.items() if reach >= days and np.ptp(turns[name]) > 0]


def _local_microseconds(column: pa.Array, zone: str) -> np.ndarray:
    """Return (N,) microseconds since 1970 on the clocks of a zone."""
    if zone:
        column = pc.local_timestamp(column.cast(pa.timestamp("us", zone)))
    return to_numpy(column.cast(pa.int64()))


def _turns(time: np.ndarray) -> dict[str, np.ndarray]:
    """Return where each time is on each cycle, in [0, 1)."""
    day, clock = np.divmod(time, DAY)
    dated = day.astype("datetime64[D]")
    month, year = dated.astype("datetime64[M]"), dated.astype("datetime64[Y]")
    into = {"day": (dated - month, month), "year": (dated - year, year)}
    turns = {"hour": clock / DAY, "weekday": (day + 3) % 7 / 7}  # the first day of 1970 was a Thursday
    for name, (since, start) in into.items():
        length = (start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")
        turns[name] = since.astype(np.int64) / length.astype(np.int64)
    return turns | {"month": month.astype(np.int64) % 12 / 12}


def _format_time(time: int) -> str:
    return f"{np.datetime64(time, 'us')}Z".replace(".000000Z", "Z")
