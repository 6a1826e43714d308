"""Prepare raw rows one by one, after fitting what depends on all rows (time cuts, duplicates).

`TableReader.from_sample` infers from some rows what the columns are; `fit_global_state` takes in what depends on all
rows; after that `prepare` prepares any rows by themselves. Rules (rules/constraints.py), splitters (splitters.py) and
kinds plug in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data import kinds, row_ids
from evergreen.data.arrow import decode_array, to_numpy, to_sample_weights, to_strings
from evergreen.data.prepare import infer as schemas
from evergreen.data.prepare import split, splitters
from evergreen.data.prepare.check import separate_invalid_rows
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.degrade import degrade_images
from evergreen.data.prepare.filter import filter_rows
from evergreen.data.prepare.infer import Schema
from evergreen.data.prepare.invalid_rows import quarantine
from evergreen.data.prepare.prepared_rows import PreparedRows, warn_moving_cuts
from evergreen.data.prepare.rules.constraints import Rules, RuleStats
from evergreen.data.prepare.split import NO_SPLIT, TEST, TRAIN, VALIDATION
from evergreen.data.prepare.splitters import Splitter
from evergreen.data.prepare.times import read_times
from evergreen.data.sources import RESERVED


@dataclass(frozen=True)
class TableReader:
    """Prepare the rows of a table; follows RowReader (prepared_rows.py)."""

    config: PreprocessConfig
    schema: Schema
    splitter: Splitter
    rules: Rules
    generated: Mapping[str, str]  # column → kind, of columns that the task needs and the data need not have
    all_rows_reason: str  # why all rows have to be read at once; mostly nothing
    written: Mapping[str, str] = field(default_factory=dict)  # nothing: the schema's options say it
    unseen_classes: frozenset[str] = frozenset()  # classes that no training row has
    unlearned_classes: frozenset[str] = frozenset()  # classes that the task does not learn from

    @classmethod
    def from_sample(
        cls,
        sample: pa.Table,
        target_kinds: Sequence[str],
        config: PreprocessConfig,
        *,
        generated: Mapping[str, str] | None = None,
        from_itself: bool = False,
    ) -> Self:
        """Return a reader for rows such as those of a sample, whose target is of one of `target_kinds`.

        With `from_itself` the target is an input, too. Raises DataError where columns or rows are unsuitable.
        """
        raw = _complete_rows(sample, config, generated or {})
        target, way = config.target, splitters.splitter_from_config(config)
        ignore = [*config.drop_columns, *(name for name in (way.column, config.sample_weight) if name)]
        target_kind = schemas.target_kind(raw, target, target_kinds, config.kinds)
        named: dict[str, Any] = {"given": config.kinds, "ignore": ignore, "key": config.id_columns}
        schema = schemas.infer_schema(raw, target, target_kind, **named, from_itself=from_itself)
        _check_some_input_varies(raw, schema)
        rules = Rules.read(config.column_rules, config.rules, raw, schemas.kind_options(config.kinds))
        return cls(config, schema, way, rules, generated or {}, _why_whole(raw, schema, config))

    @property
    def split_method(self) -> str:
        """Return how rows are split: identity, group, time or given."""
        return self.splitter.by

    @property
    def columns_needed_globally(self) -> list[str]:
        """Return the raw columns of which all rows must be seen before any row can be prepared."""
        cut = self.splitter.by == "time" and None in (self.config.validate_from, self.config.test_from)
        names = list(self.rules.columns_needed_globally)
        if cut or self.splitter.by == "given":
            names.append(self.splitter.column)
        return list(dict.fromkeys([*names, *self.config.filter])) if names else []

    def fit_global_state(self, tables: Iterable[pa.Table], sample: pa.Table) -> Self:
        """Return the reader fitted to `columns_needed_globally` of all rows; `sample` serves for the other columns."""
        tallies: list[RuleStats] = []
        seen: list[pa.Array] = []
        way = self.splitter
        if way.by == "time":
            time_format = schemas.kind_options(self.config.kinds).get(way.column, {}).get("format", "")
            way = replace(
                way, format=time_format or splitters.detect_time_format(sample.column(way.column), way.column)
            )
        for table in (filter_rows(table, self.config.filter) for table in tables):
            tallies.append(self.rules.collect_stats(table))
            if way.column in table.column_names:
                seen.append(_small(decode_array(table.column(way.column)), way))
        if way.column:
            way = way.fit(_join_chunks(seen, way.column) if seen else sample.column(way.column))
        return replace(self, splitter=way, rules=self.rules.with_global_stats(tallies))

    def notes(self) -> list[str]:
        """Return what a person should know."""
        cuts = self.cuts
        return [*self.schema.notes, *self.schema.doubts, *warn_moving_cuts(self.config, cuts), *self.splitter.notes()]

    @property
    def cuts(self) -> dict[str, Any]:
        """Return the cuts of a split by time."""
        return self.splitter.cuts if self.splitter.by == "time" and self.splitter.cuts else {}

    def prepare(self, raw: pa.Table) -> PreparedRows:
        """Prepare any raw rows."""
        count, raw = len(raw), _complete_rows(raw, self.config, self.generated)
        config, way, target = self.config, self.splitter, self.schema.target
        required = list(
            dict.fromkeys([*config.id_columns, *(name for name in (way.column, config.sample_weight) if name)])
        )
        split_errors = [(way.column, way.faults(raw.column(way.column)))] if way.column else []
        if config.sample_weight:
            split_errors.append(
                (config.sample_weight, to_sample_weights(decode_array(raw.column(config.sample_weight)))[1])
            )
        good, bad = separate_invalid_rows(
            raw, self.schema, required=required, rules=self.rules, known_errors=split_errors
        )
        ids = split.compute_row_ids(good, self.schema, config.id_columns)
        # rows of one key stay together
        stratified = kinds.find(self.schema.target_kind).HAS_CLASSES and not config.id_columns
        targets = decode_array(good.column(target))
        classes = to_strings(targets) if stratified else None
        splits, unassigned = way.split(good, ids, classes)
        units = way.units(good, ids, classes, _stratum(targets, self.schema.target_kind)) if way.deals_now else None
        if way.by in ("time", "group"):
            good = good.append_column(f"_{way.by}", good.column(way.column))
        if config.sample_weight:
            good = good.append_column(
                "_weight", pa.array(to_sample_weights(decode_array(good.column(config.sample_weight)))[0])
            )
        good = good.append_column("_id", row_ids.to_arrow(ids))
        good = good.drop_columns([name for name in required if name not in self.schema.kinds])
        rows = PreparedRows(good, splits, bad, len(bad), count - len(raw), units=units)
        if unassigned:
            rows = replace(rows, quarantine=pa.concat_tables([bad, quarantine(good, unassigned)]))
            rows = replace(rows, table=good.filter(pa.array(splits != NO_SPLIT)), splits=splits[splits != NO_SPLIT])
        return self._moved(rows)

    def _moved(self, rows: PreparedRows) -> PreparedRows:
        """Quarantine or move rows of classes that the task does not learn.

        Classes without a training row are quarantined. Classes that the task does not learn from validate and
        test, half each; where a group or a column decides the split they are quarantined.
        """
        target = self.schema.target
        if self.unseen_classes:
            rows = rows.quarantine_rows(
                _among(rows, target, self.unseen_classes), f"{target}: no training row has this class"
            )
        if not self.unlearned_classes:
            return rows
        spare = _among(rows, target, self.unlearned_classes) & (rows.splits == TRAIN)
        if self.splitter.by in ("group", "given"):
            return rows.quarantine_rows(spare, f"{target}: it is to train, and the task does not learn from it")
        half = (row_ids.from_arrow(rows.table.column("_id"))[:, 0] & np.uint64(1)).astype(bool)
        return replace(rows, splits=np.where(spare, np.where(half, TEST, VALIDATION), rows.splits))


def _complete_rows(raw: pa.Table, config: PreprocessConfig, made: Mapping[str, str]) -> pa.Table:
    """Return the filtered rows with the columns that are made of others."""
    raw = filter_rows(raw, config.filter)
    for name, kind in made.items():
        if name not in raw.column_names:
            raw = raw.append_column(name, kinds.find(kind).generate(raw.column("_origin").to_pylist()))
    return degrade_images(raw, config.target, noise_std=config.noise_std, downscale=config.downscale)


def _check_some_input_varies(raw: pa.Table, schema: Schema) -> None:
    """Raise DataError where all rows have the same inputs; columns without any value are named, too."""
    constant = schemas.find_constant_columns(raw, [name for name in raw.column_names if name not in RESERVED])
    if set(schema.inputs) <= set(constant):
        shown = ", ".join(f"'{name}' ({str(raw.column(name)[0].as_py())[:40] or 'empty'})" for name in constant)
        fix = "give a column that differs between rows, or correct the source"
        raise DataError(f"every input is constant: {shown}", place="preprocess", fix=fix)


def _why_whole(raw: pa.Table, schema: Schema, config: PreprocessConfig) -> str:
    for name, kind in schema.kinds.items():
        if kinds.find(kind).needs_all_rows(raw.schema.field(name).type):
            return f"the commonest shape of column '{name}' ({kind}) is right for all its rows"
    spoils = config.noise_std > 0 or config.downscale > 1
    if spoils and not pa.types.is_binary(decode_array(raw.column(config.target)).type):
        return f"the noise in '{config.target}' is measured by the range of all its values"
    return ""


def _stratum(targets: pa.Array, kind: str) -> pa.Array | None:
    """Return the targets whose classes or sizes are to be spread evenly over the splits; None of other kinds."""
    if kinds.find(kind).HAS_CLASSES:
        return to_strings(targets)
    is_number = pa.types.is_floating(targets.type) or pa.types.is_integer(targets.type)
    return targets.cast(pa.float64()) if is_number else None


def _small(column: pa.Array, way: Splitter) -> pa.Array:
    """Return all that a splitter needs of a column, in little memory."""
    return read_times(column, way.format)[0].drop_null() if way.by == "time" else pc.unique(to_strings(column))


def _join_chunks(columns: Sequence[pa.Array], name: str) -> pa.ChunkedArray:
    filled = [column for column in columns if len(column)] or list(columns[:1])
    if len({column.type for column in filled}) > 1:
        problem = "holds times in some rows and numbers in others, or a time zone in some rows alone"
        raise DataError(problem, place=f"column '{name}'", fix="write all times alike")
    return pa.chunked_array(filled)


def _among(rows: PreparedRows, target: str, classes: frozenset[str]) -> np.ndarray:
    column = decode_array(rows.table.column(target))
    return to_numpy(pc.is_in(column, pa.array(sorted(classes), pa.string())))
