"""Find rows by their origin, which is "people.csv#17", or "photos/17.png" where a file is a row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evergreen.data.parquet import read_file

COLUMNS = ("_origin", "origin")  # of rows, and of rows that were set aside


def match_origin(column: pa.Array | pa.ChunkedArray, origin: str) -> pa.Array | pa.ChunkedArray:
    """Return (N,) bool: the row is the one of this origin, or of the whole file that it names."""
    origins = column.cast(pa.string())
    return pc.fill_null(pc.or_(pc.equal(origins, origin), pc.starts_with(origins, f"{origin}#")), False)


def count_origin(file: Path, origin: str) -> int:
    """Count the rows of an origin in a file of Parquet; 0 where it holds no origins, or is another file."""
    try:
        columns = [name for name in COLUMNS if name in pq.read_schema(file).names]
    except pa.ArrowInvalid:
        return 0
    table = read_file(file, columns=columns[:1])
    return int(pc.sum(match_origin(table.column(0), origin)).as_py() or 0) if columns else 0
