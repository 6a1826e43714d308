"""Give another place those of the collected rows that a run of the past would have found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import PipelineError, suggest
from evergreen.core.files import atomic_directory, read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.arrow import decode_array, to_numpy
from evergreen.data.prepare.times import no_time_error, read_times
from evergreen.stages.collect.manifest import Part, load_parts, write_parts
from evergreen.stages.collect.stage import RECORD

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_moments(paths: Paths, column: str, option: str = "--time") -> NDArray[Any]:
    """Return (N,) when the collected rows were, as datetime64[us] or float64; a row without a time has NaT or NaN.

    Raises DataError where the column holds no times, PipelineError where there is none or nothing is collected.
    """
    parts = load_parts(paths.raw)
    if not parts:
        raise PipelineError("no rows are collected", place=paths.name, fix=f"run it first: evergreen run {paths.name}")
    names = pq.read_schema(parts[0].path).names
    if column not in names:
        raise PipelineError(f"there is no column {column!r}", place=option, fix=suggest(column, names))
    read, faults = read_times(decode_array(pa.chunked_array(_column(part, column) for part in parts)))
    if len(faults) * 2 > len(read):
        raise no_time_error(column)
    values = to_numpy(read)
    return values.astype("datetime64[us]") if values.dtype.kind == "M" else values.astype(np.float64)


def write_rows(paths: Paths, place: Paths, row_mask: NDArray[np.bool_]) -> None:
    """Write those of the collected rows whose mask (N,) is true as all that was collected at another place."""

    def batches() -> Iterator[pa.RecordBatch]:
        first = 0
        for part in load_parts(paths.raw):
            kept = part.read().filter(pa.array(row_mask[first : first + part.rows]))
            first += part.rows
            yield from kept.combine_chunks().to_batches()

    with atomic_directory(place.raw) as folder:
        write_parts(batches(), folder, 0, [], lambda _: None)
        write_json(folder / RECORD, read_json(paths.raw / RECORD) | {"rows": int(row_mask.sum())})


def _column(part: Part, column: str) -> pa.Array:
    return decode_array(part.read([column]).column(column))
