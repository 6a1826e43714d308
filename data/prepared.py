"""Read prepared rows: a folder of Parquet part files for each split.

`ready/train/part-00000.parquet …`, likewise `validation`, `test` and `quarantine` (rows that were quarantined).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.data import parquet as files
from evergreen.data import row_ids
from evergreen.data.arrow import decode_array, evenly_spaced_indices
from evergreen.data.parquet import MADE, ROWS, RowGroup, read_file
from evergreen.data.prepare.split import SPLITS

QUARANTINED = "quarantine"
SCHEMA = "schema.json"  # what the columns held
STAGE, PARTS = "preprocess", "part-*.parquet"
WEIGHT = "_weight"  # the column of how often training sees a row, where the pipeline says one
FIX = MADE[STAGE][1]


def row_groups(ready: Path, split: str) -> list[RowGroup]:
    """Return the row groups of a split, or of QUARANTINED. Raises DataError where it is missing or damaged."""
    return files.row_groups(part_files(ready, split), STAGE)


def read(ready: Path, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of a split, or of QUARANTINED, in order; of `columns` alone where they are given."""
    tables = []
    for path in part_files(ready, split):
        with files.explain_damage(path, STAGE):
            tables.append(read_file(path, columns=columns))
    return pa.concat_tables(tables)


def first_rows(ready: Path, split: str, most: int) -> pa.Table:
    """Return the first `most` rows of a split, fewer where its first file holds fewer."""
    path = part_files(ready, split)[0]
    with files.explain_damage(path, STAGE), pq.ParquetFile(path) as file:
        return pa.Table.from_batches([next(file.iter_batches(most, use_threads=False))])


def columns(ready: Path, split: str) -> list[str]:
    """Return the column names of a split."""
    path = part_files(ready, split)[0]
    with files.explain_damage(path, STAGE):
        return list(pq.read_schema(path).names)


def hash_sample(
    ready: Path,
    split: str,
    most: int,
    columns: Sequence[str] | None = None,
    *,
    kept: Path | None = None,
    groups: int | None = None,
) -> pa.Table:
    """Return the `most` rows of a split with the smallest row ids, in order; all rows if there are no more, or for 0.

    Neither the order of rows nor other rows decide which are taken. One row group at a time is in memory. `kept` is
    a folder that holds some rows of smallest ids; if they suffice, no others are read. `groups` limits the row
    groups that are read, evenly spread.
    """
    groups_read = row_groups(ready, split)
    if not most or sum(unit.rows for unit in groups_read) <= most:
        return read(ready, split, columns)
    some = files.row_groups(sorted((kept / split).glob(PARTS)), STAGE) if kept else []
    if sum(unit.rows for unit in some) >= most:
        groups_read = some
    elif groups and groups < len(groups_read):
        groups_read = [groups_read[place] for place in evenly_spaced_indices(len(groups_read), groups)]
    numbers = [row_ids.from_arrow(unit.read(["_id"]).column("_id"))[:, 0] for unit in groups_read]
    limit = _limit(np.concatenate(numbers), most)
    tables = [
        unit.read(columns, dictionary=True).filter(one <= limit) for unit, one in zip(groups_read, numbers, strict=True)
    ]
    parts = [pa.table({name: decode_array(table.column(name)) for name in table.column_names}) for table in tables]
    return pa.concat_tables(parts).slice(0, most)


def hash_sample_table(rows: pa.Table, most: int) -> pa.Table:
    """Return the `most` rows of a table with the smallest `_id`, in order."""
    if len(rows) <= most:
        return rows
    numbers = row_ids.from_arrow(rows.column("_id"))[:, 0]
    return rows.filter(pa.array(numbers <= _limit(numbers, most))).slice(0, most)


def _limit(numbers: np.ndarray, most: int) -> np.uint64:
    """Return the largest of the `most` smallest numbers."""
    place = min(most, len(numbers)) - 1
    return np.uint64(np.partition(numbers, place)[place])


def part_files(ready: Path, split: str) -> list[Path]:
    """Return the part files of a split in order. Raises DataError where there is none."""
    if split not in (*SPLITS, QUARANTINED):
        raise DataError(f"there is no split '{split}'", fix="it is one of " + ", ".join(SPLITS))
    files = sorted((ready / split).glob(PARTS))
    if not files:
        raise DataError("the prepared rows are missing", place=str(ready / split), fix=FIX)
    return files


def write(table: pa.Table, folder: Path) -> None:
    """Write a table as the only part file of a new folder."""
    folder.mkdir()
    pq.write_table(table, folder / "part-00000.parquet", row_group_size=ROWS, compression="zstd")
