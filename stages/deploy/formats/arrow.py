"""Arrow's format for streams. Nothing in it is trusted: sizes are checked before anything is unpacked."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.formats import Rows
from evergreen.stages.deploy.formats._columns import DAMAGES, explain_damage, slice_batches, to_batches

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
IS_TEXT = False
LEGACY = b"ARROW:experimental_compression"  # where early versions say that buffers are compressed


def read(path: Path, batch_rows: int, limits: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of a stream. Raises DataError where it is damaged, or unpacks to more than may be."""
    try:
        with pa.memory_map(str(path)) as memory:
            for message in pa.ipc.MessageReader.open_stream(memory):
                if message.type != "schema":
                    _check_sizes(message, limits["max_decoded_bytes"])
        with pa.memory_map(str(path)) as memory, pa.ipc.open_stream(memory) as reader:
            yield from slice_batches(reader, batch_rows, limits["max_decoded_bytes"])
    except DAMAGES as error:
        raise explain_damage(error, "a stream of Arrow", "write it with pyarrow.ipc.new_stream") from error


def write(file: IO[bytes], batches: Iterator[Answers], about: Mapping[str, str]) -> None:
    """Write answers as columns."""
    records = to_batches(batches)
    first = next(records)
    with pa.ipc.new_stream(file, first.schema) as writer:
        writer.write_batch(first)
        for record in records:
            writer.write_batch(record)


def _check_sizes(message: pa.ipc.Message, max_bytes: int) -> None:
    """Raise DataError where the compressed buffers of a batch say that they unpack to more than may be.

    The layout is that of FlatBuffers' tables: Message{version, type, header}, DictionaryBatch{id, data},
    RecordBatch{length, nodes, buffers, compression}; each compressed buffer begins with its size.
    """
    data, body = message.metadata.to_pybytes(), message.body

    def number(form: str, place: int) -> int:
        (value,) = struct.unpack_from(form, data, place)
        return int(value)

    def follow(table: int, index: int) -> int:
        """Return the place of what a table's field points to; 0 where the field is left out."""
        names = table - number("<i", table)
        offset = number("<H", names + 4 + 2 * index) if 4 + 2 * index < number("<H", names) else 0
        return table + offset + number("<I", table + offset) if offset else 0

    if LEGACY in data:
        raise DataError("the body is compressed in a way of old versions of Arrow", fix="write it with a newer one")
    batch = follow(number("<I", 0), 2)
    if message.type == "dictionary":
        batch = follow(batch, 1)
    if not follow(batch, 3):
        return
    buffers, n_bytes = follow(batch, 2), 0
    for index in range(number("<I", buffers)):
        start, length = struct.unpack_from("<qq", data, buffers + 4 + 16 * index)
        (size,) = struct.unpack_from("<q", body, start) if length else (0,)
        n_bytes += max(size, length)
    if n_bytes > max_bytes:
        problem = f"a batch unpacks to {n_bytes:,} bytes, {max_bytes:,} may be (max_decoded_bytes)"
        raise DataError(problem, fix="write smaller batches")
