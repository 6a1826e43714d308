"""Read the stored form of logged requests: a row for each row that was asked, in journals of Arrow and Parquet by day.

`.evergreen/requests/NAME/journal/DAY.STEM.arrows` and `.evergreen/requests/NAME/DAY/STEM.parquet` have the same
columns: COLUMNS, `asked` with the fields that the model read, `answered` with the columns of the answer. A journal
becomes the Parquet file of its stem, with the same rows in the same order. All rows of a file are of one version in one
role. A request that a version beside the one in production could not answer is a row -1, `answered` by {"problem"}.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = {  # of each row, beside `asked` and `answered`
    "request_id": pa.string(),
    "row": pa.int64(),
    "time": pa.timestamp("us", "UTC"),
    "version": pa.string(),
    "role": pa.string(),
    "key": pa.string(),
    "latency_ms": pa.float64(),
    "id": pa.string(),  # the caller's own
}
PRODUCTION = "production"  # the role of the version that answers, unless another one stands beside it:
CANARY, SHADOW, PINNED = "canary", "shadow", "pinned"  # roles of those
BATCH_ROWS = 8192  # read at once from Parquet
MAX_OPEN = 100  # files that are open at once
Piece = tuple[str, int, pa.Table]  # DAY/STEM, the number of the first row in it, rows


def read_journal(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a journal, up to where a kill cut it off."""
    with path.open("rb") as file, contextlib.suppress(pa.ArrowInvalid, OSError), pa.ipc.open_stream(file) as reader:
        yield from reader


def read_requests(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the logged requests of a pipeline, day by day; a journal that is compacted meanwhile comes once."""
    for _, _, table in read_pieces(folder, {}, columns):
        yield table


def list_files(folder: Path) -> dict[str, list[str]]:
    """Return the days for which requests are logged, in order, each with its stems in the order of their beginning."""
    days: dict[str, set[str]] = {}
    for path in folder.glob("journal/*.arrows"):
        day, _, stem = path.name.removesuffix(".arrows").partition(".")
        days.setdefault(day, set()).add(stem)
    for path in folder.glob("????-??-??/*.parquet"):
        days.setdefault(path.parent.name, set()).add(path.stem)
    return {day: sorted(days[day], key=lambda stem: (stem.rpartition("-")[2], stem)) for day in sorted(days)}


def read_pieces(folder: Path, position: Mapping[str, int], columns: Sequence[str] | None = None) -> Iterator[Piece]:
    """Yield the rows behind a position, day by day, those of a day in the order of time, batch by batch.

    `position` is DAY/STEM → the rows that were read of it before. A batch of each file that is open is in memory.
    """
    for day, stems in list_files(folder).items():
        for start in range(0, len(stems), MAX_OPEN):
            keys = [f"{day}/{stem}" for stem in stems[start : start + MAX_OPEN]]
            streams = (_read_file(folder, key, position.get(key, 0), columns) for key in keys)
            for _, piece in heapq.merge(*streams, key=lambda timed: (timed[0], *timed[1][:2])):
                yield piece


def _read_file(folder: Path, key: str, n_read: int, columns: Sequence[str] | None) -> Iterator[tuple[int, Piece]]:
    """Yield the rows of a file from its row `n_read` on, each piece with its time in microseconds."""
    first = 0
    for batch in _read_batches(folder, key, n_read, columns):
        n_old = min(max(0, n_read - first), batch.num_rows)
        if n_old < batch.num_rows:
            table = pa.Table.from_batches([batch.slice(n_old)])
            yield table["time"][0].value or 0, (key, first + n_old, table.select(columns or table.column_names))
        first += batch.num_rows


def _read_batches(folder: Path, key: str, n_read: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file, of its journal while there is one; nothing where it was removed."""
    try:
        yield from read_journal(folder / "journal" / f"{key.replace('/', '.', 1)}.arrows")
        return
    except FileNotFoundError:  # it is Parquet now
        pass
    with contextlib.suppress(FileNotFoundError), pq.ParquetFile(folder / f"{key}.parquet") as file:
        if n_read < file.metadata.num_rows:
            yield from file.iter_batches(BATCH_ROWS, columns=list({*columns, "time"}) if columns else None)
