"""Check what must hold of rows: ranges, allowed values, patterns, uniqueness, rules across columns.

A row violates a rule only where the rule is false: a missing value violates none, unless the schema says `missing: 0`
or a rule asks `is_valid(column)`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc

from evergreen.core.errors import DataError, suggest
from evergreen.data.arrow import RowErrors, decode_array, to_numpy
from evergreen.data.kinds import Kind
from evergreen.data.kinds.moment import Moment
from evergreen.data.kinds.number import Number
from evergreen.data.prepare.cast import cast_column, hash_values, is_missing, rule_type
from evergreen.data.prepare.column_rules import ColumnRule, column_error
from evergreen.data.prepare.invalid_rows import RULE
from evergreen.data.prepare.rules.compiler import compile_rule, is_in, time_scalar, typed_column_name
from evergreen.data.prepare.rules.grammar import BOOLEAN, NUMBER, TEXT, TIME, Expression, anchor, parse_rule

REPEATED = "stands more than once"


def validate_rules(schema: Mapping[str, Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Raise DataError for rules that no data could satisfy."""
    for name, said in schema.items():
        ColumnRule.read(name, said)
    for rule in rules:
        parse_rule(rule)


# column or RULE, reason, what holds, (type, column) pairs read
Test = tuple[str, str, Expression, list[tuple[str, str]]]


@dataclass(frozen=True)
class RuleStats:
    """Hold what rules about whole columns need of some rows; `Rules.with_global_stats` merges them."""

    rows: int
    missing: dict[str, int]
    hashes: dict[str, np.ndarray]  # of the values that must differ, (N,) uint64


@dataclass(frozen=True)
class Rules:
    """Check the rules of a pipeline, for columns that are read as the given types."""

    columns: Mapping[str, ColumnRule]
    texts: Sequence[str]  # rules across columns, as written
    types: Mapping[str, str]  # column → number, text, time or boolean, of the columns that have one
    options: Mapping[str, Any] = field(default_factory=dict)  # column → how its times and fractions are written
    repeated: Mapping[str, np.ndarray] = field(default_factory=dict)  # column → hashes of values that occur twice

    @classmethod
    def read(
        cls,
        schema: Mapping[str, Mapping[str, Any]],
        rules: Sequence[str],
        look: pa.Table,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Compile rules for data such as `look`; `options` are those of the columns' kinds.

        Raises DataError for columns, types and values that do not match.
        """
        names = [name for name in look.column_names if not name.startswith("_")]
        columns = {name: ColumnRule.read(name, said) for name, said in schema.items()}
        for name in columns:
            if name not in names:
                raise DataError(f"there is no column '{name}'", place="preprocess.schema", fix=suggest(name, names))
        types = {name: rule_type(look.column(name)) for name in names if columns or rules}
        types |= {name: one.declared_type for name, one in columns.items() if one.declared_type and types[name]}
        readers: dict[str, Kind] = {TIME: Moment(), NUMBER: Number()}
        written = {
            name: _infer_options(readers[kind], name, look.column(name), (options or {}).get(name, {}))
            for name, kind in types.items()
            if kind in readers
        }
        checked = cls(columns, list(rules), types, written)
        checked.tests()
        return checked

    @property
    def columns_needed_globally(self) -> list[str]:
        """Return the columns of which all rows must be seen before a row can be judged."""
        return [name for name, one in self.columns.items() if one.unique or 0 < one.missing < 1]

    def collect_stats(self, table: pa.Table) -> RuleStats:
        """Return what the rows of a table add to what is known of whole columns."""
        columns = {name: decode_array(table.column(name)) for name in self.columns_needed_globally}
        absent = {name: int(np.count_nonzero(is_missing(column))) for name, column in columns.items()}
        hashes = {name: hash_values(column) for name, column in columns.items() if self.columns[name].unique}
        return RuleStats(len(table), absent, hashes)

    def with_global_stats(self, tallies: Iterable[RuleStats]) -> Self:
        """Return the rules with the merged statistics. Raises DataError where too many values are missing.

        Memory: 16 bytes a row and column that is `unique`.
        """
        all_stats = list(tallies)
        rows = sum(one.rows for one in all_stats)
        for name in self.columns_needed_globally:
            absent = sum(one.missing[name] for one in all_stats)
            if absent > self.columns[name].missing * rows and self.columns[name].missing:
                problem = f"{absent:,} of {rows:,} rows have no value ({absent / rows:.1%}), and its schema allows"
                allowed = f"{self.columns[name].missing:.1%} (`missing`)"
                raise column_error(name, f"{problem} {allowed}", "correct the source, or allow more")
        repeated = {}
        for name in (name for name in self.columns_needed_globally if self.columns[name].unique):
            every = np.sort(np.concatenate([one.hashes[name] for one in all_stats]))
            repeated[name] = np.unique(every[1:][every[1:] == every[:-1]])
        return replace(self, repeated=repeated)

    def violations(self, table: pa.Table) -> list[tuple[str, RowErrors]]:
        """Return (column or RULE, row → what is violated) for each rule that a raw row violates."""
        tests = self.tests()
        typed = [(one.type, name) for name, one in self.columns.items() if one.type]
        view, errors = self._view(table, [*typed, *(one for *_, asked in tests for one in asked)])
        if tests:
            columns = _computed(view, [made for _, _, made, _ in tests])
            for (name, reason, *_), column in zip(tests, columns, strict=True):
                false = to_numpy(pc.fill_null(pc.invert(column), False))
                errors.append((name, dict.fromkeys(np.flatnonzero(false).tolist(), reason)))
        for name, hashes in self.repeated.items():
            rows = np.flatnonzero(
                np.isin(hash_values(decode_array(table.column(name))), hashes) & ~is_missing(table.column(name))
            )
            errors.append((name, dict.fromkeys(rows.tolist(), REPEATED)))
        for name, one in self.columns.items():
            if one.missing == 0:
                errors.append((name, dict.fromkeys(np.flatnonzero(is_missing(table.column(name))).tolist(), "missing")))
        return [(name, faults) for name, faults in errors if faults]

    def tests(self) -> list[Test]:
        """Return one test for each rule about a row."""
        tests = [one for name, column in self.columns.items() for one in self._of_column(name, column)]
        return tests + [(RULE, rule, *compile_rule(rule, self.types)) for rule in self.texts]

    def _of_column(self, name: str, column: ColumnRule) -> list[Test]:
        def wrong(problem: str, fix: str) -> DataError:
            return column_error(name, problem, fix)

        kind = self.types[name]
        if not kind and (column.min, column.max, column.allowed) != (None, None, None):
            raise wrong("its values are not numbers, texts, times or booleans", "remove its range and values")
        read, asked = pc.field(typed_column_name(kind, name)), [(kind, name)]
        tests = []
        for bound, word, holds in ((column.min, "below", read.__ge__), (column.max, "above", read.__le__)):
            if bound is not None:
                tests.append((name, f"{word} {bound}", holds(_bound(bound, kind, wrong)), asked))
        if column.allowed is not None:
            shown = ", ".join(map(str, column.allowed[:5])) + (", …" if len(column.allowed) > 5 else "")
            tests.append((name, f"not one of {shown}", is_in(read, kind, column.allowed, wrong), asked))
        if column.pattern:
            fits = pc.match_substring_regex(pc.field(typed_column_name(TEXT, name)), anchor(column.pattern))
            tests.append((name, f"does not fit {column.pattern}", fits, [(TEXT, name)]))
        return tests

    def _view(self, table: pa.Table, asked: Iterable[tuple[str, str]]) -> tuple[pa.Table, list[tuple[str, RowErrors]]]:
        """Return (the columns that rules read, in their types; errors of values that are not of the type)."""
        view, errors = {}, []
        for kind, name in dict.fromkeys(asked):
            view[typed_column_name(kind, name)], faults = cast_column(
                decode_array(table.column(name)), kind, self.options.get(name)
            )
            errors.append((name, faults))
        return pa.table(view), errors


def _infer_options(kind: Kind, name: str, column: pa.ChunkedArray, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the times or numbers of a column are written, detected once for all its pieces."""
    is_of_numbers = "234" in str(options.get("format", ""))  # the column's own kind may be of the other type
    options = {key: one for key, one in options.items() if key != "format" or is_of_numbers == isinstance(kind, Number)}
    try:
        inferred: dict[str, Any] = kind.infer_options(decode_array(column), options)
    except DataError as error:
        raise DataError(error.problem, place=f"column '{name}'", fix=f"{error.fix} under kinds") from error
    return inferred


def merge_errors(errors_by_column: Iterable[tuple[str, RowErrors]]) -> RowErrors:
    """Return row → all reasons why it is invalid."""
    reasons: dict[int, dict[str, None]] = {}
    for name, faults in errors_by_column:
        for row, reason in faults.items():
            reasons.setdefault(row, {})[f"{name}: {reason}"] = None
    return {row: "; ".join(told) for row, told in reasons.items()}


def _bound(bound: Any, kind: str, wrong: Any) -> Expression:
    if kind == NUMBER and isinstance(bound, int | float) and not isinstance(bound, bool):
        return pc.scalar(float(bound))
    if kind == TIME and isinstance(bound, str):
        return time_scalar(bound, wrong)
    if kind in (TEXT, BOOLEAN):
        raise wrong(f"it is read as {kind}, which has no minimum or maximum", "set `type: number` or `type: time`")
    raise wrong(f"{bound!r} is not a {kind}", "use a number for numbers, 2024-01-31 for times")


def _computed(view: pa.Table, made: Sequence[Expression]) -> list[pa.ChunkedArray]:
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(view))
    names = [str(number) for number in range(len(made))]
    project = acero.Declaration("project", acero.ProjectNodeOptions(list(made), names))
    return list(acero.Declaration.from_sequence([source, project]).to_table(use_threads=False).columns)
