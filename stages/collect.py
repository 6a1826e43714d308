"""Brings the rows of a source here, as they are, with the origin of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.artifacts import Paths
from stages.progress import Progress, quiet

if TYPE_CHECKING:
    import pyarrow as pa

PART = 100_000  # rows a file


@dataclass(frozen=True)
class Params:
    """Where the rows come from."""

    uri: str  # sklearn:NAME, statsmodels:NAME, or a path from the root: x.csv, x.tsv, x.parquet, a folder of .parquet


def run(params: Params, paths: Paths, *, task: str = "", progress: Progress = quiet) -> dict[str, Any]:
    """Writes raw/part-00000.parquet … and raw/source.json; what was there before stays until all of it is written.

    Raises DataError with the place and the fix where the source is missing, empty or damaged.
    """
    from data.sources import open_source
    from data.spec import DataError
    from stages.artifacts import replace_folder, write_json

    source = open_source(params.uri, paths.root)
    with replace_folder(paths.raw) as folder:
        rows = _write(source.read(), folder, progress)
        if not rows:
            raise DataError("there are no rows", place=params.uri, fix="give a source with at least a few dozen rows")
        write_json(folder / "source.json", {"uri": params.uri, "fingerprint": source.fingerprint(), "rows": rows})
    return {"rows": rows, "uri": params.uri}


def changed(params: Params, paths: Paths) -> bool:
    """Whether the source, which DVC does not watch, holds other data than was collected, or nothing was."""
    from data.sources import open_source
    from stages.artifacts import read_json

    record = paths.raw / "source.json"
    if not record.is_file():
        return True
    known = read_json(record)
    return (known["uri"], known["fingerprint"]) != (params.uri, open_source(params.uri, paths.root).fingerprint())


def _write(batches: Iterator[pa.RecordBatch], folder: Path, progress: Progress) -> int:
    """Writes files of about PART rows each, never holding more than a batch; returns the rows written."""
    import pyarrow.parquet as pq

    rows = held = part = 0
    with contextlib.ExitStack() as files:
        writer = None
        for batch in batches:
            if writer is None or held >= PART:
                files.close()
                path = folder / f"part-{part:05}.parquet"
                writer = files.enter_context(pq.ParquetWriter(path, batch.schema, compression="zstd"))
                held, part = 0, part + 1
            writer.write_batch(batch)
            held, rows = held + len(batch), rows + len(batch)
            progress(stage="collect", rows=rows)
    return rows


if __name__ == "__main__":
    from stages.pipeline import main

    main("collect")
