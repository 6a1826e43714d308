"""Raw rows as examples to learn from, checked and split: the rows of a table, the stretches of a series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from data import schema as schemas
from data import split, windows
from data.columns import plain, texts
from data.field import DataError
from data.quarantine import quarantine
from data.schema import Schema
from data.split import SPLITS, TRAIN, Moment

SOME_REASONS = 3


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
    def test_share(self) -> float: ...
    @property
    def validation_share(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def time(self) -> str: ...
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

    table: pa.Table  # columns of the schema, `_origin`, `_id`, and `_time` where the split is by time
    splits: np.ndarray  # (N,) places in SPLITS
    schema: Schema
    quarantine: pa.Table
    notes: list[str]
    cuts: dict[str, Any]  # the times at which validation and test begin; {} where the split is by identity

    def part(self, name: str) -> pa.Table:
        """The rows of one split, in order."""
        return self.table.filter(pa.array(self.splits == SPLITS.index(name))).combine_chunks()


def from_rows(raw: pa.Table, target_kinds: Sequence[str], wishes: Wishes, *, from_itself: bool = False) -> Examples:
    """Each row of the table is an example; its target is of one of `target_kinds`, with `from_itself` an input, too.

    Raises DataError where the columns or the rows do not serve.
    """
    target, key, time = wishes.target, wishes.key, wishes.time
    required = [*key, *([time] if time else [])]
    target_kind = schemas.target_kind(raw, target, target_kinds, wishes.kinds)
    named: dict[str, Any] = {"given": wishes.kinds, "ignore": wishes.ignore, "key": key, "time": time}
    schema = schemas.infer(raw, target, target_kind, **named, from_itself=from_itself)
    good, bad = schemas.check(raw, schema, required=required)
    _some(good, bad)
    ids = split.identities(good, schema, key)
    cuts: dict[str, Any] = {}
    if time:
        good = good.append_column("_time", good.column(time))
        splits, cuts = _by_time(good.column("_time"), wishes, wishes.validate_from, wishes.test_from)
    else:  # rows of one key stay together even where their classes differ
        stratified = target_kind == "category" and not key
        classes = texts(plain(good.column(target))).to_pylist() if stratified else None
        splits = split.by_identity(ids, wishes.test_share, wishes.validation_share, wishes.seed, classes)
    good = good.append_column("_id", pa.array(ids, pa.string()))
    good = good.drop_columns([name for name in required if name not in schema.kinds])
    notes = [*schema.notes, *_moving_cuts(wishes, cuts), *_twins(ids)]
    return _learnable(Examples(good, splits, schema, bad, notes, cuts))


def from_series(raw: pa.Table, wishes: Wishes) -> Examples:
    """Each point in time with enough known values before it is an example, of each series if there are several."""
    target, time = wishes.target, wishes.time
    if not time:
        raise DataError("a forecast needs the column of times", place="preprocess.time", fix="say `time: COLUMN`")
    which: dict[str, Any] = {"covariates": wishes.covariates, "series": wishes.series}
    schemas.known(raw, [target, time, *wishes.covariates, *([wishes.series] if wishes.series else [])])
    for name in (target, *wishes.covariates):
        schemas.suits(plain(raw.column(name)), name, "series")
    points, faults = windows.readable(raw, time, target, **which)
    table = windows.history_table(points, time, target, wishes.window, wishes.horizon, **which)
    bad = quarantine(raw, faults)
    _some(table, bad)
    table = table.append_column("_origin", plain(points.column("_origin")).take(plain(table.column("_row"))))
    splits, cuts = _by_time(table.column("_time"), wishes, wishes.validate_from, wishes.test_from)
    ends, _ = _by_time(table.column("_until"), wishes, cuts["validate_from"], cuts["test_from"])
    torn = dict.fromkeys(np.flatnonzero(splits != ends).tolist(), "its targets reach into the next split")
    table = table.drop_columns(["_row", "_until"])
    bad = pa.concat_tables([bad, quarantine(table, torn)])
    kinds = {windows.HISTORY: "series", **({wishes.series: "category"} if wishes.series else {})}
    schema = Schema(kinds, target, "series")
    table = table.append_column("_id", pa.array(split.identities(table, schema), pa.string()))
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


def _by_time(column: pa.ChunkedArray, wishes: Wishes, validate_from: Moment, test_from: Moment) -> Any:
    return split.by_time(column, wishes.time, wishes.test_share, wishes.validation_share, validate_from, test_from)


def _some(good: pa.Table, bad: pa.Table) -> None:
    if not len(good):
        worst = Counter(bad.column("reason").to_pylist()).most_common(SOME_REASONS)
        why = "; ".join(f"{reason} ({count} rows)" for reason, count in worst)
        why = why or "there are fewer rows than `window` and `horizon` need"
        raise DataError(
            f"no good row is left: {why}", place="preprocess", fix="mend the source, or `ignore` the columns at fault"
        )


def _learnable(examples: Examples) -> Examples:
    """Rows of classes that no training row has are set aside; raises DataError where a split is empty."""
    table, splits, target = examples.table, examples.splits, examples.schema.target
    if examples.schema.target_kind == "category":
        classes = np.array(table.column(target).to_pylist(), dtype=object)
        learned = set(classes[splits == TRAIN])
        strange = np.array([name not in learned for name in classes], bool)
        rows = {int(row): f"{target}: no training row has this class" for row in np.flatnonzero(strange)}
        bad = pa.concat_tables([examples.quarantine, quarantine(table, rows)])
        table, splits = table.filter(pa.array(~strange)), splits[~strange]
        examples = replace(examples, table=table, splits=splits, quarantine=bad)
    counts = {name: int((splits == code).sum()) for code, name in enumerate(SPLITS)}
    for name, count in counts.items():
        if not count:
            shown = ", ".join(f"{split} {held}" for split, held in counts.items())
            fix = (
                "move validate_from and test_from" if examples.cuts else "give more rows, larger shares or another seed"
            )
            raise DataError(f"no row is left for the {name} split ({shown})", place="preprocess", fix=fix)
    return examples


def _moving_cuts(wishes: Wishes, cuts: dict[str, Any]) -> list[str]:
    if not cuts or (wishes.validate_from is not None and wishes.test_from is not None):
        return []
    text = ", ".join(f"{name}: {cut}" for name, cut in cuts.items())
    return [f"the cuts in time were taken by shares of the rows and move when rows come; to pin them, say {text}"]


def _twins(ids: list[str]) -> list[str]:
    twins = len(ids) - len(set(ids))
    return [f"{twins} rows repeat another; they are kept, in the same split as it"] if twins else []
