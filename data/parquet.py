"""Read and write Parquet part files one row group at a time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.errors import DataError
from evergreen.core.files import publish_file
from evergreen.data.arrow import decode_array

ROWS, BYTES = 65_536, 1 << 24  # of a row group, at most; the bytes in memory, unless one table given holds more
MADE = {  # what files lie there, and how to come by whole ones
    "collect": ("collected", "run the stage `collect` again"),
    "preprocess": ("prepared", "fetch the rows with `dvc pull`, or run the stage `preprocess`"),
}


@dataclass(frozen=True)
class RowGroup:
    """Locate one row group of a part file: the unit that is read at once."""

    path: Path
    group: int
    rows: int
    size: int  # bytes of its columns, uncompressed
    stage: str = "preprocess"  # that wrote it
    dictionary: tuple[str, ...] = ()  # the columns of texts that lie there as a dictionary

    def read(self, columns: Sequence[str] | None = None, *, dictionary: bool = False) -> pa.Table:
        """Return the rows; with `dictionary` texts stay dictionary-encoded, which is faster.

        Raises DataError where the file is damaged.
        """
        coded = self.dictionary if dictionary else None
        with explain_damage(self.path, self.stage), pq.ParquetFile(self.path, read_dictionary=coded) as file:
            return file.read_row_group(self.group, columns=columns, use_threads=False)


def read_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of a part file. `pyarrow.parquet.read_table` would import pandas, for a fifth of a second."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=columns)


def row_groups(paths: Iterable[Path], stage: str) -> list[RowGroup]:
    """Return the row groups of part files in order. Raises DataError where a file is damaged."""
    groups = []
    for path in paths:
        with explain_damage(path, stage), pq.ParquetFile(path) as file:
            facts, schema = file.metadata, file.schema_arrow
        words = {field.name for field in schema if pa.types.is_string(field.type)}
        for number in range(facts.num_row_groups):
            group = facts.row_group(number)
            chunks = [group.column(place) for place in range(group.num_columns)]
            repeated = [one.path_in_schema for one in chunks if "RLE_DICTIONARY" in one.encodings]
            coded = tuple(name for name in repeated if name in words)
            groups.append(RowGroup(path, number, group.num_rows, group.total_byte_size, stage, coded))
    return groups


@contextmanager
def explain_damage(path: Path, stage: str) -> Iterator[None]:
    """Raise DataError where the `with` block finds a part file of a stage damaged."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        kind, fix = MADE[stage]
        problem = f"a {kind} file is damaged ({str(error).splitlines()[0]})"
        raise DataError(problem, place=str(path), fix=fix) from error


class RowGroupWriter:
    """Write tables of the same columns as one part file, which gets its name when it is complete.

    Without rows no file is written. Texts that repeat are dictionary-encoded. At most one row group is held in
    memory.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open no file yet. A file that is not `durable` is written and read faster and takes more space."""
        self.path, self.durable = path, durable
        self.rows = self.held_rows = self.held_bytes = 0
        self.held: list[pa.Table] = []
        self.file: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Append a table."""
        if not len(table):
            return
        if self.held_rows + len(table) > ROWS or self.held_bytes + table.nbytes > BYTES:
            self._flush()
        self.held.append(table)
        self.rows, self.held_rows = self.rows + len(table), self.held_rows + len(table)
        self.held_bytes += table.nbytes

    def close(self) -> None:
        """Write what is held and give the file its name."""
        self._flush()
        if self.file:
            self.file.close()
            publish_file(self._temporary, self.path)

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
    """Return how columns are written.

    Floats that rarely repeat are compressed byte by byte (the bytes of equal significance are alike); hashes are
    not compressed.
    """
    words = dictionary_columns(table)
    if not durable:
        return {"compression": "lz4", "use_dictionary": words, "write_statistics": False}
    split = [field.name for field in table.schema if pa.types.is_floating(field.type) and field.name not in words]
    compression = dict.fromkeys(table.column_names, "zstd") | ({"_id": "none"} if "_id" in table.column_names else {})
    encoding = {"use_dictionary": words, "use_byte_stream_split": split}
    return {"compression": compression, **encoding, "write_statistics": False}


LOOKED_AT, REPEATS = 2_000, 4  # rows at the beginning of a table; how often a value occurs among them, on average


def dictionary_columns(table: pa.Table) -> list[str]:
    """Return the columns worth dictionary-encoding: texts and numbers whose values repeat in the first rows."""
    head = table.slice(0, LOOKED_AT)
    names = []
    for name, stored in zip(head.column_names, head.schema.types, strict=True):
        if pa.types.is_primitive(stored) or pa.types.is_string(stored) or pa.types.is_dictionary(stored):
            column = decode_array(head.column(name))
            names += [name] if len(column.unique()) * REPEATS <= len(column) else []
    return names
