"""Read collected rows one row group at a time, and all at once only where it is unavoidable."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data import parquet
from evergreen.data.arrow import decode_array, evenly_spaced_indices
from evergreen.data.parquet import RowGroup

LOOK_ROWS = 5_000  # rows that tell what the columns are
SPREAD = 4  # row groups that they come from, if there are so many
GROWTH = 4  # bytes in memory for each uncompressed byte in the file, while all rows are prepared at once


def raw_row_groups(folder: Path) -> list[RowGroup]:
    """Return the row groups of all parts. Raises DataError where there are none, or one is damaged."""
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise DataError("nothing has been collected yet", place=str(folder), fix="run the stage `collect`")
    return parquet.row_groups(paths, "collect")


def read_raw(groups: Sequence[RowGroup], memory_mb: int, why: str) -> pa.Table:
    """Return all rows. Raises DataError where they do not fit into memory; `why` says what needs them all."""
    needed = GROWTH * sum(unit.size for unit in groups) >> 20
    if needed > memory_mb:
        problem = (
            f"all rows are needed at once ({why}), which takes about {needed:,} MiB, and memory_mb is {memory_mb:,}"
        )
        raise DataError(problem, place="preprocess.memory_mb", fix=f"set `memory_mb: {needed}`, or use fewer rows")
    return pa.concat_tables([unit.read() for unit in groups])


def sample_raw(groups: Sequence[RowGroup], keep: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Return at most LOOK_ROWS of the rows that `keep` leaves, spread evenly."""
    few = sum(unit.rows for unit in groups) <= LOOK_ROWS
    share = LOOK_ROWS if few else -(-LOOK_ROWS // min(SPREAD, len(groups)))

    def some(place: int) -> pa.Table:
        table = keep(groups[place].read(dictionary=True))
        table = table.take(pa.array(evenly_spaced_indices(len(table), share)))
        return pa.table({name: decode_array(table.column(name)) for name in table.column_names})

    first = sorted({round(place * (len(groups) - 1) / max(1, SPREAD - 1)) for place in range(SPREAD)})
    with ThreadPoolExecutor(SPREAD) as pool:
        tables = dict(zip(first, pool.map(some, first), strict=True))
    for place in range(len(groups)):
        if sum(map(len, tables.values())) >= LOOK_ROWS:
            break
        if place not in tables:
            tables[place] = some(place)
    return pa.concat_tables([tables[place] for place in sorted(tables)])
