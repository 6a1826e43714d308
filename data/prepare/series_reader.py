"""Prepare the windows of a series: a row for each point in time with enough known values before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data import kinds, row_ids
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.kinds.number import Number
from evergreen.data.number_format import PLAIN
from evergreen.data.prepare import infer as schemas
from evergreen.data.prepare import split, splitters, times, windows
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.filter import filter_rows, no_rows_left_error
from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.invalid_rows import check_any_valid, check_invalid_fraction, count_reasons, quarantine
from evergreen.data.prepare.prepared_rows import PreparedRows, warn_moving_cuts
from evergreen.data.prepare.rules.constraints import Rules, merge_errors


@dataclass(frozen=True)
class SeriesReader:
    """Prepare windows of a series; follows RowReader (prepared_rows.py)."""

    config: PreprocessConfig
    kind: str  # of the windows, and of the target
    written: Mapping[str, str] = field(default_factory=dict)  # column → how its numbers or times are written
    split_method = "time"
    splitter = None
    all_rows_reason = "the rows of a series have to be put in order"

    @classmethod
    def from_sample(cls, sample: pa.Table, config: PreprocessConfig, kind: str) -> Self:
        """Return a reader for rows such as those of a sample. Raises DataError where its times may be read two ways."""
        options = schemas.kind_options(config.kinds)
        written = {
            name: Number().infer_options(decode_array(sample.column(name)), options.get(name, {})).get("format", PLAIN)
            for name in (config.target, *config.covariates)
            if name in sample.column_names
        }
        if config.time in sample.column_names:
            said = options.get(config.time, {}).get("format", "")
            written[config.time] = said or splitters.detect_time_format(sample.column(config.time), config.time)
        return cls(config, kind, written)

    def notes(self) -> list[str]:
        """Return nothing: notes come with the prepared rows."""
        return []

    @property
    def cuts(self) -> dict[str, Any]:
        """Return nothing: cuts come with the prepared rows."""
        return {}

    @property
    def schema(self) -> Schema:
        """Return the kinds of the windows and of the target."""
        series = self.config.series_column
        inputs = {windows.HISTORY: self.kind, **({series: kinds.find(self.kind).GROUP_KIND} if series else {})}
        return Schema(inputs, self.config.target, self.kind)

    def prepare(self, raw: pa.Table) -> PreparedRows:
        """Prepare all raw rows. Raises DataError where columns or rows are unsuitable."""
        config = self.config
        count, raw = len(raw), _filtered_rows(raw, config)
        target, time = config.target, config.time
        which: dict[str, Any] = {"covariates": config.covariates, "series": config.series_column}
        which["written"] = self.written
        _check_columns(raw, config, self.kind)
        rules = Rules.read(config.column_rules, config.rules, raw, schemas.kind_options(config.kinds))
        broken = merge_errors(rules.with_global_stats([rules.collect_stats(raw)]).violations(raw))
        points, faults = windows.drop_rows_without_time(
            _emptied(raw, broken, [target, *config.covariates]), time, target, **which
        )
        table = windows.make_windows(points, time, target, config.window, config.horizon, **which)
        bad = quarantine(raw, faults | broken)
        check_any_valid(len(table), count_reasons(bad), bad)
        check_invalid_fraction(len(raw), count_reasons(bad), config.max_invalid_fraction, bad)
        table = table.append_column(
            "_origin", decode_array(points.column("_origin")).take(decode_array(table.column("_row")))
        )
        splits, ends, split_errors, cuts = _divided(table, config, self.written.get(time, ""))
        table = table.drop_columns(["_row", "_until"])
        table = table.append_column("_id", row_ids.to_arrow(split.compute_row_ids(table, self.schema)))
        notes = [*warn_moving_cuts(config, cuts), *_silent(len(raw) - len(table) - len(bad))]
        notes += _notes(points, raw, config, self.written.get(time, ""))
        every, is_held_out = pa.concat_tables([bad, quarantine(table, split_errors)]), splits == ends
        table, splits = table.filter(pa.array(is_held_out)), splits[is_held_out]
        return PreparedRows(table, splits, every, len(bad), count - len(raw), notes, cuts)


def _filtered_rows(raw: pa.Table, config: PreprocessConfig) -> pa.Table:
    """Return the rows that the pipeline's filter keeps."""
    asked = filter_rows(raw, config.filter)
    if not len(asked) and len(raw):
        raise no_rows_left_error(raw, config.filter)
    return asked


def _check_columns(raw: pa.Table, config: PreprocessConfig, kind: str) -> None:
    if not config.time:
        raise DataError("a forecast needs a time column", place="preprocess.time", fix="set `time: COLUMN`")
    if config.sample_weight:
        fix = "leave sample_weight out"
        raise DataError("rows of a series cannot be weighted", place="preprocess.sample_weight", fix=fix)
    named = [config.target, config.time, *config.covariates, *([config.series_column] if config.series_column else [])]
    schemas.check_columns(raw, named)
    for name in (config.target, *config.covariates):
        kinds.find(kind).check_target(decode_array(raw.column(name)), f"target column '{name}'")


def _divided(
    table: pa.Table, config: PreprocessConfig, format: str
) -> tuple[np.ndarray, np.ndarray, RowErrors, dict[str, Any]]:
    """Return (split of each first target, split of each last target, row → why in none, the cuts)."""
    time, way = config.time, replace(splitters.splitter_from_config(config), format=format)
    way = way.fit(table.column("_time"))
    none = np.empty((len(table), 2), np.uint64)  # by time, what a row is does not count
    splits, split_errors = way.split(pa.table({time: table.column("_time")}), none)
    ends, _ = replace(way, gap=0).split(pa.table({time: table.column("_until")}), none)
    torn = dict.fromkeys(np.flatnonzero(splits != ends).tolist(), "its targets reach into the next split")
    return splits, ends, torn | split_errors, way.cuts or {}


def _silent(rows: int) -> list[str]:
    """Return a note on valid rows at which no window begins."""
    return [f"{rows:,} rows are left out: too few known values before or after them"] if rows else []


def _notes(points: pa.Table, raw: pa.Table, config: PreprocessConfig, format: str) -> list[str]:
    notes, orders = [], windows.order_by_time(points, config.time, config.series_column, format)
    if any(times.is_irregular(moment) for _, moment in orders):
        notes.append(f"the times are not evenly spaced: {config.window} rows back are not always as long ago")
    seen = (config.target, config.time, config.series_column, *config.covariates)
    unseen = [name for name in schemas.check_columns(raw, []) if name not in seen]
    if unseen and not config.covariates:
        notes.append(f"columns not used: {', '.join(unseen)}; to use columns of numbers, set `covariates: [COLUMN, …]`")
    return notes


def _emptied(table: pa.Table, rows: RowErrors, names: Sequence[str]) -> pa.Table:
    """Return the table with some columns null in some rows, which keep their place in time."""
    if not rows:
        return table
    bad = np.zeros(len(table), bool)
    bad[list(rows)] = True
    for name in names:
        column = decode_array(table.column(name))
        values = pc.if_else(pa.array(bad), pa.scalar(None, column.type), column)
        table = table.set_column(table.column_names.index(name), name, values)
    return table
