"""Parse the rules of one column: `schema: {age: {min: 0, max: 120, missing: 0.1}}`, and suggest rules from data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evergreen.core.config import is_before, show_value
from evergreen.core.errors import DataError, suggest
from evergreen.data import kinds
from evergreen.data.arrow import to_float64
from evergreen.data.prepare.rules.grammar import NUMBER, TIME, TYPES, check_pattern

if TYPE_CHECKING:
    from evergreen.data.quality.profile import ColumnProfile

FEW = 20  # values that are listed as allowed
WHOLE = 1e15  # from here on a float is written as one


@dataclass(frozen=True)
class ColumnRule:
    """Say what must hold of one column."""

    kind: str = ""  # as under `kinds`
    type: str = ""  # how rules read it: number, text, time or boolean
    min: Any = None  # the least allowed: a number, or a time
    max: Any = None  # the largest allowed
    allowed: list[Any] | None = None  # the values there may be
    pattern: str = ""  # a regular expression (RE2) that each whole value fits, as it was written
    unique: bool = False  # all rows whose value occurs in another row are quarantined
    missing: float = (
        1.0  # largest fraction without a value; above it nothing is prepared; 0: rows without one are quarantined
    )

    @classmethod
    def read(cls, name: str, values: Mapping[str, Any]) -> ColumnRule:
        """Parse the rules of a column. Raises DataError for an unknown key or an impossible value."""
        known = [one.name for one in fields(cls)]
        for key in values:
            if key not in known:
                raise column_error(name, f"'{key}' is not a property of a column", suggest(str(key), known))
        column = cls(**values)
        right = {"kind": str, "type": str, "pattern": str, "allowed": list, "unique": bool, "missing": int | float}
        for key, wanted in right.items():
            value = values.get(key, getattr(cls, key))
            if (key in values and not isinstance(value, wanted)) or (key == "missing" and isinstance(value, bool)):
                raise column_error(name, f"{key} is not valid (got {value!r})", f"write {EXAMPLES[key]}")
        if column.type and column.type not in TYPES:
            raise column_error(name, f"'{column.type}' is not a type", suggest(column.type, TYPES))
        if not 0 <= column.missing <= 1:
            raise column_error(
                name, f"missing is not a fraction from 0 to 1 (got {column.missing})", f"write {EXAMPLES['missing']}"
            )
        for key, value in (
            ("min", column.min),
            ("max", column.max),
            *(("allowed", one) for one in column.allowed or ()),
        ):
            if (
                isinstance(value, list | dict)
                or (key != "allowed" and isinstance(value, bool))
                or (isinstance(value, float) and not math.isfinite(value))
            ):
                raise column_error(name, f"{key} is {show_value(value)}", "write a number, or a time in quotes")
        if column.allowed == []:
            raise column_error(name, "allowed: the list is empty", f"write {EXAMPLES['allowed']}")
        if is_before(column.max, column.min):
            raise column_error(name, f"min {column.min} is above max {column.max}", "write the smaller one as min")
        if column.pattern:
            check_pattern(column.pattern, lambda problem, fix: column_error(name, problem, fix))
        return column

    @property
    def declared_type(self) -> str:
        """Return the type that rules read the column in, where the schema says so; else ""."""
        bounds = [one for one in (self.min, self.max) if one is not None]
        implied = kinds.find(self.kind).RULE_TYPE if self.kind else ""
        if bounds:
            implied = TIME if isinstance(bounds[0], str) else NUMBER
        return self.type or implied


EXAMPLES = {
    **{"kind": "the name of a kind: number", "type": "type: number, text, time or boolean"},
    **{"pattern": 'a regular expression in quotes: pattern: "[A-Z]{2}[0-9]+"', "allowed": "a list: allowed: [a, b]"},
    **{"unique": "unique: true", "missing": "a fraction: missing: 0.1"},
}


def column_error(column: str, problem: str, fix: str) -> DataError:
    """Return the error for a mistake in a column's rules."""
    return DataError(f"schema of column '{column}': {problem}", place="preprocess.schema", fix=fix)


def merge_kinds(schema: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge column → kind of the schema and of `kinds`. Raises DataError where they contradict each other."""
    merged = {name: said["kind"] for name, said in schema.items() if "kind" in said}
    for name, kind in merged.items():
        other = given.get(name, kind)
        other = other.get("kind") if isinstance(other, Mapping) else other
        if kind != other:
            raise column_error(name, f"kind is {kind} here, and {other} under `kinds`", "keep one of the two")
    return {**merged, **given}


def suggest_rules(columns: Mapping[str, ColumnProfile], unique: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Suggest rules from profiles: ranges a tenth wider, the values seen, twice the fraction that was missing.

    `unique` are further columns in which no value came twice.
    """
    suggested: dict[str, dict[str, Any]] = {name: {"unique": True} for name in unique if name not in columns}
    for name, seen in columns.items():
        rule: dict[str, Any] = {} if kinds.find(seen.kind).SPANS_ROWS else {"kind": seen.kind}
        if seen.low is not None and seen.high is not None:
            rule |= dict(zip(("min", "max"), _wider(seen.low, seen.high), strict=True))
        if seen.values and len(seen.values) <= FEW:
            rule["allowed"] = _typed(list(seen.values))
        if "kind" in rule:
            rule["missing"] = min(1.0, math.ceil(200 * seen.missing_fraction) / 100) if seen.missing else 0
        suggested[name] = rule
    return suggested


def _wider(low: float, high: float) -> tuple[float, float]:
    """Return both ends a tenth of the range farther out, rounded to two digits of it, but not past zero."""
    span = high - low
    digits = 1 - math.floor(math.log10(span)) if span else 0
    least = math.floor((low - span / 10) * 10.0**digits) / 10.0**digits
    most = math.ceil((high + span / 10) * 10.0**digits) / 10.0**digits
    return _short(max(least, 0.0) if low >= 0 else least), _short(min(most, 0.0) if high <= 0 else most)


def _short(value: float) -> float:
    return int(value) if value == int(value) and abs(value) < WHOLE else value


def _typed(words: list[str]) -> list[Any]:
    """Return values as rules read them: numbers where all are, booleans where there is nothing else."""
    if {word.lower() for word in words} <= {"true", "false"}:
        return sorted({word.lower() == "true" for word in words})
    numbers, faults = to_float64(pa.array(words))
    return words if faults else sorted(_short(float(number)) for number in numbers)
