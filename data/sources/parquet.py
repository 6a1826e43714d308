"""A Parquet file, or a folder of Parquet files of one schema, read in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data import sources
from data.field import DataError

FOLDER_OF = (".parquet",)


class Source(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        for path in self._paths():
            try:
                with pq.ParquetFile(path) as file:
                    schema = self._same(schema, file.schema_arrow, path)
                    yield from self._rows(file, path, schema)
            except (pa.ArrowInvalid, OSError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"no readable Parquet file ({reason})",
                    place=str(path),
                    fix="write the file again, it is damaged or of another format",
                ) from error

    def _rows(self, file: pq.ParquetFile, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in file.iter_batches(batch_size=sources.ROWS):
            table = pa.Table.from_batches([batch]).replace_schema_metadata().cast(schema)
            yield from sources.with_origin(table, path.name, row).combine_chunks().to_batches()
            row += len(batch)

    def _same(self, schema: pa.Schema | None, found: pa.Schema, path: Path) -> pa.Schema:
        found = found.remove_metadata()
        if len(set(found.names)) < len(found.names):
            twice = next(name for name in found.names if found.names.count(name) > 1)
            raise DataError(f"two columns are called '{twice}'", place=str(path), fix="give each column its own name")
        if schema is not None and found.names != schema.names:
            raise DataError(
                "its columns differ from those of the file before",
                place=str(path),
                fix="give all files of the folder the same columns",
            )
        return schema or found

    def fingerprint(self) -> str:
        return sources.digest(self._paths())

    def _paths(self) -> list[Path]:
        path = self.root / self.name
        paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not paths:
            raise DataError("the folder holds no Parquet file", place=str(path), fix="name a folder of *.parquet files")
        return paths
