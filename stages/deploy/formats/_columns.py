"""Helpers of the formats that hold columns: batches of bounded size, and answers as columns."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.formats import BATCH_ROWS, Rows

DAMAGES = (pa.ArrowException, OSError, UnicodeDecodeError, LookupError, struct.error)  # of reading what is damaged


def explain_damage(error: Exception, wanted: str, fix: str) -> DataError:
    """Return the error for a body that is not what its content type says."""
    return DataError(f"the body is not {wanted} ({' '.join(str(error).split()):.200})", fix=fix)


def slice_batches(batches: Iterator[pa.RecordBatch], batch_rows: int, max_bytes: int) -> Iterator[Rows]:
    """Yield record batches in pieces of at most `batch_rows` rows, of BATCH_ROWS where those would be too large.

    Raises DataError for one that is too large all the same.
    """
    for batch in batches:
        batch.validate(full=True)  # offsets that point elsewhere would be followed
        yield from _slice(batch, batch_rows, max_bytes)


def _slice(batch: pa.RecordBatch, batch_rows: int, max_bytes: int) -> Iterator[Rows]:
    has_words = any(map(pa.types.is_dictionary, batch.schema.types))
    for start in range(0, batch.num_rows, batch_rows):
        table = pa.Table.from_batches([batch.slice(start, batch_rows)]).replace_schema_metadata()
        n_bytes = sum(map(_unpacked_bytes, table.itercolumns())) if has_words else table.nbytes
        if n_bytes <= max_bytes:
            yield Rows(table)
        elif batch_rows > BATCH_ROWS:
            yield from _slice(batch.slice(start, batch_rows), BATCH_ROWS, max_bytes)
        else:
            problem = f"{len(table)} rows take {n_bytes:,} bytes, {max_bytes:,} may be (max_decoded_bytes)"
            raise DataError(problem, fix="send smaller values")


def _unpacked_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column whose values lie one beside the other, as they do once they are read."""
    chunk = column.chunk(0)
    if not pa.types.is_dictionary(chunk.type):
        return int(chunk.nbytes)
    words = chunk.dictionary
    if pa.types.is_primitive(words.type):
        return int(8 * len(chunk))
    if pa.types.is_nested(words.type):
        return int(words.nbytes * len(chunk))
    return int(pc.sum(pc.binary_length(words).take(chunk.indices)).as_py() or 0)


def to_batches(batches: Iterator[Answers]) -> Iterator[pa.RecordBatch]:
    """Yield answers as record batches of one schema, that of the first."""
    schema = None
    for answers in batches:
        table = pa.table(answers.columns)
        schema = schema or table.schema
        yield from table.cast(schema).combine_chunks().to_batches()
