"""Deal the rows that no earlier version knew to splits, and keep where all went; see data/prepare/assignment.py."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, PipelineError, VersionError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data import row_ids
from evergreen.data.parquet import RowGroup, read_file
from evergreen.data.prepare.assignment import FILE, MAX_UNITS, Assignment
from evergreen.data.prepare.prepared_rows import RowReader
from evergreen.data.prepare.split import SPLITS, TEST
from evergreen.data.prepare.splitters import Splitter, group_ids
from evergreen.data.prepared import row_groups
from evergreen.stages.preprocess.shards import PrepareJob, Shard

SUMMARY = "summary.json"
NOTHING = pa.schema([("unit", pa.uint64()), ("hash", pa.float64()), ("place", pa.int8())]).empty_table()


def deal_rows(
    reader: RowReader, way: Splitter, shards: Sequence[Shard], work: PrepareJob
) -> tuple[RowReader, list[bool]]:
    """Deal the rows of all shards; return a reader that knows them, and which shards it prepares otherwise."""
    files = [work.units_file(shard) for shard in shards]
    tables = [read_file(file) if file.is_file() else NOTHING for file in files]
    rows, ends = pa.concat_tables(tables, promote_options="default"), np.cumsum([len(table) for table in tables])
    way, splits = way.deal(rows)
    moved = np.flatnonzero(splits != rows.column("place").to_numpy())
    touched = np.isin(np.arange(len(shards)), np.searchsorted(ends, moved, side="right"))
    return with_splitter(reader, way), touched.tolist()


def with_splitter(reader: Any, way: Splitter) -> RowReader:
    """Return the reader of a table with another splitter."""
    changed: RowReader = replace(reader, splitter=way)
    return changed


def recall_splits(
    reader: RowReader, paths: Paths, raw: Sequence[RowGroup], scratch: Path
) -> tuple[RowReader, list[str]]:
    """Return the reader with the assignment that the last run left, if it deals the `raw` rows; and notes.

    It lies in the folder `described`, or is fetched by its hash in dvc.lock. Where it is nowhere, as before rows were
    dealt, the rows that are ready keep their splits, here or by their hash in dvc.lock.
    """
    from evergreen.stages.engines.dvc_cache import export_out

    way, known, notes = reader.splitter, None, []
    if way is None or not way.is_dealt:
        return reader, []
    for file, find in ((paths.described / FILE, _read), (paths.ready / SUMMARY, _adopt)):
        folder = file.parent
        try:
            if not file.is_file() and export_out(paths, "preprocess", folder, scratch / folder.name):
                folder = scratch / folder.name
        except VersionError as error:
            notes = [f"where rows went before is not known here, so all are dealt anew: {error}"]
        if known := find(folder, way):
            notes = []
            break
    shutil.rmtree(scratch, ignore_errors=True)
    if known is None or known.settings != way.settings:
        known = Assignment(way.settings)
    is_full = known.is_full or sum(unit.rows for unit in raw) > MAX_UNITS
    return with_splitter(reader, replace(way, known=replace(known, is_full=is_full))), notes


def _read(described: Path, _way: Splitter) -> Assignment | None:
    return Assignment.read(described / FILE) if (described / FILE).is_file() else None


def _adopt(ready: Path, way: Splitter) -> Assignment | None:
    """Take over where rows went that were split by their hash alone; None where there are none, or of another way."""
    try:
        if read_json(ready / SUMMARY).get("by") != way.by:
            return None
        groups = [(code, unit) for code, name in enumerate(SPLITS) for unit in row_groups(ready, name)]
    except (PipelineError, DataError):
        return None
    if way.by == "given":
        groups = [(code, unit) for code, unit in groups if code != TEST]
    if sum(unit.rows for _, unit in groups) > MAX_UNITS:
        return Assignment(way.settings, is_full=True)
    name = "_group" if way.by == "group" else "_id"
    columns = [unit.read([name]).column(name) for _, unit in groups]
    if way.by != "group" and any(column.type != row_ids.ID for column in columns):
        return None
    find = group_ids if way.by == "group" else row_ids.from_arrow
    units = np.concatenate([find(column)[:, 0] for column in columns])
    return Assignment(way.settings).add(units, np.repeat([code for code, _ in groups], list(map(len, columns))))
