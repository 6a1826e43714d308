"""Write logged requests in their stored form (stages/request_files.py), and remove the oldest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.files import atomic_write
from evergreen.stages.answer_table import Answers
from evergreen.stages.request_files import COLUMNS, read_journal

if TYPE_CHECKING:
    from evergreen.stages.deploy.request_log import Entry


def to_batch(entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return entries of one version as one batch, without the fields that are left out of the log."""
    served = entries[0].served
    asked = pa.concat_tables([entry.table for entry in entries]).drop_columns(
        [name for name in served.limits["log"]["drop"] if name in entries[0].table.column_names]
    )
    answers = Answers([part for entry in entries for part in entry.answers.parts])
    counts = [entry.table.num_rows for entry in entries]
    values: dict[str, list[Any]] = {
        "request_id": [entry.request_id for entry in entries],
        "time": [int(entry.moment * 1e6) for entry in entries],
        "version": [served.version] * len(entries),
        "role": [entry.role for entry in entries],
        "key": [entry.key for entry in entries],
        "latency_ms": [entry.latency_seconds * 1000 for entry in entries],
    }
    place_N = np.repeat(np.arange(len(entries)), counts)
    columns = {name: pa.array(some, COLUMNS[name]).take(pa.array(place_N)) for name, some in values.items()}
    starts_E = np.cumsum([0, *counts[:-1]]) - [entry.first_row for entry in entries]
    columns["row"] = pa.array(np.arange(len(place_N)) - starts_E[place_N], COLUMNS["row"])
    columns["id"] = pa.concat_arrays([_read_ids(entry.row_ids, n) for entry, n in zip(entries, counts, strict=True)])
    arrays = [columns[name] for name in COLUMNS]
    arrays += [_struct(dict(zip(asked.column_names, asked.columns, strict=True)), len(place_N))]
    arrays += [_struct(answers.columns, len(place_N))]
    return pa.record_batch(arrays, names=[*COLUMNS, "asked", "answered"])


def _read_ids(ids: Sequence[Any] | None, n_rows: int) -> pa.Array:
    if ids is None:
        return pa.nulls(n_rows, COLUMNS["id"])
    return pa.array([None if one is None else to_id(one) for one in ids], COLUMNS["id"])


def to_id(value: Any) -> str:
    """Return a caller's own id as the log has it: a text of at most 200 characters."""
    return str(value)[:200].encode(errors="replace").decode()


def _struct(columns: dict[str, pa.Array | pa.ChunkedArray], n_rows: int) -> pa.Array:
    arrays = [one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for one in columns.values()]
    arrays = [one.storage if isinstance(one, pa.ExtensionArray) else one for one in arrays]
    if not arrays:
        return pa.array([{}] * n_rows, pa.struct([]))
    return pa.StructArray.from_arrays(
        arrays, fields=[pa.field(n, a.type) for n, a in zip(columns, arrays, strict=True)]
    )


def compact(journal: Path) -> None:
    """Make a journal that nobody writes a Parquet file of its day. A kill in between leaves one of them or both."""
    day, _, stem = journal.name.removesuffix(".arrows").partition(".")
    target = journal.parents[1] / day / f"{stem}.parquet"
    if not target.exists():
        batches = read_journal(journal)
        first = next(batches, None)
        if first is not None:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with atomic_write(target) as temporary:
                temporary.touch(0o600)
                with temporary.open("wb") as file, pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
                    writer.write_batch(first)
                    for batch in batches:
                        writer.write_batch(batch)
    journal.unlink(missing_ok=True)


def remove_old(folder: Path, *, days: int, max_bytes: int) -> None:
    """Remove days that are older than `days`, and the oldest while all together take more than `max_bytes`."""
    folders = sorted(folder.glob("????-??-??"))
    sizes = [sum(file.stat().st_size for file in one.iterdir()) for one in folders]
    today = datetime.now(UTC).date()
    first = (today - timedelta(days=days)).isoformat()
    for place, one in enumerate(folders):
        is_today = one.name == today.isoformat()
        if one.name < first or (sum(sizes[place:]) > max_bytes and not is_today):
            shutil.rmtree(one, ignore_errors=True)
