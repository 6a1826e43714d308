"""Rewrite part files from what is here: without some rows, or several as one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.stages.collect import manifest
from evergreen.stages.collect.manifest import Part, spans_of


def drop_rows(part: Part, keep: np.ndarray, folder: Path) -> list[Part]:
    """Write a part with only the rows of a mask into `folder`; return nothing where none is left."""
    rows = int(np.count_nonzero(keep))
    if not rows:
        return []
    before = np.concatenate([[0], np.cumsum(keep)])  # how many rows before each stay
    first, count = part.spans["offset"].to_numpy(), part.spans["rows"].to_numpy()
    spans = spans_of(part.spans, before[first], before[first + count] - before[first])
    path = folder / part.path.name
    temporary = path.with_suffix(".tmp")
    with pq.ParquetFile(part.path) as old, pq.ParquetWriter(temporary, old.schema_arrow, compression="zstd") as new:
        start = 0
        for group in range(old.num_row_groups):
            table = old.read_row_group(group)
            new.write_table(table.filter(pa.array(keep[start : start + len(table)])))
            start += len(table)
    temporary.replace(path)
    return [Part(path, rows, spans)]


def merge_small_parts(parts: list[Part], folder: Path) -> list[Part]:
    """Merge neighbors at the end as long as the first is no larger and both fit into one part."""
    parts = list(parts)
    while len(parts) > 1 and parts[-2].rows <= parts[-1].rows and _together(*parts[-2:]):
        one, other = parts[-2:]
        path = folder / one.path.name
        tables = [one.read(), other.read()]
        temporary = path.with_suffix(".tmp")
        pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
        temporary.replace(path)
        first, count = other.spans["offset"].to_numpy(), other.spans["rows"].to_numpy()
        spans = pa.concat_tables([one.spans, spans_of(other.spans, first + one.rows, count)])
        parts[-2:] = [Part(path, one.rows + other.rows, spans)]
    return parts


def _together(one: Part, other: Part) -> bool:
    sizes = [part.path.stat().st_size for part in (one, other)]
    return one.rows + other.rows <= manifest.ROWS and sum(sizes) <= manifest.BYTES
