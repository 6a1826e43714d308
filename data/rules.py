"""What must hold of the rows: ranges, allowed values, patterns, rules across columns, that a column's values differ.

A row breaks a rule only where the rule is false: what is missing breaks none, unless the schema says `missing: 0` or a
rule asks `is_valid(column)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc

from data.columns import Faults, plain
from data.expression import Made, compiled, member, moment, place
from data.field import DataError, nearest
from data.grammar import BOOLEAN, NUMBER, TEXT, TIME, TYPES, parsed, pattern, whole
from data.quarantine import RULE
from data.readings import hashed, missing, reading, values

REPEATED = "stands more than once"


@dataclass(frozen=True)
class Column:
    """What must hold of one column."""

    kind: str = ""  # as under `kinds`
    type: str = ""  # how rules read it: number, text, time or boolean
    min: Any = None  # the least allowed: a number, or a time
    max: Any = None  # the largest allowed
    allowed: list[Any] | None = None  # the values there may be
    pattern: str = ""  # a regular expression (RE2) that each whole value fits, as it was written
    unique: bool = False  # rows whose value stands in another row as well are set aside, all of them
    missing: float = 1.0  # largest share without a value; above it nothing is prepared; 0: rows without are set aside

    @classmethod
    def read(cls, name: str, said: Mapping[str, Any]) -> Column:
        """Raises DataError where a key or its value makes no sense."""
        known = [one.name for one in fields(cls)]
        for key in said:
            if key not in known:
                raise _wrong(name, f"'{key}' says nothing of a column", nearest(str(key), known))
        column = cls(**said)
        right = {"kind": str, "type": str, "pattern": str, "allowed": list, "unique": bool, "missing": int | float}
        for key, wanted in right.items():
            value = said.get(key, getattr(cls, key))
            if (key in said and not isinstance(value, wanted)) or (key == "missing" and isinstance(value, bool)):
                raise _wrong(name, f"{key} is {value!r}", f"write {EXAMPLES[key]}")
        if column.type and column.type not in TYPES:
            raise _wrong(name, f"there is no type '{column.type}'", nearest(column.type, TYPES))
        if not 0 <= column.missing <= 1:
            raise _wrong(name, f"missing is {column.missing}, and a share is 0 to 1", f"write {EXAMPLES['missing']}")
        if column.pattern:
            pattern(column.pattern, lambda problem, fix: _wrong(name, problem, fix))
        return column

    @property
    def said(self) -> str:
        """The type that rules read it in, where the schema tells."""
        bounds = [one for one in (self.min, self.max) if one is not None]
        implied = NUMBER if self.kind == "number" else ""
        if bounds:
            implied = TIME if isinstance(bounds[0], str) else NUMBER
        return self.type or implied


EXAMPLES = {
    **{"kind": "the name of a kind: number", "type": "type: number, text, time or boolean"},
    **{"pattern": 'a regular expression in quotes: pattern: "[A-Z]{2}[0-9]+"', "allowed": "a list: allowed: [a, b]"},
    **{"unique": "unique: true", "missing": "a share: missing: 0.1"},
}


def _wrong(column: str, problem: str, fix: str) -> DataError:
    return DataError(f"schema of column '{column}': {problem}", place="preprocess.schema", fix=fix)


def sound(schema: Mapping[str, Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Raises DataError for what is wrong whatever the data are."""
    for name, said in schema.items():
        Column.read(name, said)
    for rule in rules:
        parsed(rule)


def kinds_of(schema: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Column → kind, of what the pipeline says under `schema` and under `kinds`. DataError where they differ."""
    found = {name: said["kind"] for name, said in schema.items() if "kind" in said}
    for name, kind in found.items():
        other = kinds.get(name, kind)
        other = other.get("kind") if isinstance(other, Mapping) else other
        if kind != other:
            raise _wrong(name, f"kind is {kind}, and `kinds` says {other}", "say it in one place")
    return {**found, **kinds}


Test = tuple[str, str, Made, list[tuple[str, str]]]  # column or RULE, reason, what holds, (type, column) pairs read


@dataclass(frozen=True)
class Tally:
    """Of some rows, what rules of whole columns need; of several, `Rules.settled` makes one answer."""

    rows: int
    missing: dict[str, int]
    hashes: dict[str, np.ndarray]  # of the values that must differ, (N,) uint64


@dataclass(frozen=True)
class Rules:
    """The rules of a pipeline, for data whose columns are read in the types given."""

    columns: Mapping[str, Column]
    texts: Sequence[str]  # rules across columns, as written
    types: Mapping[str, str]  # column → number, text, time or boolean, of the columns that have one
    repeated: Mapping[str, np.ndarray] = field(default_factory=dict)  # column → hashes of values that stand twice

    @classmethod
    def read(cls, schema: Mapping[str, Mapping[str, Any]], rules: Sequence[str], look: pa.Table) -> Rules:
        """The rules for data that look like this. Raises DataError for columns, types and values that do not fit."""
        names = [name for name in look.column_names if not name.startswith("_")]
        columns = {name: Column.read(name, said) for name, said in schema.items()}
        for name in columns:
            if name not in names:
                raise DataError(f"there is no column '{name}'", place="preprocess.schema", fix=nearest(name, names))
        types = {name: reading(look.column(name)) for name in names if columns or rules}
        types |= {name: one.said for name, one in columns.items() if one.said and types[name]}
        found = cls(columns, list(rules), {name: kind for name, kind in types.items() if kind})
        found.tests()
        return found

    @property
    def whole(self) -> list[str]:
        """The columns that must be seen whole before a row can be judged."""
        return [name for name, one in self.columns.items() if one.unique or 0 < one.missing < 1]

    def tally(self, table: pa.Table) -> Tally:
        """What the rows of a table, which needs only the columns of `whole`, add to what is known of the columns."""
        held = {name: plain(table.column(name)) for name in self.whole}
        absent = {name: int(np.count_nonzero(missing(column))) for name, column in held.items()}
        hashes = {name: hashed(column) for name, column in held.items() if self.columns[name].unique}
        return Tally(len(table), absent, hashes)

    def settled(self, tallies: Iterable[Tally]) -> Rules:
        """The rules with what the whole says, in any order. Raises DataError where too many values are missing.

        Memory: 16 bytes a row and column that is `unique`.
        """
        told = list(tallies)
        rows = sum(one.rows for one in told)
        for name in self.whole:
            absent = sum(one.missing[name] for one in told)
            if absent > self.columns[name].missing * rows and self.columns[name].missing:
                problem = f"{absent:,} of {rows:,} rows have no value ({absent / rows:.1%}), and its schema allows"
                allowed = f"{self.columns[name].missing:.1%} (`missing`)"
                raise _wrong(name, f"{problem} {allowed}", "mend the source, or allow more")
        repeated = {}
        for name in (name for name in self.whole if self.columns[name].unique):
            every = np.sort(np.concatenate([one.hashes[name] for one in told]))
            repeated[name] = np.unique(every[1:][every[1:] == every[:-1]])
        return replace(self, repeated=repeated)

    def broken(self, table: pa.Table) -> list[tuple[str, Faults]]:
        """(a column's name or RULE, row → what is broken) for each rule that a row of the raw table breaks."""
        tests = self.tests()
        view, found = self._view(table, [one for *_, asked in tests for one in asked])
        if tests:
            columns = _computed(view, [made for _, _, made, _ in tests])
            for (name, reason, *_), column in zip(tests, columns, strict=True):
                false = pc.fill_null(pc.invert(column), False).to_numpy(zero_copy_only=False)
                found.append((name, dict.fromkeys(np.flatnonzero(false).tolist(), reason)))
        for name, hashes in self.repeated.items():
            rows = np.flatnonzero(np.isin(hashed(plain(table.column(name))), hashes) & ~missing(table.column(name)))
            found.append((name, dict.fromkeys(rows.tolist(), REPEATED)))
        for name, one in self.columns.items():
            if one.missing == 0:
                found.append((name, dict.fromkeys(np.flatnonzero(missing(table.column(name))).tolist(), "missing")))
        return [(name, faults) for name, faults in found if faults]

    def tests(self) -> list[Test]:
        """One for each rule of a row."""
        found = [one for name, column in self.columns.items() for one in self._of_column(name, column)]
        return found + [(RULE, rule, *compiled(rule, self.types)) for rule in self.texts]

    def _of_column(self, name: str, column: Column) -> list[Test]:
        def wrong(problem: str, fix: str) -> DataError:
            return _wrong(name, problem, fix)

        kind = self.types.get(name, "")
        if not kind and (column.min, column.max, column.allowed) != (None, None, None):
            raise wrong("its values are no numbers, texts, times or booleans", "take its range and values away")
        read, asked = pc.field(place(kind, name)), [(kind, name)]
        found = []
        for bound, word, holds in ((column.min, "below", read.__ge__), (column.max, "above", read.__le__)):
            if bound is not None:
                found.append((name, f"{word} {bound}", holds(_bound(bound, kind, wrong)), asked))
        if column.allowed is not None:
            shown = ", ".join(map(str, column.allowed[:5])) + (", …" if len(column.allowed) > 5 else "")
            found.append((name, f"none of {shown}", member(read, kind, column.allowed, wrong), asked))
        if column.pattern:
            fits = pc.match_substring_regex(pc.field(place(TEXT, name)), whole(column.pattern))
            found.append((name, f"does not fit {column.pattern}", fits, [(TEXT, name)]))
        return found

    def _view(self, table: pa.Table, asked: Iterable[tuple[str, str]]) -> tuple[pa.Table, list[tuple[str, Faults]]]:
        """(the columns that rules read, in the types they read them; where a value is not of its column's type)."""
        view, found = {}, []
        for kind, name in dict.fromkeys(asked):
            view[place(kind, name)], faults = values(plain(table.column(name)), kind)
            found.append((name, faults))
        return pa.table(view), found


def joined(found: Iterable[tuple[str, Faults]]) -> Faults:
    """Row → every reason why it is bad."""
    reasons: dict[int, dict[str, None]] = {}
    for name, faults in found:
        for row, reason in faults.items():
            reasons.setdefault(row, {})[f"{name}: {reason}"] = None
    return {row: "; ".join(told) for row, told in reasons.items()}


def _bound(bound: Any, kind: str, wrong: Any) -> Made:
    if kind == NUMBER and isinstance(bound, int | float) and not isinstance(bound, bool):
        return pc.scalar(float(bound))
    if kind == TIME and isinstance(bound, str):
        return moment(bound, wrong)
    if kind in (TEXT, BOOLEAN):
        raise wrong(f"it is read as {kind}, and has no least or largest value", "say `type: number` or `type: time`")
    raise wrong(f"{bound!r} is no {kind}", "write a number for numbers, 2024-01-31 for times")


def _computed(view: pa.Table, made: Sequence[Made]) -> list[pa.ChunkedArray]:
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(view))
    names = [str(number) for number in range(len(made))]
    project = acero.Declaration("project", acero.ProjectNodeOptions(list(made), names))
    return acero.Declaration.from_sequence([source, project]).to_table(use_threads=False).columns
