"""Raw rows as examples to learn from, checked and split: the rows of a table, the stretches of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import identity, split, ways, windows
from data import schema as schemas
from data.columns import Faults, plain, texts
from data.field import DataError
from data.quarantine import Rejected, counted, few_enough, quarantine, told
from data.rules import Rules, joined
from data.schema import Schema
from data.split import ASIDE, SPLITS, TRAIN, Moment

FIXES = {  # of a split that holds no row
    "identity": "give more rows, larger shares or another seed",
    "group": "give more groups, larger shares or another seed",
    "time": "move validate_from and test_from, or make the gap shorter",
    "given": "let the column say train, validation or test of some rows each",
}


class Wishes(Protocol):
    """What a pipeline says of its data; see `stages.preprocess.Params` for each."""

    @property
    def target(self) -> str: ...
    @property
    def key(self) -> list[str]: ...
    @property
    def ignore(self) -> list[str]: ...
    @property
    def kinds(self) -> dict[str, Any]: ...
    @property
    def schema(self) -> dict[str, dict[str, Any]]: ...
    @property
    def rules(self) -> list[str]: ...
    @property
    def bad_rows(self) -> float: ...
    @property
    def test_share(self) -> float: ...
    @property
    def validation_share(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def group(self) -> str: ...
    @property
    def given(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def gap(self) -> str | int | float: ...
    @property
    def window(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def covariates(self) -> list[str]: ...
    @property
    def series(self) -> str: ...
    @property
    def validate_from(self) -> Moment: ...
    @property
    def test_from(self) -> Moment: ...


@dataclass(frozen=True)
class Examples:
    """Good rows with the split of each, the quarantined ones, and what a person should know."""

    table: pa.Table  # columns of the schema, `_origin`, `_id`, `_time` or `_group` where the split is by them
    splits: np.ndarray  # (N,) places in SPLITS
    schema: Schema
    quarantine: pa.Table
    notes: list[str]
    cuts: dict[str, Any]  # the times at which validation and test begin; {} where the split is not by time
    by: str = "time"  # the way in which the rows are divided: see data/ways.py

    def part(self, name: str) -> pa.Table:
        """The rows of one split, in order."""
        return self.table.filter(pa.array(self.splits == SPLITS.index(name))).combine_chunks()

    def without(self, rows: np.ndarray, why: str) -> Examples:
        """(N,) bool: these rows are set aside."""
        bad = quarantine(self.table, dict.fromkeys(np.flatnonzero(rows).tolist(), why))
        kept = {"table": self.table.filter(pa.array(~rows)), "splits": self.splits[~rows]}
        return replace(self, quarantine=pa.concat_tables([self.quarantine, bad]), **kept)


def from_rows(raw: pa.Table, target_kinds: Sequence[str], wishes: Wishes, *, from_itself: bool = False) -> Examples:
    """Each row of the table is an example; its target is of one of `target_kinds`, with `from_itself` an input, too.

    Raises DataError where the columns or the rows do not serve.
    """
    target, key, way = wishes.target, wishes.key, ways.wanted(wishes)
    required = [*key, *([way.column] if way.column else [])]
    ignore = [*wishes.ignore, *([way.column] if way.column else [])]
    target_kind = schemas.target_kind(raw, target, target_kinds, wishes.kinds)
    named: dict[str, Any] = {"given": wishes.kinds, "ignore": ignore, "key": key}
    schema = schemas.infer(raw, target, target_kind, **named, from_itself=from_itself)
    good, bad = schemas.check(raw, schema, required=required, rules=_rules(raw, wishes))
    _some(good, bad)
    few_enough(len(raw), bad, wishes.bad_rows)
    ids = split.identities(good, schema, key)
    stratified = target_kind == "category" and not key  # rows of one key stay together even where classes differ
    classes = texts(plain(good.column(target))) if stratified else None
    if way.column:
        way = way.fixed(good.column(way.column))
    splits, aside = way.divide(good, ids, classes)
    if way.by in ("time", "group"):
        good = good.append_column(f"_{way.by}", good.column(way.column))
    good = good.append_column("_id", identity.to_arrow(ids))
    good = good.drop_columns([name for name in dict.fromkeys(required) if name not in schema.kinds])
    cuts = way.cuts if way.by == "time" and way.cuts else {}
    notes = [*schema.notes, *_moving_cuts(wishes, cuts), *way.notes(), *_twins(ids)]
    bad, kept = pa.concat_tables([bad, quarantine(good, aside)]), splits != ASIDE
    return _learnable(Examples(good.filter(pa.array(kept)), splits[kept], schema, bad, notes, cuts, way.by))


def from_series(raw: pa.Table, wishes: Wishes) -> Examples:
    """Each point in time with enough known values before it is an example, of each series if there are several."""
    target, time, way = wishes.target, wishes.time, ways.wanted(wishes)
    if not time:
        raise DataError("a forecast needs the column of times", place="preprocess.time", fix="say `time: COLUMN`")
    which: dict[str, Any] = {"covariates": wishes.covariates, "series": wishes.series}
    schemas.known(raw, [target, time, *wishes.covariates, *([wishes.series] if wishes.series else [])])
    for name in (target, *wishes.covariates):
        schemas.suits(plain(raw.column(name)), name, "series")
    broken = joined(_rules(raw, wishes).broken(raw))
    points, faults = windows.readable(emptied(raw, broken, [target, *wishes.covariates]), time, target, **which)
    faults |= broken
    table = windows.history_table(points, time, target, wishes.window, wishes.horizon, **which)
    bad = quarantine(raw, faults)
    _some(table, bad)
    few_enough(len(raw), bad, wishes.bad_rows)
    table = table.append_column("_origin", plain(points.column("_origin")).take(plain(table.column("_row"))))
    way = way.fixed(table.column("_time"))
    cuts, none = way.cuts or {}, np.empty((len(table), 2), np.uint64)  # by time, what a row is does not count
    splits, aside = way.divide(pa.table({time: table.column("_time")}), none)
    ends, _ = replace(way, gap=0).divide(pa.table({time: table.column("_until")}), none)
    torn = dict.fromkeys(np.flatnonzero(splits != ends).tolist(), "its targets reach into the next split") | aside
    table = table.drop_columns(["_row", "_until"])
    bad = pa.concat_tables([bad, quarantine(table, torn)])
    kinds = {windows.HISTORY: "series", **({wishes.series: "category"} if wishes.series else {})}
    schema = Schema(kinds, target, "series")
    table = table.append_column("_id", identity.to_arrow(split.identities(table, schema)))
    notes = _moving_cuts(wishes, cuts)
    if any(windows.uneven(moment) for _, moment in windows.ordered(points, time, wishes.series)):
        notes.append(f"the times are not evenly spaced: {wishes.window} rows back are not always as long ago")
    unseen = [name for name in schemas.known(raw, []) if name not in (target, time, wishes.series, *wishes.covariates)]
    if unseen and not wishes.covariates:
        notes.append(
            f"not looked at: {', '.join(unseen)}; to see columns of numbers, too, say `covariates: [COLUMN, …]`"
        )
    whole = splits == ends
    return _learnable(Examples(table.filter(pa.array(whole)), splits[whole], schema, bad, notes, cuts))


def _rules(raw: pa.Table, wishes: Wishes) -> Rules:
    """What must hold of the rows, with what the whole of them says."""
    rules = Rules.read(wishes.schema, wishes.rules, raw, schemas.kind_options(wishes.kinds))
    return rules.settled([rules.tally(raw)])


def emptied(table: pa.Table, rows: Faults, names: Sequence[str]) -> pa.Table:
    """The table without the values of some columns in some rows, which keep their place in time."""
    if not rows:
        return table
    bad = np.zeros(len(table), bool)
    bad[list(rows)] = True
    for name in names:
        column = plain(table.column(name))
        held = pc.if_else(pa.array(bad), pa.scalar(None, column.type), column)
        table = table.set_column(table.column_names.index(name), name, held)
    return table


def _some(good: pa.Table, bad: pa.Table) -> None:
    if not len(good):
        why = told(counted(bad)) or "there are fewer rows than `window` and `horizon` need"
        fix = "mend the source, or `ignore` the columns at fault"
        raise Rejected(f"no good row is left: {why}", place="preprocess", fix=fix, aside=bad)


def _learnable(examples: Examples) -> Examples:
    """Rows of classes that no training row has are set aside; raises DataError where a split is empty."""
    table, splits, target = examples.table, examples.splits, examples.schema.target
    if examples.schema.target_kind == "category":
        classes = np.array(table.column(target).to_pylist(), dtype=object)
        learned = set(classes[splits == TRAIN])
        strange = np.array([name not in learned for name in classes], bool)
        examples = examples.without(strange, f"{target}: no training row has this class")
    counts = {name: int((examples.splits == code).sum()) for code, name in enumerate(SPLITS)}
    for name, count in counts.items():
        if not count:
            shown = ", ".join(f"{split} {held}" for split, held in counts.items())
            raise DataError(
                f"no row is left for the {name} split ({shown})", place="preprocess", fix=FIXES[examples.by]
            )
    return examples


def _moving_cuts(wishes: Wishes, cuts: dict[str, Any]) -> list[str]:
    if not cuts or (wishes.validate_from is not None and wishes.test_from is not None):
        return []
    text = ", ".join(f"{name}: {cut}" for name, cut in cuts.items())
    return [f"the cuts in time were taken by shares of the rows and move when rows come; to pin them, say {text}"]


def _twins(ids: np.ndarray) -> list[str]:
    twins = len(ids) - len(np.unique(ids, axis=0))
    return [f"{twins} rows repeat another; they are kept, in the same split as it"] if twins else []
