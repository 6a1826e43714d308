"""Profile checked columns, from pieces in any order, and describe what changed between two profiles.

A change is reported where a person should know of it, not where a sample differs by chance: see the limits below.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa

from evergreen.data.arrow import combine_chunks
from evergreen.data.kinds import find
from evergreen.data.kinds.classes.class_counts import limit_values
from evergreen.data.prepare.cast import is_missing

BEYOND = 0.1  # of the range there was: how far outside it a value must lie
NARROW = 0.5  # of the last range: only a larger change is reported
SHARE = 0.01  # of the rows: a rarer value is not reported, nor are fewer missing values where there were none
MOVED = 0.05  # how far a fraction of missing values, or of quarantined rows, must move to be reported
MOST = 20  # changes told


@dataclass(frozen=True)
class ColumnProfile:
    """Summarize one column. `low` and `high` are of numbers, `values` (value → rows) of categories."""

    kind: str
    type: str
    rows: int
    missing: int
    low: float | None = None
    high: float | None = None
    values: dict[str, int] | None = None

    def __add__(self, other: Self) -> Self:
        lows, highs = ([one for one in pair if one is not None] for pair in self._ends(other))
        values = None
        if self.values is not None and other.values is not None:
            values = limit_values(Counter(self.values) + Counter(other.values))
        rows, absent = self.rows + other.rows, self.missing + other.missing
        low, high = min(lows, default=None), max(highs, default=None)
        return type(self)(self.kind, self.type, rows, absent, low, high, values)

    def _ends(self, other: Self) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        return (self.low, other.low), (self.high, other.high)

    @property
    def missing_fraction(self) -> float:
        """Return the fraction of missing values."""
        return self.missing / max(self.rows, 1)


def profile_columns(table: pa.Table, kinds: Mapping[str, str]) -> dict[str, ColumnProfile]:
    """Return column → profile of checked rows; `kinds` is column → kind."""
    return {name: _profile_column(combine_chunks(table.column(name)), kind) for name, kind in kinds.items()}


def merge_profiles(tallies: Iterable[dict[str, ColumnProfile]]) -> dict[str, ColumnProfile]:
    """Merge profiles of the same columns."""
    merged: dict[str, ColumnProfile] = {}
    for more in tallies:
        merged = {name: merged[name] + seen if name in merged else seen for name, seen in more.items()}
    return merged


def _profile_column(column: pa.Array, kind: str) -> ColumnProfile:
    stored = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_extension = isinstance(column, pa.ExtensionArray)
    n_missing = column.null_count if is_extension else int(is_missing(column).sum())
    return ColumnProfile(kind, str(stored), len(column), n_missing, **find(kind).profile(column))


def to_json(columns: Mapping[str, ColumnProfile], aside: int) -> dict[str, Any]:
    """Return what schema.json stores: {"columns", "rows", "aside"}."""
    rows = max((seen.rows for seen in columns.values()), default=0)
    return {"columns": {name: asdict(seen) for name, seen in columns.items()}, "rows": rows, "aside": aside}


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe in words what changed between two of `to_json`, column by column."""
    old = {name: ColumnProfile(**one) for name, one in before["columns"].items()}
    new = {name: ColumnProfile(**one) for name, one in now["columns"].items()}
    changes = [f"new column '{name}', a {seen.kind}" for name, seen in new.items() if name not in old]
    changes += [f"column '{name}' is gone" for name in old if name not in new]
    for name, seen in new.items():
        if name in old:
            changes += [f"column '{name}': {change}" for change in _changed(old[name], seen)]
    shares = [facts["aside"] / max(facts["aside"] + facts["rows"], 1) for facts in (before, now)]
    if shares[1] - shares[0] >= MOVED:
        changes.append(f"the fraction of quarantined rows went from {_share(shares[0])} to {_share(shares[1])}")
    more = len(changes) - MOST
    return changes[:MOST] + ([f"{more} more changes"] if more > 0 else [])


def _changed(old: ColumnProfile, new: ColumnProfile) -> list[str]:
    if old.kind != new.kind:
        return [f"its kind is {new.kind} now, and was {old.kind}"]
    changes = [f"its type is {new.type} now, and was {old.type}"] if old.type != new.type else []
    moved = abs(new.missing_fraction - old.missing_fraction) >= MOVED or (
        old.missing == 0 and new.missing_fraction >= SHARE
    )
    if moved:
        changes.append(
            f"the fraction of missing values went from {_share(old.missing_fraction)} to {_share(new.missing_fraction)}"
        )
    return changes + _ranged(old, new) + _valued(old.values, new.values, old.rows, new.rows)


def _ranged(old: ColumnProfile, new: ColumnProfile) -> list[str]:
    if old.low is None or old.high is None or new.low is None or new.high is None:
        return []
    span, changes = old.high - old.low, []
    if new.low < old.low - BEYOND * span:
        changes.append(f"the smallest value went from {old.low:.6g} to {new.low:.6g}")
    if new.high > old.high + BEYOND * span:
        changes.append(f"the largest value went from {old.high:.6g} to {new.high:.6g}")
    if not changes and new.rows >= old.rows / 2 and new.high - new.low < NARROW * span:
        changes.append(f"its range went from {old.low:.6g} … {old.high:.6g} to {new.low:.6g} … {new.high:.6g}")
    return changes


def _valued(old: Mapping[str, int] | None, new: Mapping[str, int] | None, before: int, now: int) -> list[str]:
    if old is None or new is None:
        return []
    changes = [
        f"new value '{value}' ({_share(count / now)} of rows)"
        for value, count in new.items()
        if value not in old and count >= SHARE * now
    ]
    return changes + [
        f"the value '{value}' is gone (it was in {_share(count / before)} of rows)"
        for value, count in old.items()
        if value not in new and count >= SHARE * before
    ]


def _share(share: float) -> str:
    return f"{share:.2g}" if not share else f"{share:.1%}"
