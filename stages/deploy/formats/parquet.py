"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.formats import Rows
from evergreen.stages.deploy.formats._columns import DAMAGES, explain_damage, slice_batches, to_batches

CONTENT_TYPE = "application/vnd.apache.parquet"
IS_TEXT = False


def read(path: Path, batch_rows: int, limits: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of a file. Raises DataError where it is damaged, or unpacks to more than may be."""
    try:
        with pq.ParquetFile(path) as file:
            texts = _check_sizes(file.metadata, limits)
        with pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False) as file:
            yield from slice_batches(file.iter_batches(batch_rows), batch_rows, limits["max_decoded_bytes"])
    except DAMAGES as error:
        raise explain_damage(error, "a Parquet file", "write it with pyarrow.parquet.write_table") from error


def _check_sizes(metadata: pq.FileMetaData, limits: Mapping[str, Any]) -> list[str]:
    """Return the columns of texts. Raises DataError for a column of a row group that is too large."""
    if metadata.num_rows > limits["max_stream_rows"]:
        problem = f"the file says that it has {metadata.num_rows:,} rows"
        raise DataError(problem, fix="send fewer, or raise max_stream_rows in the section deploy")
    texts = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            if column.total_uncompressed_size > limits["max_decoded_bytes"]:
                problem = (
                    f"the column {column.path_in_schema:.80} of a row group unpacks to more than max_decoded_bytes"
                )
                raise DataError(problem, fix="write smaller row groups")
            if column.physical_type == "BYTE_ARRAY":
                texts.add(column.path_in_schema)
    return sorted(texts)


def write(file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
    """Write answers as columns."""
    records = to_batches(batches)
    first = next(records)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for record in records:
            writer.write_batch(record)
