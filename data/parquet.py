"""Parquet parts, read a row group at a time and written so that no more than one is ever held."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.data.arrow import decode_array

ROWS, BYTES = 65_536, 1 << 24  # of a row group, at most; the bytes in memory, unless one table given holds more
MADE = {  # what files lie there, and how to come by whole ones
    "collect": ("collected", "run the stage `collect` again"),
    "preprocess": ("prepared", "fetch the rows with `dvc pull`, or run the stage `preprocess`"),
}


@dataclass(frozen=True)
class RowGroup:
    """One row group of a part: what is read at once."""

    path: Path
    group: int
    rows: int
    size: int  # bytes of its columns, uncompressed
    stage: str = "preprocess"  # that wrote it
    dictionary: tuple[str, ...] = ()  # the columns of texts that lie there as a dictionary

    def read(self, columns: Sequence[str] | None = None, *, dictionary: bool = False) -> pa.Table:
        """Its rows, of `columns` alone where they are named; with `dictionary` texts stay as they lie there, which is
        quicker. Raises DataError where the part is damaged."""
        try:
            with pq.ParquetFile(self.path, read_dictionary=self.dictionary if dictionary else None) as file:
                return file.read_row_group(self.group, columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise corrupt_file_error(self.path, error, self.stage) from error


def row_groups(paths: Iterable[Path], stage: str) -> list[RowGroup]:
    """The row groups of parts in order. Raises DataError where one is damaged."""
    found = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                facts, schema = file.metadata, file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise corrupt_file_error(path, error, stage) from error
        words = {field.name for field in schema if pa.types.is_string(field.type)}
        for number in range(facts.num_row_groups):
            group = facts.row_group(number)
            held = [group.column(place) for place in range(group.num_columns)]
            repeated = [one.path_in_schema for one in held if "RLE_DICTIONARY" in one.encodings]
            coded = tuple(name for name in repeated if name in words)
            found.append(RowGroup(path, number, group.num_rows, group.total_byte_size, stage, coded))
    return found


def corrupt_file_error(path: Path, error: Exception, stage: str) -> DataError:
    kind, fix = MADE[stage]
    return DataError(f"a {kind} file is damaged ({str(error).splitlines()[0]})", place=str(path), fix=fix)


class RowGroupWriter:
    """Writes the tables that it is given, all of the same columns, as one part, which has its name when it is whole.

    Where no row comes, no file does. Texts that repeat much are written as a dictionary.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """What does not last is written and read faster, and takes more room."""
        self.path, self.durable = path, durable
        self.rows = self.held_rows = self.held_bytes = 0
        self.held: list[pa.Table] = []
        self.file: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        if not len(table):
            return
        if self.held_rows + len(table) > ROWS or self.held_bytes + table.nbytes > BYTES:
            self._flush()
        self.held.append(table)
        self.rows, self.held_rows = self.rows + len(table), self.held_rows + len(table)
        self.held_bytes += table.nbytes

    def close(self) -> None:
        self._flush()
        if self.file:
            self.file.close()
            with self._temporary.open("rb") as file:
                os.fsync(file.fileno())
            self._temporary.replace(self.path)

    @property
    def _temporary(self) -> Path:
        return self.path.with_suffix(".tmp")

    def _flush(self) -> None:
        if not self.held:
            return
        table = pa.concat_tables(self.held)
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = pq.ParquetWriter(self._temporary, table.schema, **_stored(table, durable=self.durable))
        self.file.write_table(table, row_group_size=ROWS)
        self.held, self.held_rows, self.held_bytes = [], 0, 0


def _stored(table: pa.Table, *, durable: bool) -> dict[str, Any]:
    """How columns are written. Numbers of which few are alike are compressed byte by byte: the bytes of one weight are,
    and hashes not at all."""
    words = dictionary_columns(table)
    if not durable:
        return {"compression": "lz4", "use_dictionary": words, "write_statistics": False}
    split = [field.name for field in table.schema if pa.types.is_floating(field.type) and field.name not in words]
    compression = dict.fromkeys(table.column_names, "zstd") | ({"_id": "none"} if "_id" in table.column_names else {})
    return {
        "compression": compression,
        "use_dictionary": words,
        "use_byte_stream_split": split,
        "write_statistics": False,
    }


LOOKED_AT, REPEATS = 2_000, 4  # rows at the beginning of a table; how often a value stands among them, on average


def dictionary_columns(table: pa.Table) -> list[str]:
    """The columns worth a dictionary: texts and numbers of which the first rows repeat each value."""
    head = table.slice(0, LOOKED_AT)
    found = []
    for name, stored in zip(head.column_names, head.schema.types, strict=True):
        if pa.types.is_primitive(stored) or pa.types.is_string(stored) or pa.types.is_dictionary(stored):
            column = decode_array(head.column(name))
            found += [name] if len(column.unique()) * REPEATS <= len(column) else []
    return found
